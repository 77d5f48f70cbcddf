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
	var families []corev1.IPFamily
	for _, prefix := range s.ServiceRanges() {
		if prefix.Addr().Is4() {
			families = append(families, corev1.IPv4Protocol)
		} else {
			families = append(families, corev1.IPv6Protocol)
		}
	}
	return families
}

// ServiceRanges gives the ranges of services' addresses, as DefaultServiceCIDR says.
func (s *State) ServiceRanges() []netip.Prefix {
	o, ok := s.Get(DefaultServiceCIDR())
	if !ok {
		return nil
	}
	cidr, ok := o.Typed().(*networkingv1.ServiceCIDR)
	if !ok {
		return nil
	}
	var ranges []netip.Prefix
	for _, text := range cidr.Spec.CIDRs {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			ranges = append(ranges, prefix)
		}
	}
	return ranges
}
