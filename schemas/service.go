package schemas

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/utils/ptr"
)

// admitService fills in a new service's linked fields. Its addresses and node ports stay open unless the user chose them: the service decider
// gives them.
func admitService(w *Write, obj runtime.Object) error {
	svc := obj.(*core.Service)
	if svc.Spec.ClusterIP != "" && len(svc.Spec.ClusterIPs) == 0 {
		svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	}
	return setFamilies(w.serviceFamilies(), svc, nil)
}

// carryService lets an update leave out what was allocated: a user who replaces a service with the manifest from which it was made doesn't
// mean to give up its address.
func carryService(w *Write, obj, old runtime.Object) error {
	svc, before := obj.(*core.Service), old.(*core.Service)
	external := core.ServiceTypeExternalName
	if svc.Spec.Type != external && before.Spec.Type != external {
		carryAddress(&svc.Spec, &before.Spec)
	}
	if givesNodePorts(svc) && givesNodePorts(before) {
		carryNodePorts(svc, before)
	}
	if givesHealthPort(svc) && givesHealthPort(before) && svc.Spec.HealthCheckNodePort == 0 {
		svc.Spec.HealthCheckNodePort = before.Spec.HealthCheckNodePort
	}
	return setFamilies(w.serviceFamilies(), svc, before)
}

func carryAddress(spec, before *core.ServiceSpec) {
	same := slices.Equal(spec.ClusterIPs, before.ClusterIPs)
	switch {
	case spec.ClusterIP == "":
		spec.ClusterIP = before.ClusterIP
		if len(spec.ClusterIPs) == 0 {
			spec.ClusterIPs = before.ClusterIPs
		}
	case spec.ClusterIP == before.ClusterIP && len(spec.ClusterIPs) == 0:
		spec.ClusterIPs = before.ClusterIPs
	case spec.ClusterIP != before.ClusterIP && (same || len(spec.ClusterIPs) == 0):
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
}

// carryNodePorts keeps the node port of a port of the same name, unless another port of the service now asks for it.
func carryNodePorts(svc, before *core.Service) {
	wanted := func(port int32) bool {
		return slices.ContainsFunc(svc.Spec.Ports, func(p core.ServicePort) bool { return p.NodePort == port })
	}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if p.NodePort != 0 {
			continue
		}
		for _, b := range before.Spec.Ports {
			if b.Name == p.Name && !wanted(b.NodePort) {
				p.NodePort = b.NodePort
			}
		}
	}
}

func givesNodePorts(svc *core.Service) bool {
	return svc.Spec.Type == core.ServiceTypeNodePort ||
		svc.Spec.Type == core.ServiceTypeLoadBalancer && ptr.Deref(svc.Spec.AllocateLoadBalancerNodePorts, true)
}

func givesHealthPort(svc *core.Service) bool {
	return svc.Spec.Type == core.ServiceTypeLoadBalancer && svc.Spec.ExternalTrafficPolicy == core.ServiceExternalTrafficPolicyLocal
}
