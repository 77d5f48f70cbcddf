package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/agent/proxy"
)

// fold holds the objects that are known and what is answered about them.
type fold struct {
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName]*discoveryv1.EndpointSlice
	// slicesOf has the names of a service's slices. They may arrive before their service and outlive it.
	slicesOf map[types.NamespacedName]map[types.NamespacedName]bool
	entries  map[types.NamespacedName]*entry
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
		services:   map[types.NamespacedName]*corev1.Service{},
		slices:     map[types.NamespacedName]*discoveryv1.EndpointSlice{},
		slicesOf:   map[types.NamespacedName]map[types.NamespacedName]bool{},
		entries:    map[types.NamespacedName]*entry{},
		callers:    map[netip.Addr][]caller{},
		namespaces: map[string]int{},
	}
}

// apply takes in a change and gives the difference that it makes. Its cost grows with the services that the change names.
func (f *fold) apply(change proxy.Change) diff {
	if change.Full {
		change.ServicesGone = absent(f.services, change.Services)
		change.SlicesGone = absent(f.slices, change.SlicesPut)
	}
	touched := map[types.NamespacedName]bool{}
	for _, name := range change.ServicesGone {
		delete(f.services, name)
		touched[name] = true
	}
	for _, svc := range change.Services {
		f.services[nameOf(svc)] = svc
		touched[nameOf(svc)] = true
	}
	for _, name := range change.SlicesGone {
		f.dropSlice(name, touched)
	}
	for _, slice := range change.SlicesPut {
		f.putSlice(slice, touched)
	}
	d := diff{entries: map[types.NamespacedName]*entry{}, names: map[netip.Addr][]string{}, namespaces: map[string]bool{}}
	for name := range touched {
		f.renew(name, d)
	}
	for addr := range d.names {
		d.names[addr] = namesOf(f.callers[addr])
	}
	return d
}

// named is what services and slices have in common.
type named interface {
	GetNamespace() string
	GetName() string
}

func nameOf(object named) types.NamespacedName {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}
}

// absent gives the names that are known but not among the objects.
func absent[T named](known map[types.NamespacedName]T, objects []T) []types.NamespacedName {
	kept := make(map[types.NamespacedName]bool, len(objects))
	for _, object := range objects {
		kept[nameOf(object)] = true
	}
	var gone []types.NamespacedName
	for name := range known {
		if !kept[name] {
			gone = append(gone, name)
		}
	}
	return gone
}

func serviceOf(slice *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
}

func (f *fold) dropSlice(name types.NamespacedName, touched map[types.NamespacedName]bool) {
	slice := f.slices[name]
	if slice == nil {
		return
	}
	service := serviceOf(slice)
	delete(f.slices, name)
	delete(f.slicesOf[service], name)
	if len(f.slicesOf[service]) == 0 {
		delete(f.slicesOf, service)
	}
	touched[service] = true
}

func (f *fold) putSlice(slice *discoveryv1.EndpointSlice, touched map[types.NamespacedName]bool) {
	name, service := nameOf(slice), serviceOf(slice)
	f.dropSlice(name, touched) // its label may have named another service before
	f.slices[name] = slice
	if f.slicesOf[service] == nil {
		f.slicesOf[service] = map[types.NamespacedName]bool{}
	}
	f.slicesOf[service][name] = true
	touched[service] = true
}

// renew decides anew about one service and notes what has become different.
func (f *fold) renew(name types.NamespacedName, d diff) {
	before := f.entries[name]
	var after *entry
	if svc := f.services[name]; svc != nil {
		eps := make([]*discoveryv1.EndpointSlice, 0, len(f.slicesOf[name]))
		for slice := range f.slicesOf[name] {
			eps = append(eps, f.slices[slice])
		}
		after = decideEntry(svc, eps)
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
