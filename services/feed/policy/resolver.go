package policy

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
)

// The kinds that policies follow from.
var (
	podsKind       = events.GroupResource{Resource: "pods"}
	namespacesKind = events.GroupResource{Resource: "namespaces"}
	policiesKind   = events.GroupResource{Group: "networking.k8s.io", Resource: "networkpolicies"}
)

// Name names something that a node may be told: an object of a slice.
type Name struct {
	Resource        nodewire.Resource
	Namespace, Name string
}

// Tell is called with each thing that may have changed for a node. Whether the node is still entitled to it, and how it is now, says Resolver.Object
// once all has been applied.
type Tell func(node string, name Name)

// Resolver holds what policies mean. It isn't safe for concurrent use.
type Resolver struct {
	namespaces map[string]*namespace
	groups     map[string]*group
	wide       map[*group]bool // those that look into the namespaces of a selector
	nodes      map[string]*node
	tell       Tell
}

// namespace holds what there is in one.
type namespace struct {
	name     string
	exists   bool // as an object
	labels   labels.Set
	pods     map[string]*pod
	policies map[string]*policy
	groups   map[*group]bool // that look here
}

// pod is a pod that can be isolated or a peer: none on the host's network, none that has ended.
type pod struct {
	namespace *namespace
	name      string
	uid       string
	node      string // empty: not bound yet
	labels    labels.Set
	addresses []netip.Addr
	ports     []nodewire.PolicyPort
	policies  map[*policy]bool // that select it
	groups    map[*group]bool  // that it is a member of
}

func (p *pod) tellName() Name { return Name{nodewire.PodPolicies, p.namespace.name, p.name} }

type policy struct {
	compiled
	namespace *namespace
	name      string
	pods      map[*pod]bool // that it selects
	groups    map[string]*group
	nodes     map[string]int // how many pods it selects on each
}

func (p *policy) tellName() Name { return Name{nodewire.Policies, p.namespace.name, p.name} }

type group struct {
	selection
	id      string
	members map[*pod]bool
	users   int            // policies
	nodes   map[string]int // how many policies of each name it
}

func (g *group) tellName(p *pod) Name {
	return Name{nodewire.PolicyPeers, g.id, p.namespace.name + "/" + p.name}
}

// node is what a node has, to be listed.
type node struct {
	pods     map[*pod]bool
	policies map[*policy]bool
	groups   map[*group]bool
}

// New returns what the policies of a state mean.
func New(state *events.State) *Resolver {
	r := &Resolver{
		namespaces: map[string]*namespace{}, groups: map[string]*group{}, wide: map[*group]bool{}, nodes: map[string]*node{},
		tell: func(string, Name) {},
	}
	for _, kind := range []events.GroupResource{namespacesKind, podsKind, policiesKind} {
		for o := range state.All(kind, "") {
			r.put(o)
		}
	}
	return r
}

// Apply takes a change in and tells which nodes it may concern.
func (r *Resolver) Apply(c events.Change, tell Tell) {
	defer func(before Tell) { r.tell = before }(r.tell)
	r.tell = tell
	if c.New != nil {
		r.put(c.New)
		return
	}
	switch ref := c.Ref(); ref.GroupResource() {
	case namespacesKind:
		r.relabel(r.namespace(ref.Name), nil, false)
		r.tidy(ref.Name)
	case podsKind:
		r.putPod(ref.Namespace, ref.Name, nil)
		r.tidy(ref.Namespace)
	case policiesKind:
		r.dropPolicy(ref.Namespace, ref.Name)
		r.tidy(ref.Namespace)
	}
}

func (r *Resolver) put(o *events.Object) {
	switch typed := o.Typed().(type) {
	case *corev1.Namespace:
		r.relabel(r.namespace(typed.Name), typed.Labels, true)
	case *corev1.Pod:
		r.putPod(typed.Namespace, typed.Name, typed)
		r.tidy(typed.Namespace)
	case *networkingv1.NetworkPolicy:
		r.putPolicy(typed)
	}
}

// namespace returns the namespace of a name, which needn't exist yet.
func (r *Resolver) namespace(name string) *namespace {
	ns := r.namespaces[name]
	if ns == nil {
		ns = &namespace{name: name, pods: map[string]*pod{}, policies: map[string]*policy{}, groups: map[*group]bool{}}
		r.namespaces[name] = ns
		for g := range r.wide {
			if g.looksInto(ns) {
				ns.groups[g] = true
			}
		}
	}
	return ns
}

// tidy forgets a namespace in which there is nothing.
func (r *Resolver) tidy(name string) {
	if ns := r.namespaces[name]; ns != nil && !ns.exists && len(ns.pods) == 0 && len(ns.policies) == 0 {
		delete(r.namespaces, name)
	}
}

// relabel takes over a namespace's labels, and with its pods what that makes of groups.
func (r *Resolver) relabel(ns *namespace, set labels.Set, exists bool) {
	ns.exists = exists
	if maps.Equal(ns.labels, set) {
		return
	}
	ns.labels = set
	for g := range r.wide {
		looks := g.looksInto(ns)
		if looks == ns.groups[g] {
			continue
		}
		if looks {
			ns.groups[g] = true
		} else {
			delete(ns.groups, g)
		}
		for _, p := range ns.pods {
			r.setMember(g, p, looks && g.chooses(p))
		}
	}
}

// node returns what a node has, to be changed.
func (r *Resolver) node(name string) *node {
	n := r.nodes[name]
	if n == nil {
		n = &node{pods: map[*pod]bool{}, policies: map[*policy]bool{}, groups: map[*group]bool{}}
		r.nodes[name] = n
	}
	return n
}

// Names gives everything that a node is entitled to.
func (r *Resolver) Names(nodeName string) iter.Seq[Name] {
	return func(yield func(Name) bool) {
		n := r.nodes[nodeName]
		if n == nil {
			return
		}
		for p := range n.pods {
			if !yield(p.tellName()) {
				return
			}
		}
		for p := range n.policies {
			if !yield(p.tellName()) {
				return
			}
		}
		for g := range n.groups {
			for p := range g.members {
				if !yield(g.tellName(p)) {
					return
				}
			}
		}
	}
}

// Object words what a node is to know under a name; false if it is not to know anything.
func (r *Resolver) Object(nodeName string, name Name) (nodewire.Object, bool, error) {
	content := r.content(nodeName, name)
	if content == nil {
		return nodewire.Object{}, false, nil
	}
	data, err := json.Marshal(content)
	if err != nil {
		return nodewire.Object{}, false, fmt.Errorf("encoding %s %s/%s for a node: %w", name.Resource, name.Namespace, name.Name, err)
	}
	return nodewire.Object{Resource: name.Resource, Namespace: name.Namespace, Name: name.Name, Data: data}, true, nil
}

func (r *Resolver) content(nodeName string, name Name) any {
	n := r.nodes[nodeName]
	if n == nil {
		return nil
	}
	if name.Resource == nodewire.PolicyPeers {
		if g := r.groups[name.Namespace]; g != nil && n.groups[g] {
			if p := r.member(g, name.Name); p != nil {
				return g.wire(p)
			}
		}
		return nil
	}
	ns := r.namespaces[name.Namespace]
	if ns == nil {
		return nil
	}
	switch name.Resource {
	case nodewire.Policies:
		if p := ns.policies[name.Name]; p != nil && n.policies[p] {
			return p.wire
		}
	case nodewire.PodPolicies:
		if p := ns.pods[name.Name]; p != nil && n.pods[p] {
			return p.wire()
		}
	}
	return nil
}

// wire says what isolates the pod, and which ports policies may name.
func (p *pod) wire() nodewire.PodPolicy {
	w := nodewire.PodPolicy{UID: p.uid, Ports: p.ports}
	for by := range p.policies {
		if by.ingress {
			w.Ingress = append(w.Ingress, by.name)
		}
		if by.egress {
			w.Egress = append(w.Egress, by.name)
		}
	}
	slices.Sort(w.Ingress)
	slices.Sort(w.Egress)
	return w
}
