package gateway

import (
	"bytes"
	"errors"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wakehq/wake/events"
)

// update replaces an object by the one in the request's body, or creates it where the kind allows that.
func (g *Gateway) update(r *request) error {
	if err := r.checkOptions("UpdateOptions"); err != nil {
		return err
	}
	obj, err := r.decode()
	if err != nil {
		return err
	}
	code := http.StatusOK
	d, err := g.commit(r, func(state *events.State) (draft, error) {
		o, ok := state.Get(r.ref())
		if !ok && r.kind.AllowsCreateOnUpdate() {
			code = http.StatusCreated
			return g.draftCreate(r, state, obj, true)
		}
		if !ok {
			return draft{}, apierrors.NewNotFound(r.kind.GroupResource(), r.name)
		}
		code = http.StatusOK
		return g.draftUpdate(r, state, o, obj, true)
	})
	warn(r, d.warnings)
	if err != nil {
		return err
	}
	return g.answer(r, code, d.object)
}

// draftUpdate decides that o's metadata and spec, or those that the request's subresource stands for, become those of obj. Track says that
// the fields' manager is still to be recorded.
func (g *Gateway) draftUpdate(r *request, state *events.State, o *events.Object, obj runtime.Object, track bool) (draft, error) {
	if err := errors.Join(checkNote(r, o), checkObjectVersion(r, o, events.Desired, obj)); err != nil {
		return draft{}, err
	}
	obj = carryPlacement(obj, o)
	if track {
		live, err := r.kind.Convert(o.Typed())
		if err != nil {
			return draft{}, err
		}
		if obj, err = r.kind.TrackUpdate(live, obj, r.manager(), r.subresource); err != nil {
			return draft{}, err
		}
	}
	prepared, warnings, err := r.kind.PrepareSubresource(r.write(state), updateOf(r.subresource), obj, o.Typed())
	d := draft{object: prepared, warnings: warnings}
	if err != nil {
		return d, err
	}
	if err := g.checkService(state, prepared, o); err != nil {
		return d, err
	}
	if err := keepTimes(prepared, o); err != nil {
		return d, err
	}
	return draftAlter(d, o, changeType(r)), nil
}

// draftAlter proposes what makes o into d.object: nothing if they are the same, a tombstone if nothing holds the object any more.
func draftAlter(d draft, o *events.Object, eventType string) draft {
	desired := d.object
	if o.Facet(events.Assigned) != nil {
		desired = desired.DeepCopyObject()
		o.Kind.Unassign(desired)
	}
	if o.Kind.Removable(d.object) {
		d.proposals, d.removed = []events.Proposal{events.Remove(o, o.Kind.KindName+"Deleted")}, true
		return d
	}
	p := events.Alter(o, desired, eventType)
	if bytes.Equal(p.Payload, o.Facet(events.Desired).Payload) {
		d.object = o.Typed()
		return d
	}
	p.Changed = changedDesired(o.Typed(), d.object)
	d.proposals = []events.Proposal{p}
	return d
}

// checkObjectVersion holds the resourceVersion that obj carries against the facet that is to be written.
func checkObjectVersion(r *request, o *events.Object, facet events.Facet, obj runtime.Object) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	return checkVersion(r, o, facet, m.GetResourceVersion())
}

// carryPlacement lets whoever read a pod before it was placed update it afterwards: where it runs isn't part of what they write.
func carryPlacement(obj runtime.Object, o *events.Object) runtime.Object {
	pod, ok := obj.(*corev1.Pod)
	placed, _ := o.Typed().(*corev1.Pod)
	if !ok || placed == nil || pod.Spec.NodeName != "" || o.Facet(events.Assigned) == nil {
		return obj
	}
	pod = pod.DeepCopy()
	pod.Spec.NodeName = placed.Spec.NodeName
	return pod
}

// keepTimes keeps the time of managedFields' entries that say what they said before: a write that changes nothing else changes nothing.
func keepTimes(obj runtime.Object, o *events.Object) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	entries := m.GetManagedFields()
	for i := range entries {
		for _, before := range o.Meta().GetManagedFields() {
			if sameEntry(&entries[i], &before) {
				entries[i].Time = before.Time
			}
		}
	}
	m.SetManagedFields(entries)
	return nil
}

func sameEntry(a, b *metav1.ManagedFieldsEntry) bool {
	return a.Manager == b.Manager && a.Operation == b.Operation && a.APIVersion == b.APIVersion && a.Subresource == b.Subresource &&
		a.FieldsV1 != nil && b.FieldsV1 != nil && bytes.Equal(a.FieldsV1.GetRawBytes(), b.FieldsV1.GetRawBytes())
}

// updateOf returns the subresource whose rules an update follows: a scale is an update of the object itself.
func updateOf(subresource string) string {
	if subresource == "scale" {
		return ""
	}
	return subresource
}

// changeType names the event of an update.
func changeType(r *request) string {
	kind := r.kind.KindName
	switch r.subresource {
	case "scale":
		return kind + "Scaled"
	case "finalize":
		return kind + "Finalized"
	case "resize":
		return kind + "Resized"
	case "ephemeralcontainers":
		return "EphemeralContainersAdded"
	}
	return kind + "Changed"
}
