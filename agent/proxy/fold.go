package proxy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Node is the machine that is served.
type Node struct {
	// Name is what endpoints call the node; traffic policies compare it.
	Name string
	// Addrs are the node's own addresses at which node ports answer. Loopback addresses don't work there.
	Addrs []netip.Addr
	// Zone is where the node is, for endpoints with hints; empty: nobody has said. A change may tell.
	Zone string
}

// fold holds the objects that are known and the virtual servers that follow from them.
type fold struct {
	node  Node
	known *Catalog
	// keysOf has the keys that a service claims, claims the claims on a key, the winner first.
	keysOf  map[types.NamespacedName][]Key
	claims  map[Key][]claim
	servers map[Key]VirtualServer
	// health are the answers of services with a health check port; healthChanged says that they have changed since it was reset.
	health        map[types.NamespacedName]HealthCheck
	healthChanged bool
}

func newFold(node Node) *fold {
	return &fold{
		node:    node,
		known:   NewCatalog(),
		keysOf:  map[types.NamespacedName][]Key{},
		claims:  map[Key][]claim{},
		servers: map[Key]VirtualServer{},
		health:  map[types.NamespacedName]HealthCheck{},
	}
}

// apply takes in changes and gives the difference that they make. Its cost grows with the services that the
// changes name, not with those that exist.
func (f *fold) apply(changes []Change) Diff {
	dirty, touched := map[Key]bool{}, map[types.NamespacedName]bool{}
	for _, change := range changes {
		maps.Copy(touched, f.known.Apply(change))
		if change.Zone != nil && *change.Zone != f.node.Zone {
			f.node.Zone = *change.Zone
			for name := range f.known.services { // a node moves to another zone seldom
				touched[name] = true
			}
		}
	}
	for name := range touched {
		f.reclaim(name, dirty)
	}
	return f.settle(dirty)
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
	svc := f.known.Service(name)
	f.recheck(name, svc)
	if svc == nil {
		return
	}
	for _, c := range decideClaims(f.node, svc, f.known.Slices(name)) {
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
	if s.Guarded {
		words = append(words, fmt.Sprintf("only-from=%v", s.Sources))
	}
	if s.PreserveSource {
		words = append(words, "preserve-source")
	}
	return strings.Join(words, " ")
}
