package events

import (
	"encoding/json"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wakehq/wake/schemas"
)

// Object is an object as a State holds it: the last event of each of its facets, and what they come to together. It never changes; a
// new event makes a new Object.
type Object struct {
	Ref    Ref
	Kind   *schemas.Kind
	facets [facets]*Event
	typed  runtime.Object
	meta   metav1.Object
	rev    Revision
}

// newObject merges facets. It fails if one can't be decoded.
func newObject(ref Ref, kind *schemas.Kind, f [facets]*Event) (*Object, error) {
	o := &Object{Ref: ref, Kind: kind, facets: f}
	desired := f[Desired]
	if desired == nil || desired.Tombstone {
		return o, nil
	}
	o.rev = desired.Revision
	var status []byte
	if e := o.Facet(Observed); e != nil {
		status, o.rev = e.Payload, max(o.rev, e.Revision)
	}
	typed, err := kind.Decode(desired.Payload, status)
	if err != nil {
		return nil, fmt.Errorf("decoding %s: %w", ref, err)
	}
	if e := o.Facet(Assigned); e != nil {
		o.rev = max(o.rev, e.Revision)
		if err := assign(typed, e.Payload); err != nil {
			return nil, fmt.Errorf("decoding the placement of %s: %w", ref, err)
		}
	}
	return o, o.setTyped(typed)
}

func (o *Object) setTyped(typed runtime.Object) error {
	m, err := meta.Accessor(typed)
	if err != nil {
		return fmt.Errorf("%s has no metadata: %w", o.Ref, err)
	}
	m.SetResourceVersion(strconv.FormatUint(o.rev, 10))
	o.typed, o.meta = typed, m
	return nil
}

func assign(typed runtime.Object, payload []byte) error {
	pod, ok := typed.(*corev1.Pod)
	if !ok {
		return nil
	}
	var placement Placement
	if err := json.Unmarshal(payload, &placement); err != nil {
		return err
	}
	pod.Spec.NodeName = placement.Node
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodScheduled {
			pod.Status.Conditions[i].Status = corev1.ConditionTrue
			pod.Status.Conditions[i].Reason, pod.Status.Conditions[i].Message = "", ""
		}
	}
	return nil
}

// Typed returns the merged object in its storage version, its resourceVersion set. It is shared: copy it before changing it. Nil for
// an object that is gone.
func (o *Object) Typed() runtime.Object { return o.typed }

// Meta returns the metadata of Typed.
func (o *Object) Meta() metav1.Object { return o.meta }

// Live says that the object exists.
func (o *Object) Live() bool { return o.typed != nil }

// UID returns the object's UID; for one that is gone, the UID it had.
func (o *Object) UID() string {
	if e := o.facets[Desired]; e != nil {
		return e.UID
	}
	return ""
}

// Revision returns the revision of the object's newest facet: its resourceVersion.
func (o *Object) Revision() Revision { return o.rev }

// Facet returns the event that states facet f of this very object (same UID), or nil.
func (o *Object) Facet(f Facet) *Event {
	e := o.facets[f]
	if e == nil || e.UID != o.UID() {
		return nil
	}
	return e
}

// Expect returns the guard with which the next event of facet f must be proposed.
func (o *Object) Expect(f Facet) Revision {
	if o == nil || o.facets[f] == nil {
		return 0
	}
	return o.facets[f].Revision
}

// Newest returns the newest of the events that o is made of.
func (o *Object) Newest() *Event {
	newest := o.facets[Desired]
	for f := range facets {
		if e := o.Facet(f); e != nil && e.Revision > newest.Revision {
			newest = e
		}
	}
	return newest
}
