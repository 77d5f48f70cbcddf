package proxy

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"net/netip"
)

// HealthCheck is what a load balancer outside wants to know of a service with external traffic policy Local: how many endpoints this node has.
type HealthCheck struct {
	Service types.NamespacedName
	Port    uint16
	Local   int // endpoints on this node that are ready
}

// decideHealth gives the check of a service, if it has a port for it.
func (f *fold) decideHealth(svc *corev1.Service) (HealthCheck, bool) {
	if svc == nil || svc.Spec.HealthCheckNodePort == 0 || svc.Spec.Type != corev1.ServiceTypeLoadBalancer ||
		svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return HealthCheck{}, false
	}
	if _, foreign := svc.Labels[proxyNameLabel]; foreign {
		return HealthCheck{}, false
	}
	check := HealthCheck{Service: nameOf(svc), Port: uint16(svc.Spec.HealthCheckNodePort)}
	counted := map[netip.Addr]bool{}
	for _, slice := range f.known.Slices(check.Service) {
		for i := range slice.Endpoints {
			ep, usable := readEndpoint(f.node, &slice.Endpoints[i], 0)
			if usable && ep.ready && ep.local && !counted[ep.addr.Addr()] {
				counted[ep.addr.Addr()] = true
				check.Local++
			}
		}
	}
	return check, true
}

// recheck brings the check of a service in line.
func (f *fold) recheck(name types.NamespacedName, svc *corev1.Service) {
	before, had := f.health[name]
	after, has := f.decideHealth(svc)
	switch {
	case has:
		f.health[name] = after
	case had:
		delete(f.health, name)
	}
	if had != has || before != after {
		f.healthChanged = true
	}
}
