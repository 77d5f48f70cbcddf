package loadbalancer

import (
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
)

// HolderAnnotation of a claim is the UID of the Service that holds it.
const HolderAnnotation = "wake.dev/service-uid"

// manager is who the claims say that they are managed by; those of cluster IPs have another.
const manager = "load-balancer.wake.dev"

// holder is who has a claim.
type holder struct {
	service events.Ref
	uid     string
}

// holderOf reads a claim; false if o is nil or no claim of this decider.
func holderOf(o *events.Object) (holder, bool) {
	if o == nil {
		return holder{}, false
	}
	claim, ok := o.Typed().(*networkingv1.IPAddress)
	if !ok || claim.Labels[networkingv1.LabelManagedBy] != manager || claim.Spec.ParentRef == nil {
		return holder{}, false
	}
	parent := claim.Spec.ParentRef
	return holder{serviceRef(parent.Namespace, parent.Name), claim.Annotations[HolderAnnotation]}, true
}

// announcerOf is the node that announces the address of a claim; empty if none does.
func announcerOf(o *events.Object) string { return o.Meta().GetAnnotations()[events.AnnouncedBy] }

func serviceRef(namespace, name string) events.Ref {
	return events.Ref{Resource: "services", Namespace: namespace, Name: name}
}

func claimOf(address netip.Addr) events.Ref {
	return events.Ref{Group: addressesKind.Group, Resource: addressesKind.Resource, Name: address.String()}
}

// newClaim returns the object that gives an address to h.
func newClaim(state *events.State, address netip.Addr, h holder, announcer string, now metav1.Time) *networkingv1.IPAddress {
	ref := claimOf(address)
	annotations := map[string]string{HolderAnnotation: h.uid}
	if announcer != "" {
		annotations[events.AnnouncedBy] = announcer
	}
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: ref.Name, Generation: 1, CreationTimestamp: now, Annotations: annotations,
			UID:    events.DeriveUID(ref, h.uid, state.Slot(ref).Expect(events.Desired)),
			Labels: map[string]string{networkingv1.LabelIPAddressFamily: string(familyOf(address)), networkingv1.LabelManagedBy: manager}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: h.service.Namespace, Name: h.service.Name}},
	}
}
