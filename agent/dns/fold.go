package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/agent/proxy"
)

// fold holds the objects that are known and what is answered about them.
type fold struct {
	known   *proxy.Catalog
	entries map[types.NamespacedName]*entry
	// callers are those who give an address a name, sorted.
	callers    map[netip.Addr][]caller
	namespaces map[string]int // how many entries a namespace has
}

// caller gives an address a name: a service its cluster IP (the host is empty), or an endpoint its own.
type caller struct {
	service types.NamespacedName
	host    string
}

func compareCallers(a, b caller) int {
	return cmp.Or(cmp.Compare(a.host, b.host), strings.Compare(a.service.Namespace, b.service.Namespace), strings.Compare(a.service.Name, b.service.Name))
}

// diff is what a change makes of the answers.
type diff struct {
	entries    map[types.NamespacedName]*entry // nil: gone
	names      map[netip.Addr][]string         // what an address is called, below the zone; empty: nothing
	namespaces map[string]bool                 // whether they exist
}

func newFold() *fold {
	return &fold{
		known:      proxy.NewCatalog(),
		entries:    map[types.NamespacedName]*entry{},
		callers:    map[netip.Addr][]caller{},
		namespaces: map[string]int{},
	}
}

// apply takes in a change and gives the difference that it makes. Its cost grows with the services that the change names.
func (f *fold) apply(change proxy.Change) diff {
	d := diff{entries: map[types.NamespacedName]*entry{}, names: map[netip.Addr][]string{}, namespaces: map[string]bool{}}
	for name := range f.known.Apply(change) {
		f.renew(name, d)
	}
	for addr := range d.names {
		d.names[addr] = namesOf(f.callers[addr])
	}
	return d
}

// renew decides anew about one service and notes what has become different.
func (f *fold) renew(name types.NamespacedName, d diff) {
	before := f.entries[name]
	var after *entry
	if svc := f.known.Service(name); svc != nil {
		after = decideEntry(svc, f.known.Slices(name))
	}
	if before == nil && after == nil || before != nil && after != nil && before.equal(after) {
		return
	}
	d.entries[name] = after
	switch {
	case before == nil:
		f.namespaces[name.Namespace]++
	case after == nil:
		f.namespaces[name.Namespace]--
	}
	if f.entries[name] = after; after == nil {
		delete(f.entries, name)
	}
	exists := f.namespaces[name.Namespace] > 0
	if d.namespaces[name.Namespace] = exists; !exists {
		delete(f.namespaces, name.Namespace)
	}
	f.recall(calls(name, before), calls(name, after), d)
}

// call is an address and who gives it a name.
type call struct {
	addr netip.Addr
	by   caller
}

// calls are the names that a service gives: to its cluster IPs, and to the endpoints that asked for one.
func calls(name types.NamespacedName, e *entry) map[call]bool {
	out := map[call]bool{}
	if e == nil {
		return out
	}
	for _, ep := range e.front {
		if ep.host == "" {
			out[call{ep.addr, caller{service: name}}] = true
		}
	}
	for _, ep := range e.endpoints {
		if ep.named {
			out[call{ep.addr, caller{name, ep.host}}] = true
		}
	}
	return out
}

// recall replaces the names that a service gives to addresses.
func (f *fold) recall(before, after map[call]bool, d diff) {
	for c := range before {
		if after[c] {
			continue
		}
		d.names[c.addr] = nil
		f.callers[c.addr] = slices.DeleteFunc(f.callers[c.addr], func(other caller) bool { return other == c.by })
		if len(f.callers[c.addr]) == 0 {
			delete(f.callers, c.addr)
		}
	}
	for c := range after {
		if before[c] {
			continue
		}
		d.names[c.addr] = nil
		at, _ := slices.BinarySearchFunc(f.callers[c.addr], c.by, compareCallers)
		f.callers[c.addr] = slices.Insert(f.callers[c.addr], at, c.by)
	}
}

// namesOf gives what an address is called: as a service if it is one's, else all names of the endpoint.
func namesOf(callers []caller) []string {
	var names []string
	for _, c := range callers {
		service := c.service.Name + "." + c.service.Namespace + ".svc"
		if c.host == "" {
			return []string{service}
		}
		names = append(names, c.host+"."+service)
	}
	return names
}
