package schemas

import (
	"fmt"
	"net/netip"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/utils/ptr"
)

// serviceFamilies are the families that services may have, the cluster's preferred one first.
func (w *Write) serviceFamilies() []core.IPFamily {
	if len(w.ServiceFamilies) == 0 {
		return []core.IPFamily{core.IPv4Protocol}
	}
	families := make([]core.IPFamily, 0, len(w.ServiceFamilies))
	for _, family := range w.ServiceFamilies {
		families = append(families, core.IPFamily(family))
	}
	return families
}

// setFamilies says which IP families a service has and under which policy, by the rules of KEP-563; before is nil for a new one. A policy that isn't
// spelled out stays, so that nothing but the user's own word adds or takes away a family.
func setFamilies(has []core.IPFamily, svc, before *core.Service) error {
	spec := &svc.Spec
	if spec.Type == core.ServiceTypeExternalName || isSettled(svc, before) {
		return nil
	}
	foreign := spec.ClusterIP == core.ClusterIPNone && len(spec.Selector) == 0
	if spec.IPFamilyPolicy == nil {
		spec.IPFamilyPolicy = inheritedPolicy(before, foreign)
	}
	if errs := validation.ValidateServiceClusterIPsRelatedFields(svc, before); len(errs) > 0 {
		return invalidService(svc, errs)
	}
	var errs field.ErrorList
	if before != nil {
		errs = append(errs, reduceFamilies(svc, before)...)
	}
	errs = append(errs, checkPolicy(spec)...)
	errs = append(errs, inferFamilies(has, spec)...)
	if len(errs) > 0 {
		return invalidService(svc, errs)
	}
	if !foreign { // the endpoints of one without a selector aren't the cluster's, and may be of any family
		if errs := checkFamilies(has, spec); len(errs) > 0 {
			return invalidService(svc, errs)
		}
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []core.IPFamily{has[0]}
	}
	if *spec.IPFamilyPolicy != core.IPFamilyPolicySingleStack && len(spec.IPFamilies) == 1 && (foreign || len(has) == 2) {
		spec.IPFamilies = append(slices.Clone(spec.IPFamilies), otherFamily(spec.IPFamilies[0]))
	}
	return nil
}

// isSettled says that an update has nothing to do with families: one that prefers both keeps what it was given though the cluster may have
// got a second family since.
func isSettled(svc, before *core.Service) bool {
	prefers := func(s *core.Service) bool {
		return ptr.Deref(s.Spec.IPFamilyPolicy, core.IPFamilyPolicyPreferDualStack) == core.IPFamilyPolicyPreferDualStack
	}
	return before != nil && before.Spec.Type == svc.Spec.Type && svc.Spec.IPFamilyPolicy != nil && prefers(svc) && prefers(before) &&
		len(svc.Spec.IPFamilies) > 0 && slices.Equal(svc.Spec.ClusterIPs, before.Spec.ClusterIPs) && slices.Equal(svc.Spec.IPFamilies, before.Spec.IPFamilies)
}

func inheritedPolicy(before *core.Service, foreign bool) *core.IPFamilyPolicy {
	switch {
	case before != nil && before.Spec.IPFamilyPolicy != nil:
		return ptr.To(*before.Spec.IPFamilyPolicy)
	case foreign:
		return ptr.To(core.IPFamilyPolicyRequireDualStack)
	}
	return ptr.To(core.IPFamilyPolicySingleStack)
}

// reduceFamilies takes the second family from a service that was told to be SingleStack, and refuses to guess where it wasn't.
func reduceFamilies(svc, before *core.Service) field.ErrorList {
	spec, old := &svc.Spec, &before.Spec
	if *spec.IPFamilyPolicy == core.IPFamilyPolicySingleStack {
		if slices.Equal(spec.ClusterIPs, old.ClusterIPs) && len(spec.ClusterIPs) > 1 {
			spec.ClusterIPs = spec.ClusterIPs[:1]
		}
		if slices.Equal(spec.IPFamilies, old.IPFamilies) && len(spec.IPFamilies) > 1 {
			spec.IPFamilies = spec.IPFamilies[:1]
		}
		return nil
	}
	var errs field.ErrorList
	path := field.NewPath("spec", "ipFamilyPolicy")
	if len(spec.ClusterIPs) == 1 && len(old.ClusterIPs) == 2 && spec.ClusterIPs[0] == old.ClusterIPs[0] {
		errs = append(errs, field.Invalid(path, spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary cluster IP"))
	}
	if len(spec.IPFamilies) == 1 && len(old.IPFamilies) == 2 && spec.IPFamilies[0] == old.IPFamilies[0] {
		errs = append(errs, field.Invalid(path, spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary IP family"))
	}
	return errs
}

func checkPolicy(spec *core.ServiceSpec) field.ErrorList {
	if *spec.IPFamilyPolicy != core.IPFamilyPolicySingleStack {
		return nil
	}
	var errs field.ErrorList
	path := field.NewPath("spec", "ipFamilyPolicy")
	if len(spec.ClusterIPs) == 2 {
		errs = append(errs, field.Invalid(path, spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"))
	}
	if len(spec.IPFamilies) == 2 {
		errs = append(errs, field.Invalid(path, spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"))
	}
	return errs
}

// inferFamilies adds the families of addresses that the user chose.
func inferFamilies(has []core.IPFamily, spec *core.ServiceSpec) (errs field.ErrorList) {
	for i, text := range spec.ClusterIPs {
		address, err := netip.ParseAddr(text)
		if err != nil || i < len(spec.IPFamilies) {
			continue
		}
		family := core.IPv4Protocol
		if address.Is6() {
			family = core.IPv6Protocol
		}
		if !slices.Contains(has, family) {
			errs = append(errs, field.Invalid(field.NewPath("spec", "clusterIPs").Index(i), spec.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", family)))
			continue
		}
		spec.IPFamilies = append(slices.Clone(spec.IPFamilies), family)
	}
	return errs
}

// checkFamilies refuses what the cluster has no addresses for.
func checkFamilies(has []core.IPFamily, spec *core.ServiceSpec) (errs field.ErrorList) {
	path := field.NewPath("spec")
	if *spec.IPFamilyPolicy == core.IPFamilyPolicyRequireDualStack && len(has) < 2 {
		errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, family := range spec.IPFamilies {
		if !slices.Contains(has, family) {
			errs = append(errs, field.Invalid(path.Child("ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	return errs
}

func otherFamily(family core.IPFamily) core.IPFamily {
	if family == core.IPv4Protocol {
		return core.IPv6Protocol
	}
	return core.IPv4Protocol
}

func invalidService(svc *core.Service, errs field.ErrorList) error {
	return apierrors.NewInvalid(core.Kind("Service"), svc.Name, errs)
}
