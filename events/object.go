package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

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
	unread *unread // nil when it is decoded, as whatever a State hands out; see read
}

// newObject merges facets. It fails if one can't be decoded.
func newObject(ref Ref, kind *schemas.Kind, f [facets]*Event) (*Object, error) {
	o := &Object{Ref: ref, Kind: kind, facets: f}
	if !o.exists() {
		return o, nil
	}
	if len(f[Desired].Payload) == 0 {
		return nil, fmt.Errorf("decoding %s: event %d has no payload, or one that can't be opened", ref, f[Desired].Revision)
	}
	var status []byte
	if e := o.Facet(Observed); e != nil {
		status = e.Payload
	}
	typed, err := kind.Decode(f[Desired].Payload, status)
	if err != nil {
		return nil, fmt.Errorf("decoding %s: %w", ref, err)
	}
	return o.place(typed)
}

// with returns what o becomes by e. What o has decoded already is not decoded again.
func (o *Object) with(e *Event) (*Object, error) {
	f := o.facets
	f[e.Facet] = e
	if !o.Live() || e.Facet == Desired || e.UID != o.UID() {
		return newObject(o.Ref, o.Kind, f)
	}
	next := &Object{Ref: o.Ref, Kind: o.Kind, facets: f}
	if e.Facet == Assigned {
		return next.place(o.Kind.Shallow(o.typed))
	}
	typed, err := o.Kind.WithStatus(o.typed, e.Payload)
	if err != nil {
		return nil, fmt.Errorf("decoding %s: %w", o.Ref, err)
	}
	return next.place(typed)
}

func (o *Object) exists() bool { return o.facets[Desired] != nil && !o.facets[Desired].Tombstone }

// nothing says that o is made of no event at all.
func (o *Object) nothing() bool { return o == nil || o.facets == [facets]*Event{} }

// place completes o with typed, which it owns but for what typed points to, and the placement.
func (o *Object) place(typed runtime.Object) (*Object, error) {
	for facet := range facets {
		if e := o.Facet(facet); e != nil {
			o.rev = max(o.rev, e.Revision)
		}
	}
	if e := o.Facet(Assigned); e != nil {
		if err := assign(typed, e); err != nil {
			return nil, fmt.Errorf("decoding the placement of %s: %w", o.Ref, err)
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

// assign writes into a pod, whose conditions may be shared, where it was placed and that it was.
func assign(typed runtime.Object, e *Event) error {
	pod, ok := typed.(*corev1.Pod)
	if !ok {
		return nil
	}
	node, err := placedOn(e.Payload)
	if err != nil {
		return err
	}
	pod.Spec.NodeName = node
	scheduled := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(e.At.Truncate(time.Second))}
	conditions := make([]corev1.PodCondition, 0, len(pod.Status.Conditions)+1)
	for _, c := range pod.Status.Conditions {
		if c.Type != corev1.PodScheduled {
			conditions = append(conditions, c)
		}
	}
	conditions = append(conditions, scheduled)
	pod.Status.Conditions = conditions
	return nil
}

func notInNodeNames(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.'
}

// placedOn reads the node of a Placement. What is kept with it for people is only looked at from both ends: to read it takes longer than all the rest.
func placedOn(payload []byte) (string, error) {
	if rest, ok := bytes.CutPrefix(payload, []byte(`{"node":"`)); ok {
		node, tail, _ := bytes.Cut(rest, []byte(`"`))
		whole := string(tail) == "}" || bytes.HasPrefix(tail, []byte(`,"why":{`)) && bytes.HasSuffix(tail, []byte("}}"))
		if whole && !bytes.ContainsFunc(node, notInNodeNames) {
			return string(node), nil
		}
	}
	var placement Placement
	err := json.Unmarshal(payload, &placement)
	return placement.Node, err
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
