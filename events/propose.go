package events

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// The functions below word proposals: what is written, and the guard that goes with the state it was decided on. The writer adds who and why
// (Actor, Cause, Basis, At). They panic on an object that isn't of a kind that the state knows: that is a mistake in the program.

// Create proposes that obj come into being. Its UID must be set; its status is not written (see Observe).
func Create(s *State, obj runtime.Object, eventType string) Proposal {
	ref := refOf(s, obj)
	kind, _ := s.registry.ByStorage(ref.Group, ref.Resource)
	m, _ := meta.Accessor(obj)
	return Proposal{Expect: s.Slot(ref).Expect(Desired), Event: Event{Facet: Desired, Ref: ref, UID: string(m.GetUID()), Type: eventType,
		Payload: must(kind.EncodeDesired(obj))}}
}

// Alter proposes that o's metadata and spec become those of obj; changed are the paths that differ.
func Alter(o *Object, obj runtime.Object, eventType string, changed ...string) Proposal {
	return o.propose(Desired, eventType, must(o.Kind.EncodeDesired(obj)), changed)
}

// Observe proposes that o's status become that of obj.
func Observe(o *Object, obj runtime.Object, eventType string, changed ...string) Proposal {
	return o.propose(Observed, eventType, must(o.Kind.EncodeStatus(obj)), changed)
}

// ObserveNew proposes the first status of an object that Create brings into being in the same batch.
func ObserveNew(s *State, obj runtime.Object, eventType string) Proposal {
	ref := refOf(s, obj)
	kind, _ := s.registry.ByStorage(ref.Group, ref.Resource)
	m, _ := meta.Accessor(obj)
	return Proposal{Expect: s.Slot(ref).Expect(Observed), Event: Event{Facet: Observed, Ref: ref, UID: string(m.GetUID()), Type: eventType,
		Payload: must(kind.EncodeStatus(obj))}}
}

// Place proposes where a pod runs.
func Place(o *Object, placement Placement, eventType string) Proposal {
	return o.propose(Assigned, eventType, must(json.Marshal(placement)), nil)
}

// Remove proposes that o end: a tombstone.
func Remove(o *Object, eventType string) Proposal {
	p := o.propose(Desired, eventType, nil, nil)
	p.Tombstone = true
	return p
}

func (o *Object) propose(f Facet, eventType string, payload []byte, changed []string) Proposal {
	return Proposal{Expect: o.Expect(f), Event: Event{Facet: f, Ref: o.Ref, UID: o.UID(), Type: eventType, Payload: payload, Changed: changed}}
}

// With returns p with a note for people.
func (p Proposal) With(n Note) Proposal {
	p.Note = &n
	return p
}

// RefOf names obj, a typed object of a kind's storage version.
func (s *State) RefOf(obj runtime.Object) (Ref, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return Ref{}, fmt.Errorf("%T has no metadata: %w", obj, err)
	}
	kind, ok := s.registry.ByType(obj)
	if !ok {
		return Ref{}, fmt.Errorf("%T is of no kind that is stored", obj)
	}
	return Ref{Group: kind.GroupVersion.Group, Resource: kind.Resource, Namespace: m.GetNamespace(), Name: m.GetName()}, nil
}

func refOf(s *State, obj runtime.Object) Ref { return must(s.RefOf(obj)) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// DeriveUID returns a UID that follows from what caused the object (RFC 9562, version 8), so that deciding again gives it again.
func DeriveUID(parts ...any) types.UID {
	sum := sha256.Sum256(fmt.Append(nil, parts...))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16]))
}

// nameLetters are those of Kubernetes' generated names: no vowels, so no words; no digits that look like letters.
const nameLetters = "bcdfghjklmnpqrstvwxz2456789"

// DeriveSuffix returns five letters for a generated name that follow from what caused the object.
func DeriveSuffix(parts ...any) string {
	sum := sha256.Sum256(fmt.Append(nil, parts...))
	suffix := make([]byte, 5)
	for i := range suffix {
		suffix[i] = nameLetters[int(sum[i])%len(nameLetters)]
	}
	return string(suffix)
}
