package schemas

import (
	"fmt"
	"net/netip"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/utils/ptr"
)

// admitService fills in a new service's linked fields. Its addresses and node ports stay open unless the user chose them: the service decider
// gives them.
func admitService(_ *Write, obj runtime.Object) error {
	svc := obj.(*core.Service)
	if svc.Spec.ClusterIP != "" && len(svc.Spec.ClusterIPs) == 0 {
		svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	}
	return setFamilies(svc)
}

// setFamilies says which IP families a service has: IPv4, the one that this cluster has. A headless service without a selector may name any, for its
// endpoints aren't the cluster's.
func setFamilies(svc *core.Service) error {
	if svc.Spec.Type == core.ServiceTypeExternalName {
		return nil
	}
	foreign := svc.Spec.ClusterIP == core.ClusterIPNone && len(svc.Spec.Selector) == 0
	if svc.Spec.IPFamilyPolicy == nil {
		svc.Spec.IPFamilyPolicy = ptr.To(core.IPFamilyPolicySingleStack)
		if foreign {
			svc.Spec.IPFamilyPolicy = ptr.To(core.IPFamilyPolicyRequireDualStack)
		}
	}
	if len(svc.Spec.IPFamilies) == 0 {
		svc.Spec.IPFamilies = []core.IPFamily{core.IPv4Protocol}
	}
	if foreign {
		if *svc.Spec.IPFamilyPolicy != core.IPFamilyPolicySingleStack && len(svc.Spec.IPFamilies) == 1 {
			other := map[core.IPFamily]core.IPFamily{core.IPv4Protocol: core.IPv6Protocol, core.IPv6Protocol: core.IPv4Protocol}
			svc.Spec.IPFamilies = append(svc.Spec.IPFamilies, other[svc.Spec.IPFamilies[0]])
		}
		return nil
	}
	return checkFamilies(svc)
}

// checkFamilies refuses what a cluster with IPv4 alone can't give.
func checkFamilies(svc *core.Service) error {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	if *svc.Spec.IPFamilyPolicy == core.IPFamilyPolicyRequireDualStack {
		errs = append(errs, field.Invalid(spec.Child("ipFamilyPolicy"), *svc.Spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, family := range svc.Spec.IPFamilies {
		if family == core.IPv6Protocol {
			errs = append(errs, field.Invalid(spec.Child("ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	for i, ip := range svc.Spec.ClusterIPs {
		if addr, err := netip.ParseAddr(ip); err == nil && addr.Is6() {
			errs = append(errs, field.Invalid(spec.Child("clusterIPs").Index(i), ip, fmt.Sprintf("%s is not configured on this cluster", core.IPv6Protocol)))
		}
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(core.Kind("Service"), svc.Name, errs)
	}
	return nil
}

// carryService lets an update leave out what was allocated: a user who replaces a service with the manifest from which it was made doesn't
// mean to give up its address.
func carryService(obj, old runtime.Object) error {
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
	if svc.Spec.Type == external {
		return nil
	}
	if svc.Spec.IPFamilyPolicy == nil {
		svc.Spec.IPFamilyPolicy = before.Spec.IPFamilyPolicy
	}
	if len(svc.Spec.IPFamilies) == 0 {
		svc.Spec.IPFamilies = before.Spec.IPFamilies
	}
	return setFamilies(svc)
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
