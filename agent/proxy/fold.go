package proxy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Node is the machine that is served.
type Node struct {
	// Name is what endpoints call the node; traffic policies compare it.
	Name string
	// Addrs are the node's own addresses at which node ports answer. Loopback addresses don't work there.
	Addrs []netip.Addr
}

// Change is what happened to the objects that the proxy follows. Objects must not be modified afterwards.
type Change struct {
	Services     []*corev1.Service
	ServicesGone []types.NamespacedName
	SlicesPut    []*discoveryv1.EndpointSlice
	SlicesGone   []types.NamespacedName
	// Full says that Services and SlicesPut are all there is: everything else is gone.
	Full bool
}

// fold holds the objects that are known and the virtual servers that follow from them.
type fold struct {
	node     Node
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName]*discoveryv1.EndpointSlice
	// slicesOf has the names of a service's slices. They may arrive before their service and outlive it.
	slicesOf map[types.NamespacedName]map[types.NamespacedName]bool
	// keysOf has the keys that a service claims, claims the claims on a key, the winner first.
	keysOf  map[types.NamespacedName][]Key
	claims  map[Key][]claim
	servers map[Key]VirtualServer
}

func newFold(node Node) *fold {
	return &fold{
		node:     node,
		services: map[types.NamespacedName]*corev1.Service{},
		slices:   map[types.NamespacedName]*discoveryv1.EndpointSlice{},
		slicesOf: map[types.NamespacedName]map[types.NamespacedName]bool{},
		keysOf:   map[types.NamespacedName][]Key{},
		claims:   map[Key][]claim{},
		servers:  map[Key]VirtualServer{},
	}
}

// apply takes in a change and gives the difference that it makes. Its cost grows with the services that the
// change names, not with those that exist.
func (f *fold) apply(change Change) Diff {
	touched := map[types.NamespacedName]bool{}
	if change.Full {
		change.ServicesGone = absent(f.services, change.Services)
		change.SlicesGone = absent(f.slices, change.SlicesPut)
	}
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
	dirty := map[Key]bool{}
	for name := range touched {
		f.reclaim(name, dirty)
	}
	return f.settle(dirty)
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

// serviceOf names the service that a slice belongs to.
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

// reclaim replaces the claims of a service and marks the keys that this may concern.
func (f *fold) reclaim(name types.NamespacedName, dirty map[Key]bool) {
	for _, key := range f.keysOf[name] {
		dirty[key] = true
		f.claims[key] = slices.DeleteFunc(f.claims[key], func(c claim) bool { return c.server.Service == name })
		if len(f.claims[key]) == 0 {
			delete(f.claims, key)
		}
	}
	delete(f.keysOf, name)
	svc := f.services[name]
	if svc == nil {
		return
	}
	var eps []*discoveryv1.EndpointSlice
	for slice := range f.slicesOf[name] {
		eps = append(eps, f.slices[slice])
	}
	for _, c := range decideClaims(f.node, svc, eps) {
		key := c.server.Key
		dirty[key] = true
		at, _ := slices.BinarySearchFunc(f.claims[key], c, compareClaims)
		f.claims[key] = slices.Insert(f.claims[key], at, c)
		f.keysOf[name] = append(f.keysOf[name], key)
	}
}

// settle brings the servers of the keys in line with their claims.
func (f *fold) settle(dirty map[Key]bool) Diff {
	var diff Diff
	for _, key := range slices.SortedFunc(maps.Keys(dirty), Key.Compare) {
		before, existed := f.servers[key]
		claims := f.claims[key]
		switch {
		case len(claims) == 0 && existed:
			delete(f.servers, key)
			diff.Gone = append(diff.Gone, key)
		case len(claims) > 0 && (!existed || !before.Equal(claims[0].server)):
			f.servers[key] = claims[0].server
			diff.Put = append(diff.Put, claims[0].server)
		}
	}
	return diff
}

// String shows a diff one server per line, as golden tests and log lines want it.
func (d Diff) String() string {
	var b strings.Builder
	for _, key := range d.Gone {
		b.WriteString("- " + key.String() + "\n")
	}
	for _, s := range d.Put {
		b.WriteString("+ " + s.String() + "\n")
	}
	return b.String()
}

// String shows a server in one line.
func (s VirtualServer) String() string {
	words := []string{s.Key.String(), s.Service.String() + ":" + s.Port, "->"}
	for _, ep := range s.Endpoints {
		words = append(words, ep.String())
	}
	if len(s.Endpoints) == 0 {
		words = append(words, map[Unserved]string{Reject: "reject", Drop: "drop"}[s.Unserved])
	}
	if s.Affinity > 0 {
		words = append(words, "affinity="+s.Affinity.String())
	}
	if s.PreserveSource {
		words = append(words, "preserve-source")
	}
	return strings.Join(words, " ")
}
