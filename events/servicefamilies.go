package events

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// DefaultServiceCIDR is the object that says which addresses the cluster's services get, as in Kubernetes (KEP-1880).
func DefaultServiceCIDR() Ref {
	return Ref{Group: networkingv1.GroupName, Resource: "servicecidrs", Name: "kubernetes"}
}

// ServiceFamilies gives the IP families of which the cluster has addresses for services, the preferred one first; none if nothing says so.
func (s *State) ServiceFamilies() []corev1.IPFamily {
	o, ok := s.Get(DefaultServiceCIDR())
	if !ok {
		return nil
	}
	cidr, ok := o.Typed().(*networkingv1.ServiceCIDR)
	if !ok {
		return nil
	}
	var families []corev1.IPFamily
	for _, text := range cidr.Spec.CIDRs {
		prefix, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
		case prefix.Addr().Is4():
			families = append(families, corev1.IPv4Protocol)
		default:
			families = append(families, corev1.IPv6Protocol)
		}
	}
	return families
}
