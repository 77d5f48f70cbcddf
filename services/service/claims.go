package service

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wakehq/wake/events"
)

// HolderAnnotation of a claim is the UID of the Service that holds it.
const HolderAnnotation = "wake.dev/service-uid"

// manager is who the claims of cluster IPs say that they are managed by; those of load balancers have another.
const manager = "wake.dev"

// nodePortPrefix begins the name of a Lease that claims a node port: "nodeport-30080".
const nodePortPrefix = "nodeport-"

var (
	servicesKind  = events.GroupResource{Resource: "services"}
	addressesKind = events.GroupResource{Group: "networking.k8s.io", Resource: "ipaddresses"}
	leasesKind    = events.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}
)

// holder is who has a claim.
type holder struct {
	service events.Ref
	uid     string
}

// holderOf reads a claim; false if o is nil or no claim.
func holderOf(o *events.Object) (holder, bool) {
	if o == nil || o.Typed() == nil {
		return holder{}, false
	}
	h := holder{uid: o.Meta().GetAnnotations()[HolderAnnotation]}
	switch claim := o.Typed().(type) {
	case *networkingv1.IPAddress:
		parent := claim.Spec.ParentRef
		if claim.Labels[networkingv1.LabelManagedBy] != manager || parent == nil || parent.Group != "" || parent.Resource != "services" {
			return holder{}, false
		}
		h.service = serviceRef(parent.Namespace, parent.Name)
		return h, true
	case *coordinationv1.Lease:
		if claim.Namespace != metav1.NamespaceSystem || !strings.HasPrefix(claim.Name, nodePortPrefix) || claim.Spec.HolderIdentity == nil {
			return holder{}, false
		}
		namespace, name, ok := strings.Cut(*claim.Spec.HolderIdentity, "/")
		h.service = serviceRef(namespace, name)
		return h, ok
	}
	return holder{}, false
}

func serviceRef(namespace, name string) events.Ref {
	return events.Ref{Resource: "services", Namespace: namespace, Name: name}
}

func addressClaim(address netip.Addr) events.Ref {
	return events.Ref{Group: addressesKind.Group, Resource: addressesKind.Resource, Name: address.String()}
}

func portClaim(port int32) events.Ref {
	return events.Ref{Group: leasesKind.Group, Resource: leasesKind.Resource, Namespace: metav1.NamespaceSystem,
		Name: nodePortPrefix + strconv.Itoa(int(port))}
}

// claimedPort is the inverse of portClaim; false for a claim of an address.
func claimedPort(claim events.Ref) (int32, bool) {
	digits, ok := strings.CutPrefix(claim.Name, nodePortPrefix)
	port, err := strconv.ParseInt(digits, 10, 32)
	return int32(port), ok && err == nil
}

// newClaim returns the object that gives a claim to h.
func newClaim(state *events.State, claim events.Ref, h holder, now metav1.Time) runtime.Object {
	m := metav1.ObjectMeta{Namespace: claim.Namespace, Name: claim.Name, Generation: 1, CreationTimestamp: now,
		UID:         events.DeriveUID(claim, h.uid, state.Slot(claim).Expect(events.Desired)),
		Annotations: map[string]string{HolderAnnotation: h.uid}}
	if claim.GroupResource() == leasesKind {
		identity := fmt.Sprintf("%s/%s", h.service.Namespace, h.service.Name)
		return &coordinationv1.Lease{ObjectMeta: m, Spec: coordinationv1.LeaseSpec{HolderIdentity: &identity}}
	}
	family := "IPv4"
	if strings.Contains(claim.Name, ":") {
		family = "IPv6"
	}
	m.Labels = map[string]string{networkingv1.LabelIPAddressFamily: family, networkingv1.LabelManagedBy: manager}
	return &networkingv1.IPAddress{ObjectMeta: m, Spec: networkingv1.IPAddressSpec{
		ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: h.service.Namespace, Name: h.service.Name}}}
}
