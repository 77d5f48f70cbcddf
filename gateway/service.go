package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wakehq/wake/events"
)

// The range of node ports, both inclusive; those of Kubernetes by default.
const (
	firstNodePort = 30000
	lastNodePort  = 32767
)

// checkService refuses a service that asks for an address or a node port that another one has, or that is out of range. Those that it leaves
// open are given out later, by the service decider. Two services that ask for the same at the same instant both get in: the decider sees it.
func (g *Gateway) checkService(state *events.State, obj runtime.Object, old *events.Object) error {
	service, ok := obj.(*corev1.Service)
	if !ok {
		return nil
	}
	addresses, ports := claims(service)
	if old != nil {
		if before, ok := old.Typed().(*corev1.Service); ok {
			hadAddresses, hadPorts := claims(before)
			addresses = slices.DeleteFunc(addresses, func(a string) bool { return slices.Contains(hadAddresses, a) })
			ports = slices.DeleteFunc(ports, func(p int32) bool { return slices.Contains(hadPorts, p) })
		}
	}
	if len(addresses) == 0 && len(ports) == 0 {
		return nil
	}
	errs := g.checkRange(service, addresses)
	for _, p := range ports {
		if p < firstNodePort || p > lastNodePort {
			errs = append(errs, badPort(service, p, fmt.Sprintf("provided port is not in the valid range. The range of valid ports is %d-%d", firstNodePort, lastNodePort)))
		}
	}
	for o := range state.All(events.GroupResource{Resource: "services"}, "") {
		other, ok := o.Typed().(*corev1.Service)
		if !ok || other.Namespace == service.Namespace && other.Name == service.Name {
			continue
		}
		takenAddresses, takenPorts := claims(other)
		for _, a := range addresses {
			if slices.Contains(takenAddresses, a) {
				errs = append(errs, badAddress(service, a, "provided IP is already allocated"))
			}
		}
		for _, p := range ports {
			if slices.Contains(takenPorts, p) {
				errs = append(errs, badPort(service, p, "provided port is already allocated"))
			}
		}
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), service.Name, errs)
	}
	return nil
}

// claims returns the cluster addresses and the node ports that a service has, that for health checks among them.
func claims(service *corev1.Service) (addresses []string, ports []int32) {
	for _, address := range append([]string{service.Spec.ClusterIP}, service.Spec.ClusterIPs...) {
		if address != "" && address != corev1.ClusterIPNone && !slices.Contains(addresses, address) {
			addresses = append(addresses, address)
		}
	}
	for _, p := range service.Spec.Ports {
		if p.NodePort != 0 && !slices.Contains(ports, p.NodePort) {
			ports = append(ports, p.NodePort)
		}
	}
	if p := service.Spec.HealthCheckNodePort; p != 0 {
		ports = append(ports, p)
	}
	return addresses, ports
}

// checkRange holds that an address is of the range of its family.
func (g *Gateway) checkRange(service *corev1.Service, addresses []string) field.ErrorList {
	var errs field.ErrorList
	for _, text := range addresses {
		address, err := netip.ParseAddr(text)
		if err != nil || len(g.config.ServiceCIDRs) == 0 {
			continue
		}
		ranges := make([]string, 0, 1)
		within := false
		for _, cidr := range g.config.ServiceCIDRs {
			if cidr.Addr().Is4() == address.Is4() {
				ranges = append(ranges, cidr.String())
				within = within || cidr.Contains(address)
			}
		}
		if !within {
			errs = append(errs, badAddress(service, text,
				fmt.Sprintf("the provided IP (%s) is not in the valid range. The range of valid IPs is %s", address, strings.Join(ranges, ", "))))
		}
	}
	return errs
}

func badAddress(service *corev1.Service, address, reason string) *field.Error {
	return field.Invalid(field.NewPath("spec", "clusterIPs"), service.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: %s", address, reason))
}

func badPort(service *corev1.Service, port int32, reason string) *field.Error {
	i := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.NodePort == port })
	if i < 0 {
		return field.Invalid(field.NewPath("spec", "healthCheckNodePort"), port, reason)
	}
	return field.Invalid(field.NewPath("spec", "ports").Index(i).Child("nodePort"), port, reason)
}
