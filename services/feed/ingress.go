package feed

import (
	"iter"
	"maps"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
)

// ingresses are those that are Wake's to serve.
func (f *Feed) ingresses() iter.Seq[*events.Object] {
	return func(yield func(*events.Object) bool) {
		for o := range f.state.All(object{resource: nodewire.Ingresses}.ref().GroupResource(), "") {
			if f.isOurs(o) && !yield(o) {
				return
			}
		}
	}
}

func (f *Feed) isOurs(o *events.Object) bool {
	return o != nil && f.classes.Has(o.Typed().(*networkingv1.Ingress))
}

// servesIngress says that a node is one that serves Ingresses.
func servesIngress(state *events.State, node string) bool {
	o, ok := state.Get(object{resource: nodewire.Nodes, name: node}.ref())
	return ok && o.Meta().GetLabels()[events.IngressLabel] == "true"
}

// noteDoor finds out whether a node began or ceased to serve Ingresses.
func (b *batch) noteDoor(node string) {
	a := b.feed.nodes[node]
	if a == nil || a.ingress == servesIngress(b.state, node) {
		return
	}
	a.ingress = !a.ingress
	b.serve(node, a)
}

// reclass finds out anew which Ingresses are Wake's.
func (b *batch) reclass() {
	b.feed.classes = b.state.IngressClasses()
	for node, a := range b.feed.nodes {
		b.serve(node, a)
	}
}

// serve brings a node's account in line with the Ingresses that there are.
func (b *batch) serve(node string, a *account) {
	ours := map[object]*events.Object{}
	if a.ingress {
		for o := range b.feed.ingresses() {
			name, _ := objectOf(o.Ref)
			ours[name] = o
		}
	}
	for name := range maps.Clone(a.pods) {
		if name.resource == nodewire.Ingresses && ours[name] == nil {
			b.setNeeds(node, name, nil)
		}
	}
	for name, o := range ours {
		if a.pods[name] == nil {
			b.setNeeds(node, name, o)
		}
	}
}

// noteIngress finds out which nodes an Ingress concerns. Its status is for people.
func (b *batch) noteIngress(name object, c events.Change) {
	if c.Old != nil && c.New != nil && c.Event.Facet == events.Observed {
		return
	}
	o := c.New
	if !b.feed.isOurs(o) {
		o = nil
	}
	for node, a := range b.feed.nodes {
		if a.ingress && (o != nil || a.pods[name] != nil) {
			b.setNeeds(node, name, o)
		}
	}
}
