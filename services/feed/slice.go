package feed

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
	"github.com/wakehq/wake/services/feed/policy"
)

// object names an object of a slice.
type object struct {
	resource        nodewire.Resource
	namespace, name string
}

// groups holds the API groups of the resources of slices.
var groups = map[nodewire.Resource]string{nodewire.EndpointSlices: "discovery.k8s.io", nodewire.Pods: "", nodewire.Secrets: "",
	nodewire.ConfigMaps: "", nodewire.Services: "", nodewire.Nodes: "", nodewire.IPAddresses: "networking.k8s.io", nodewire.Ingresses: "networking.k8s.io"}

func (o object) ref() events.Ref {
	return events.Ref{Group: groups[o.resource], Resource: string(o.resource), Namespace: o.namespace, Name: o.name}
}

// objectOf names the object that ref names; false if no node is ever told of its kind.
func objectOf(ref events.Ref) (object, bool) {
	resource := nodewire.Resource(ref.Resource)
	group, ok := groups[resource]
	return object{resource, ref.Namespace, ref.Name}, ok && group == ref.Group
}

func compareObjects(a, b object) int {
	return strings.Compare(string(a.resource)+"\x00"+a.namespace+"\x00"+a.name, string(b.resource)+"\x00"+b.namespace+"\x00"+b.name)
}

// account is what a node has been given.
type account struct {
	revision events.Revision     // of the slice last sent
	pods     map[object][]object // its pods, and Ingresses if it serves any, and what each of them names
	ingress  bool                // it serves Ingresses
}

// Snapshot gives a node all that it is entitled to; from then on it is sent what changes.
func (f *Feed) Snapshot(_ context.Context, node string) (nodewire.Slice, error) {
	if !f.owns(node) {
		return nodewire.Slice{}, nodewire.ErrNotMine
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget(node)
	a := &account{revision: f.state.Revision(), pods: map[object][]object{}}
	f.nodes[node] = a
	entitled := []object{{resource: nodewire.Nodes, name: node}}
	for o := range f.state.Indexed(events.ByNode, node) {
		entitled = append(entitled, f.hold(node, a, o)...)
	}
	if a.ingress = servesIngress(f.state, node); a.ingress {
		for o := range f.ingresses() {
			entitled = append(entitled, f.hold(node, a, o)...)
		}
	}
	for _, resource := range []nodewire.Resource{nodewire.Services, nodewire.EndpointSlices, nodewire.Nodes} {
		for o := range f.state.All(object{resource: resource}.ref().GroupResource(), "") {
			if resource != nodewire.Nodes || o.Ref.Name != node && isPeer(o) {
				entitled = append(entitled, object{resource, o.Ref.Namespace, o.Ref.Name})
			}
		}
	}
	for o := range f.state.All(object{resource: nodewire.IPAddresses}.ref().GroupResource(), "") {
		if announcerOf(o) == node {
			entitled = append(entitled, object{resource: nodewire.IPAddresses, name: o.Ref.Name})
		}
	}
	full := nodewire.Slice{Node: node, Epoch: f.epoch, Revision: a.revision, Full: true}
	for _, name := range entitled {
		o, ok := f.state.Get(name.ref())
		if !ok {
			continue
		}
		wire, err := encodeFor(node, name, o)
		if err != nil {
			return nodewire.Slice{}, err
		}
		full.Objects = append(full.Objects, wire)
	}
	for name := range f.policies.Names(node) {
		wire, _, err := f.policies.Object(node, name)
		if err != nil {
			return nodewire.Slice{}, err
		}
		full.Objects = append(full.Objects, wire)
	}
	return full, nil
}

// hold puts an object into a new account, and returns it with those that the node is told of because of it.
func (f *Feed) hold(node string, a *account, o *events.Object) []object {
	name, _ := objectOf(o.Ref)
	a.pods[name] = needsOf(o)
	entitled := []object{name}
	for _, need := range a.pods[name] {
		if f.want(need, node, 1) == 1 {
			entitled = append(entitled, need)
		}
	}
	return entitled
}

// forget drops the account of a node.
func (f *Feed) forget(node string) {
	a := f.nodes[node]
	if a == nil {
		return
	}
	for _, needs := range a.pods {
		for _, need := range needs {
			f.want(need, node, -1)
		}
	}
	delete(f.nodes, node)
}

// want counts a pod more or less of a node that names an object, and returns how many there are.
func (f *Feed) want(need object, node string, more int) int {
	if f.wants[need] == nil {
		f.wants[need] = map[string]int{}
	}
	f.wants[need][node] += more
	count := f.wants[need][node]
	if count == 0 {
		delete(f.wants[need], node)
	}
	if len(f.wants[need]) == 0 {
		delete(f.wants, need)
	}
	return count
}

// encodeFor words an object for a node: other nodes than itself only as far as their pods' packets need it.
func encodeFor(node string, name object, o *events.Object) (nodewire.Object, error) {
	if name.resource == nodewire.Nodes && name.name != node {
		return encodePeer(name, o)
	}
	return encode(name, o)
}

// encode words an object as it is. Its cause is what the node is to act on, which its own reports of a pod's status aren't.
func encode(name object, o *events.Object) (nodewire.Object, error) {
	data, err := o.Typed().(interface{ Marshal() ([]byte, error) }).Marshal()
	if err != nil {
		return nodewire.Object{}, fmt.Errorf("encoding %s for a node: %w", o.Ref, err)
	}
	cause := max(o.Expect(events.Desired), o.Expect(events.Assigned))
	return nodewire.Object{Resource: name.resource, Namespace: name.namespace, Name: name.name, UID: o.UID(), Revision: o.Revision(),
		Cause: cause, Data: data}, nil
}

// batch is what a run of changes means to the nodes.
type batch struct {
	feed    *Feed
	state   *events.State
	objects map[object]nodewire.Object // as they are now, each encoded once
	peers   map[object]nodewire.Object // nodes as the other nodes are told of them, likewise
	all     map[object]bool            // what every node is to be told of
	some    map[string]map[object]bool // what single nodes are
	gone    map[object]goneAt
}

// goneAt is what is known of the last one of a name that ended.
type goneAt struct {
	uid      string
	revision events.Revision
}

// send tells the nodes of changes that lead to state.
func (f *Feed) send(changes []events.Change, state *events.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = state
	b := &batch{feed: f, state: state, objects: map[object]nodewire.Object{}, peers: map[object]nodewire.Object{}, all: map[object]bool{}, some: map[string]map[object]bool{},
		gone: map[object]goneAt{}}
	for _, c := range changes {
		b.note(c)
	}
	if len(b.all) > 0 {
		for node := range f.nodes {
			if b.some[node] == nil {
				b.some[node] = map[object]bool{}
			}
		}
	}
	for _, node := range slices.Sorted(maps.Keys(b.some)) {
		if err := b.publish(node); err != nil {
			f.Log.Warn("a slice was not sent; the node will notice and ask for a full one", "node", node, "error", err)
		}
	}
}

// note finds out whom a change concerns.
func (b *batch) note(c events.Change) {
	b.feed.policies.Apply(c, func(node string, name policy.Name) { b.tell(node, object{name.Resource, name.Namespace, name.Name}) })
	if c.Ref().GroupResource() == events.IngressClassesKind {
		b.reclass()
	}
	name, ok := objectOf(c.Ref())
	if !ok {
		return
	}
	if c.New == nil {
		b.gone[name] = goneAt{c.Old.UID(), c.Revision}
	}
	switch name.resource {
	case nodewire.Services, nodewire.EndpointSlices:
		b.all[name] = true
	case nodewire.Nodes:
		if !isEcho(c, name.name) {
			b.tell(name.name, name)
		}
		b.noteDoor(name.name)
		if !samePeer(c.Old, c.New) {
			for node := range b.feed.nodes {
				if node != name.name {
					b.tell(node, name)
				}
			}
		}
	case nodewire.Secrets, nodewire.ConfigMaps:
		for node := range b.feed.wants[name] {
			b.tell(node, name)
		}
	case nodewire.Pods:
		b.notePod(name, c)
	case nodewire.IPAddresses:
		b.tell(announcerOf(c.Old), name)
		b.tell(announcerOf(c.New), name)
	case nodewire.Ingresses:
		b.noteIngress(name, c)
	}
}

// announcerOf is the node that is to announce an address.
func announcerOf(o *events.Object) string {
	if o == nil {
		return ""
	}
	return o.Meta().GetAnnotations()[events.AnnouncedBy]
}

// isEcho says that a change is a node's own report.
func isEcho(c events.Change, node string) bool {
	return c.Event.Facet == events.Observed && c.Event.Actor == actor(node) && c.Old != nil && c.New != nil
}

func nodeOf(o *events.Object) string {
	if o == nil {
		return ""
	}
	return o.Typed().(*corev1.Pod).Spec.NodeName
}

func (b *batch) notePod(name object, c events.Change) {
	before, after := nodeOf(c.Old), nodeOf(c.New)
	if before != "" && before != after {
		b.setNeeds(before, name, nil)
	}
	if after == "" {
		return
	}
	if isEcho(c, after) {
		return
	}
	b.setNeeds(after, name, c.New)
}

// setNeeds brings a node's account in line with a pod of its, or an Ingress that it serves; o is nil when it has it no more.
func (b *batch) setNeeds(node string, name object, o *events.Object) {
	a := b.feed.nodes[node]
	if a == nil {
		return
	}
	b.tell(node, name)
	old := a.pods[name]
	var needs []object
	if o == nil {
		delete(a.pods, name)
	} else {
		needs = needsOf(o)
		a.pods[name] = needs
	}
	for _, need := range needs {
		if b.feed.want(need, node, 1) == 1 {
			b.tell(node, need)
		}
	}
	for _, need := range old {
		if b.feed.want(need, node, -1) == 0 {
			b.tell(node, need)
		}
	}
}

func (b *batch) tell(node string, name object) {
	if b.feed.nodes[node] == nil {
		return
	}
	if b.some[node] == nil {
		b.some[node] = map[object]bool{}
	}
	b.some[node][name] = true
}

// publish sends a node what it is to be told of.
func (b *batch) publish(node string) error {
	a := b.feed.nodes[node]
	slice := nodewire.Slice{Node: node, Epoch: b.feed.epoch, Revision: b.state.Revision(), Previous: a.revision}
	a.revision = slice.Revision // sent or not: this is what the node ought to have
	names := slices.Collect(maps.Keys(b.some[node]))
	for name := range b.all {
		names = append(names, name)
	}
	slices.SortFunc(names, compareObjects)
	for _, name := range names {
		wire, err := b.object(node, name)
		if err != nil {
			return err
		}
		slice.Objects = append(slice.Objects, wire)
	}
	return b.feed.Line.Publish(slice)
}

// object words what a node is to know of an object: its present form, or that it is none of its business any more.
func (b *batch) object(node string, name object) (nodewire.Object, error) {
	if _, inLedger := groups[name.resource]; !inLedger {
		wire, entitled, err := b.feed.policies.Object(node, policy.Name{Resource: name.resource, Namespace: name.namespace, Name: name.name})
		if err == nil && !entitled {
			wire = nodewire.Object{Resource: name.resource, Namespace: name.namespace, Name: name.name, Deleted: true, Revision: b.state.Revision()}
		}
		return wire, err
	}
	o, exists := b.state.Get(name.ref())
	if !exists || !b.entitled(node, name, o) {
		wire := nodewire.Object{Resource: name.resource, Namespace: name.namespace, Name: name.name, Deleted: true, UID: b.gone[name].uid,
			Revision: b.state.Revision(), Cause: b.gone[name].revision}
		return wire, nil
	}
	encoded := b.objects
	if name.resource == nodewire.Nodes && name.name != node {
		encoded = b.peers
	}
	if wire, ok := encoded[name]; ok {
		return wire, nil
	}
	wire, err := encodeFor(node, name, o)
	encoded[name] = wire
	return wire, err
}

func (b *batch) entitled(node string, name object, o *events.Object) bool {
	switch name.resource {
	case nodewire.Pods:
		return nodeOf(o) == node
	case nodewire.Secrets, nodewire.ConfigMaps:
		return b.feed.wants[name][node] > 0
	case nodewire.Nodes:
		return name.name == node || isPeer(o)
	case nodewire.IPAddresses:
		return announcerOf(o) == node
	case nodewire.Ingresses:
		return b.feed.nodes[node].pods[name] != nil
	}
	return true
}
