package service

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// DefaultRange is where cluster IPs come from unless a cluster is told otherwise: Kubernetes' usual range.
var DefaultRange = netip.MustParsePrefix("10.96.0.0/16")

// Addresses is the decider that gives Services their cluster IPs and node ports. Its keys are Services.
type Addresses struct {
	ranges  []netip.Prefix
	claims  map[events.Ref]map[events.Ref]bool // by the Service that holds them
	waiting map[events.Ref]bool                // Services that were refused something
}

var (
	_ runner.Decider = (*Addresses)(nil)
	_ runner.Folder  = (*Addresses)(nil)
)

// NewAddresses returns the decider for ranges of cluster IPs, one or one of each family, the preferred family first.
func NewAddresses(ranges ...netip.Prefix) *Addresses {
	masked := make([]netip.Prefix, 0, len(ranges))
	for _, prefix := range ranges {
		masked = append(masked, prefix.Masked())
	}
	return &Addresses{ranges: masked, claims: map[events.Ref]map[events.Ref]bool{}, waiting: map[events.Ref]bool{}}
}

// Name is "service-addresses".
func (a *Addresses) Name() string { return "service-addresses" }

// Fold keeps account of who holds which claims and of who waits for one.
func (a *Addresses) Fold(c events.Change) {
	ref := c.Ref()
	switch ref.GroupResource() {
	case servicesKind:
		delete(a.waiting, ref)
		if c.New != nil && refusalOf(c.New.Typed().(*corev1.Service)) != nil {
			a.waiting[ref] = true
		}
	case addressesKind, leasesKind:
		if h, ok := holderOf(c.Old); ok {
			delete(a.claims[h.service], ref)
			if len(a.claims[h.service]) == 0 {
				delete(a.claims, h.service)
			}
		}
		if h, ok := holderOf(c.New); ok {
			if a.claims[h.service] == nil {
				a.claims[h.service] = map[events.Ref]bool{}
			}
			a.claims[h.service][ref] = true
		}
	}
}

// Keys asks for a Service when it changed, and when a claim of its changed. Those that wait are asked for when a claim becomes free.
func (a *Addresses) Keys(c events.Change, _ *events.State) []events.Ref {
	switch ref := c.Ref(); ref.GroupResource() {
	case servicesKind:
		if c.Old == nil || c.New == nil || c.Event.Facet == events.Desired {
			return []events.Ref{ref}
		}
	case addressesKind, leasesKind:
		var keys []events.Ref
		for _, o := range []*events.Object{c.Old, c.New} {
			if h, ok := holderOf(o); ok {
				keys = append(keys, h.service)
			}
		}
		if len(keys) > 0 && c.New == nil {
			keys = append(keys, slices.SortedFunc(maps.Keys(a.waiting), compareRefs)...)
		}
		return keys
	}
	return nil
}

func compareRefs(a, b events.Ref) int {
	return strings.Compare(a.String(), b.String())
}
