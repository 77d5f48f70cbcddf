package ingress

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

var (
	ingressesKind = events.GroupResource{Group: "networking.k8s.io", Resource: "ingresses"}
	nodesKind     = events.GroupResource{Resource: "nodes"}
)

// Ingress is the decider. Its keys are Ingresses.
type Ingress struct{}

var _ runner.Decider = Ingress{}

// New returns the decider.
func New() Ingress { return Ingress{} }

// name is the service's; its events carry actor.
const (
	name  = "ingress"
	actor = "service:" + name
)

// Name is "ingress".
func (Ingress) Name() string { return name }

// Keys asks for an Ingress when it changed, and for all when a class or a door did.
func (Ingress) Keys(c events.Change, state *events.State) []events.Ref {
	switch ref := c.Ref(); ref.GroupResource() {
	case ingressesKind:
		return []events.Ref{ref}
	case events.IngressClassesKind:
		return all(state)
	case nodesKind:
		if !slices.Equal(addressesOf(c.Old), addressesOf(c.New)) {
			return all(state)
		}
	}
	return nil
}

func all(state *events.State) (keys []events.Ref) {
	for o := range state.All(ingressesKind, "") {
		keys = append(keys, o.Ref)
	}
	return keys
}

// addressesOf are the addresses of a door; none if the node is none.
func addressesOf(o *events.Object) []string {
	if o == nil || o.Meta().GetDeletionTimestamp() != nil {
		return nil
	}
	labels := o.Meta().GetLabels()
	if _, excluded := labels[corev1.LabelNodeExcludeBalancers]; excluded || labels[events.IngressLabel] != "true" {
		return nil
	}
	byType := map[corev1.NodeAddressType][]string{}
	status := &o.Typed().(*corev1.Node).Status
	if !slices.ContainsFunc(status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}) {
		return nil
	}
	for _, a := range status.Addresses {
		byType[a.Type] = append(byType[a.Type], a.Address)
	}
	if external := byType[corev1.NodeExternalIP]; len(external) > 0 {
		return external
	}
	return byType[corev1.NodeInternalIP]
}

// doors are the addresses of all doors, each once, in order.
func doors(state *events.State) []string {
	found := map[string]bool{}
	for o := range state.All(nodesKind, "") {
		for _, address := range addressesOf(o) {
			found[address] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}
