package owned

import (
	"strings"

	"github.com/tidwall/btree"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wakehq/wake/events"
)

// Orphans keeps account of the objects of a kind that nothing controls, so that adopting them needs no look at all the others.
type Orphans struct {
	kind  events.GroupResource
	names btree.Set[string]
}

// NewOrphans returns the account of the orphans of a kind.
func NewOrphans(kind events.GroupResource) *Orphans { return &Orphans{kind: kind} }

// Fold takes a change into account.
func (o *Orphans) Fold(c events.Change) {
	ref := c.Ref()
	if ref.GroupResource() != o.kind {
		return
	}
	if name := ref.Namespace + "\x00" + ref.Name; c.New != nil && metav1.GetControllerOfNoCopy(c.New.Meta()) == nil {
		o.names.Insert(name)
	} else {
		o.names.Delete(name)
	}
}

// In gives the orphans of a namespace, in order of their names.
func (o *Orphans) In(s *events.State, namespace string, yield func(*events.Object)) {
	prefix := namespace + "\x00"
	o.names.Ascend(prefix, func(key string) bool {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
		ref := events.Ref{Group: o.kind.Group, Resource: o.kind.Resource, Namespace: namespace, Name: key[len(prefix):]}
		if object, ok := s.Get(ref); ok && metav1.GetControllerOfNoCopy(object.Meta()) == nil {
			yield(object)
		}
		return true
	})
}

// Claims is what an owner has, and what it ought to take up or let go.
type Claims struct {
	Own, Adopt, Release []*events.Object
}

// Claim sorts out what belongs to owner: what it controls and selects is its own; what it controls and doesn't select any more it
// releases; what nothing controls and it selects it adopts. An owner that is being deleted, or an object that is, changes no hands.
func Claim(s *events.State, owner *events.Object, selector labels.Selector, orphans *Orphans) Claims {
	var claims Claims
	deleting := owner.Meta().GetDeletionTimestamp() != nil
	for o := range s.Indexed(events.ByOwner, owner.UID()) {
		switch controller := metav1.GetControllerOfNoCopy(o.Meta()); {
		case o.Ref.GroupResource() != orphans.kind || controller == nil || string(controller.UID) != owner.UID():
		case selector.Matches(labels.Set(o.Meta().GetLabels())):
			claims.Own = append(claims.Own, o)
		case !deleting && o.Meta().GetDeletionTimestamp() == nil:
			claims.Release = append(claims.Release, o)
		}
	}
	if deleting {
		return claims
	}
	orphans.In(s, owner.Ref.Namespace, func(o *events.Object) {
		if o.Meta().GetDeletionTimestamp() == nil && selector.Matches(labels.Set(o.Meta().GetLabels())) {
			claims.Adopt = append(claims.Adopt, o)
		}
	})
	return claims
}

// Changes words the changes of hands, at most limit of them; kind ("Pod") begins the events' types. What an owner adopts gets its finalizers,
// what it releases loses them.
func (c Claims) Changes(owner metav1.OwnerReference, kind string, limit int, finalizers ...string) []events.Proposal {
	var out []events.Proposal
	for _, o := range c.Release[:min(limit, len(c.Release))] {
		out = append(out, events.Alter(o, withoutOwner(o, owner, finalizers), kind+"Released", "metadata.ownerReferences"))
	}
	for _, o := range c.Adopt[:min(limit-len(out), len(c.Adopt))] {
		typed, meta := edit(o)
		meta.SetOwnerReferences(append(meta.GetOwnerReferences(), owner))
		dropFinalizers(meta, finalizers)
		meta.SetFinalizers(append(meta.GetFinalizers(), finalizers...))
		out = append(out, events.Alter(o, typed, kind+"Adopted", "metadata.ownerReferences"))
	}
	return out
}

func withoutOwner(o *events.Object, owner metav1.OwnerReference, finalizers []string) runtime.Object {
	typed, meta := edit(o)
	dropFinalizers(meta, finalizers)
	var rest []metav1.OwnerReference
	for _, reference := range meta.GetOwnerReferences() {
		if reference.UID != owner.UID {
			rest = append(rest, reference)
		}
	}
	meta.SetOwnerReferences(rest)
	return typed
}

// edit returns a copy of o's typed object that may be changed and written as desired, and its metadata.
func edit(o *events.Object) (runtime.Object, metav1.Object) {
	typed := o.Typed().DeepCopyObject()
	if o.Facet(events.Assigned) != nil {
		o.Kind.Unassign(typed)
	}
	return typed, typed.(metav1.Object)
}
