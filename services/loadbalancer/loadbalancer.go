package loadbalancer

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas/addresspool"
	"github.com/wakehq/wake/services/runner"
)

// Class is the spec.loadBalancerClass by which a Service asks for this load balancer; those without a class get it too.
const Class = "wake.dev/load-balancer"

var (
	servicesKind  = events.GroupResource{Resource: "services"}
	nodesKind     = events.GroupResource{Resource: "nodes"}
	configMaps    = events.GroupResource{Resource: "configmaps"}
	addressesKind = events.GroupResource{Group: "networking.k8s.io", Resource: "ipaddresses"}
	cidrsKind     = events.GroupResource{Group: "networking.k8s.io", Resource: "servicecidrs"}
	slicesKind    = events.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
)

// LoadBalancer is the decider. Its keys are Services.
type LoadBalancer struct {
	claims   map[events.Ref]map[events.Ref]bool // by the Service that holds them
	balanced map[events.Ref]bool                // Services that want an address
}

var (
	_ runner.Decider = (*LoadBalancer)(nil)
	_ runner.Folder  = (*LoadBalancer)(nil)
)

// New returns the decider.
func New() *LoadBalancer {
	return &LoadBalancer{claims: map[events.Ref]map[events.Ref]bool{}, balanced: map[events.Ref]bool{}}
}

// Name is "load-balancer".
func (l *LoadBalancer) Name() string { return "load-balancer" }

// Fold keeps account of who holds which claims and of who wants any.
func (l *LoadBalancer) Fold(c events.Change) {
	ref := c.Ref()
	switch ref.GroupResource() {
	case servicesKind:
		delete(l.balanced, ref)
		if c.New != nil && isOurs(c.New.Typed().(*corev1.Service)) {
			l.balanced[ref] = true
		}
	case addressesKind:
		if h, ok := holderOf(c.Old); ok {
			delete(l.claims[h.service], ref)
			if len(l.claims[h.service]) == 0 {
				delete(l.claims, h.service)
			}
		}
		if h, ok := holderOf(c.New); ok {
			if l.claims[h.service] == nil {
				l.claims[h.service] = map[events.Ref]bool{}
			}
			l.claims[h.service][ref] = true
		}
	}
}

// isOurs says that a Service is to get its address here.
func isOurs(svc *corev1.Service) bool {
	class := svc.Spec.LoadBalancerClass
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && (class == nil || *class == Class)
}

// Keys asks for a Service when it or a claim of its changed, for all that want an address when one became free or the pools changed, and for all that have
// one when a node changed.
func (l *LoadBalancer) Keys(c events.Change, _ *events.State) []events.Ref {
	ref := c.Ref()
	switch ref.GroupResource() {
	case servicesKind:
		if balancedBefore(c.Old) || balancedBefore(c.New) || len(l.claims[ref]) > 0 {
			return []events.Ref{ref}
		}
	case addressesKind:
		return l.claimKeys(c)
	case configMaps:
		if ref.Namespace == addresspool.Namespace && ref.Name == addresspool.ConfigMap {
			return sorted(l.balanced)
		}
	case cidrsKind:
		return sorted(l.balanced)
	case nodesKind:
		if c.Old == nil || c.New == nil || !sameStanding(c.Old, c.New) {
			return slices.SortedFunc(maps.Keys(l.claims), compareRefs)
		}
	case slicesKind:
		for _, o := range []*events.Object{c.New, c.Old} {
			if o == nil {
				continue
			}
			service := serviceRef(ref.Namespace, o.Meta().GetLabels()[discoveryv1.LabelServiceName])
			if l.balanced[service] {
				return []events.Ref{service}
			}
		}
	}
	return nil
}

func balancedBefore(o *events.Object) bool {
	if o == nil {
		return false
	}
	svc := o.Typed().(*corev1.Service)
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer || len(svc.Status.LoadBalancer.Ingress) > 0 || conditionOf(svc, PendingCondition) != nil
}

func (l *LoadBalancer) claimKeys(c events.Change) []events.Ref {
	keys := map[events.Ref]bool{}
	for _, o := range []*events.Object{c.Old, c.New} {
		if h, ok := holderOf(o); ok {
			keys[h.service] = true
		}
	}
	if c.New == nil {
		maps.Copy(keys, l.balanced)
	}
	return sorted(keys)
}

func sorted(refs map[events.Ref]bool) []events.Ref {
	return slices.SortedFunc(maps.Keys(refs), compareRefs)
}

func compareRefs(a, b events.Ref) int { return strings.Compare(a.String(), b.String()) }

// sameStanding says that nothing changed of a node that decides whether it may announce.
func sameStanding(a, b *events.Object) bool {
	return maps.Equal(a.Meta().GetLabels(), b.Meta().GetLabels()) && isReady(a) == isReady(b) &&
		(a.Meta().GetDeletionTimestamp() == nil) == (b.Meta().GetDeletionTimestamp() == nil)
}
