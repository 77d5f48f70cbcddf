package garbage

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/owned"
)

// Bounds of New.
const (
	maxFinished = 12500            // finished pods, as in Kubernetes
	nodeGrace   = 40 * time.Second // that a pod stays without its node
	maxGroup    = 500              // objects that one decision deals with
)

// allFinished is the key under which the number of finished pods is decided; it names no object.
var allFinished = events.Ref{Resource: "pods"}

// Garbage is the decider. Its keys are objects, and allFinished.
type Garbage struct {
	finished    map[events.Ref]time.Time // when they were created
	maxFinished int
}

var (
	_ runner.Decider = (*Garbage)(nil)
	_ runner.Folder  = (*Garbage)(nil)
)

// New returns the decider.
func New() *Garbage { return &Garbage{finished: map[events.Ref]time.Time{}, maxFinished: maxFinished} }

// Name is "garbage".
func (g *Garbage) Name() string { return "garbage" }

// Fold keeps account of finished pods.
func (g *Garbage) Fold(c events.Change) {
	if ref := c.Ref(); ref.GroupResource() == allFinished.GroupResource() {
		delete(g.finished, ref)
		if c.New != nil && c.New.Meta().GetDeletionTimestamp() == nil && owned.Finished(c.New.Typed().(*corev1.Pod)) {
			g.finished[ref] = c.New.Meta().GetCreationTimestamp().Time
		}
	}
}

// Keys asks for an object when its owners, its finalizers or its deletion changed, for the dependents of what is gone or going, and for
// owners that wait for a dependent that is gone.
func (g *Garbage) Keys(c events.Change, state *events.State) []events.Ref {
	var keys []events.Ref
	ref := c.Ref()
	if ref.GroupResource() == events.EventsResource {
		return nil
	}
	if c.New == nil {
		keys = append(keys, dependents(state, c.Old)...)
		keys = append(keys, waitingOwners(state, c.Old)...)
	} else if c.Old == nil || c.Old.Expect(events.Desired) != c.New.Expect(events.Desired) || c.Old.Expect(events.Assigned) != c.New.Expect(events.Assigned) {
		keys = append(keys, own(c)...)
		if isForeground(c.New.Meta()) && (c.Old == nil || !isForeground(c.Old.Meta())) {
			keys = append(keys, dependents(state, c.New)...)
		}
		if c.Old != nil && len(c.Old.Meta().GetOwnerReferences()) > 0 {
			keys = append(keys, waitingOwners(state, c.Old)...) // it may have ceased to block
		}
	}
	return append(keys, podKeys(c, state, len(g.finished) > g.maxFinished)...)
}

// own asks for the changed object itself, if garbage has anything to say about it.
func own(c events.Change) []events.Ref {
	m := c.New.Meta()
	if len(m.GetOwnerReferences()) > 0 && m.GetDeletionTimestamp() == nil || m.GetDeletionTimestamp() != nil && holds(m) {
		return []events.Ref{c.New.Ref}
	}
	return nil
}

// podKeys asks for pods that lack a node, and for the account of finished ones.
func podKeys(c events.Change, state *events.State, tooMany bool) []events.Ref {
	var keys []events.Ref
	switch o := c.New; {
	case o == nil && c.Old.Ref.GroupResource() == nodesKind:
		for pod := range state.Indexed(events.ByNode, c.Old.Ref.Name) {
			keys = append(keys, pod.Ref)
		}
	case o != nil && o.Ref.GroupResource() == allFinished.GroupResource():
		if nodeMissing(state, o) {
			keys = append(keys, o.Ref)
		}
		if tooMany {
			keys = append(keys, allFinished)
		}
	}
	return keys
}

func dependents(state *events.State, owner *events.Object) []events.Ref {
	var refs []events.Ref
	for o := range state.Indexed(events.ByOwner, owner.UID()) {
		refs = append(refs, o.Ref)
	}
	return refs
}

// waitingOwners gives the owners of o that can't end before their dependents are dealt with.
func waitingOwners(state *events.State, o *events.Object) []events.Ref {
	var refs []events.Ref
	for _, reference := range o.Meta().GetOwnerReferences() {
		ref, standing := find(state, o, reference)
		if owner, ok := state.Get(ref); ok && standing != absent && owner.Meta().GetDeletionTimestamp() != nil && holds(owner.Meta()) {
			refs = append(refs, ref)
		}
	}
	return refs
}

func isForeground(m metav1.Object) bool {
	return m.GetDeletionTimestamp() != nil && slices.Contains(m.GetFinalizers(), metav1.FinalizerDeleteDependents)
}

// holds says that one of garbage's finalizers is on an object.
func holds(m metav1.Object) bool {
	return slices.ContainsFunc(m.GetFinalizers(), func(f string) bool {
		return f == metav1.FinalizerDeleteDependents || f == metav1.FinalizerOrphanDependents
	})
}

// standing is what an owner is to its dependent.
type standing uint8

const (
	absent standing = iota
	waiting
	solid
)

// find looks an owner up.
func find(state *events.State, dependent *events.Object, reference metav1.OwnerReference) (events.Ref, standing) {
	kind, ok := state.Registry().Kind(schema.FromAPIVersionAndKind(reference.APIVersion, reference.Kind))
	if !ok || kind.Namespaced && dependent.Ref.Namespace == "" {
		return events.Ref{}, solid // as far as anybody can tell from here
	}
	ref := events.Ref{Group: kind.Storage.GroupVersion.Group, Resource: kind.Storage.Resource, Name: reference.Name}
	if kind.Namespaced {
		ref.Namespace = dependent.Ref.Namespace
	}
	owner, ok := state.Get(ref)
	switch {
	case !ok || owner.UID() != string(reference.UID):
		return ref, absent
	case isForeground(owner.Meta()):
		return ref, waiting
	}
	return ref, solid
}
