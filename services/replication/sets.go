package replication

import (
	"iter"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/owned"
)

// actor is the name under which all of this package's deciders write.
const actor = "replication"

// sets decides about ReplicaSets and ReplicationControllers.
type sets struct {
	orphans *owned.Orphans
}

// NewSets returns the decider of ReplicaSets and ReplicationControllers.
func NewSets() runner.Decider { return &sets{orphans: owned.NewOrphans(podKind)} }

// Name implements runner.Decider.
func (d *sets) Name() string { return actor }

// Holds implements runner.Sharer.
func (d *sets) Holds(key events.Ref) bool {
	return key.GroupResource() == replicaSetKind || key.GroupResource() == controllerKind
}

// Fold implements runner.Folder.
func (d *sets) Fold(c events.Change) { d.orphans.Fold(c) }

// Keys implements runner.Decider: a set that changed, or the set whose pod did.
func (d *sets) Keys(c events.Change, s *events.State) []events.Ref {
	switch ref := c.Ref(); ref.GroupResource() {
	case replicaSetKind, controllerKind:
		return []events.Ref{ref}
	case podKind:
		if c.Old != nil && c.New != nil && !podMatters(c.Old, c.New) {
			return nil
		}
		keys := append(owningSet(nil, c.Old), owningSet(nil, c.New)...)
		if c.New != nil && metav1.GetControllerOfNoCopy(c.New.Meta()) == nil {
			for o := range setsIn(s, ref.Namespace) {
				if set, err := asSet(o); err == nil && set.selector.Matches(labels.Set(c.New.Meta().GetLabels())) {
					keys = append(keys, o.Ref)
				}
			}
		}
		return keys
	}
	return nil
}

func setsIn(s *events.State, namespace string) iter.Seq[*events.Object] {
	return func(yield func(*events.Object) bool) {
		for _, kind := range [...]events.GroupResource{replicaSetKind, controllerKind} {
			for o := range s.All(kind, namespace) {
				if !yield(o) {
					return
				}
			}
		}
	}
}

// podMatters says that a pod's change may change its set's mind or status. Being placed, pulling images and the like don't.
func podMatters(before, after *events.Object) bool {
	if before.Expect(events.Desired) != after.Expect(events.Desired) {
		return true
	}
	was, is := before.Typed().(*corev1.Pod), after.Typed().(*corev1.Pod)
	readyWas, _ := owned.ReadySince(was)
	readyIs, _ := owned.ReadySince(is)
	return owned.Finished(was) != owned.Finished(is) || owned.Ready(was) != owned.Ready(is) || !readyWas.Equal(readyIs)
}

func owningSet(keys []events.Ref, pod *events.Object) []events.Ref {
	if pod == nil {
		return keys
	}
	owner := metav1.GetControllerOfNoCopy(pod.Meta())
	if owner == nil {
		return keys
	}
	switch {
	case owner.Kind == "ReplicaSet" && owner.APIVersion == appsv1.SchemeGroupVersion.String():
		return append(keys, events.Ref{Group: appsv1.GroupName, Resource: "replicasets", Namespace: pod.Ref.Namespace, Name: owner.Name})
	case owner.Kind == "ReplicationController" && owner.APIVersion == "v1":
		return append(keys, events.Ref{Resource: "replicationcontrollers", Namespace: pod.Ref.Namespace, Name: owner.Name})
	}
	return keys
}
