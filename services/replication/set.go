package replication

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wakehq/wake/events"
)

// The kinds of objects that this service deals with.
var (
	deploymentKind = events.GroupResource{Group: appsv1.GroupName, Resource: "deployments"}
	replicaSetKind = events.GroupResource{Group: appsv1.GroupName, Resource: "replicasets"}
	controllerKind = events.GroupResource{Resource: "replicationcontrollers"}
	podKind        = events.GroupResource{Resource: "pods"}
)

// set is what ReplicaSets and ReplicationControllers have in common.
type set struct {
	object    *events.Object
	meta      *metav1.ObjectMeta
	reference metav1.OwnerReference
	selector  labels.Selector
	template  *corev1.PodTemplateSpec
	replicas  int32
	minReady  int32
	status    appsv1.ReplicaSetStatus
	// countsTerminating says that the status has a place for pods that are ending.
	countsTerminating bool
	withStatus        func(appsv1.ReplicaSetStatus) runtime.Object
}

// asSet returns o as a set; an error if its selector makes no sense.
func asSet(o *events.Object) (*set, error) {
	switch typed := o.Typed().(type) {
	case *appsv1.ReplicaSet:
		return replicaSetAsSet(o, typed)
	case *corev1.ReplicationController:
		return controllerAsSet(o, typed), nil
	}
	return nil, fmt.Errorf("%s is not a set of replicas", o.Ref)
}

func replicaSetAsSet(o *events.Object, rs *appsv1.ReplicaSet) (*set, error) {
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("the selector of %s: %w", o.Ref, err)
	}
	return &set{object: o, meta: &rs.ObjectMeta, reference: *metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet")),
		selector: selector, template: &rs.Spec.Template, replicas: orOne(rs.Spec.Replicas), minReady: rs.Spec.MinReadySeconds, status: rs.Status,
		countsTerminating: true,
		withStatus: func(status appsv1.ReplicaSetStatus) runtime.Object {
			updated := *rs
			updated.Status = status
			return &updated
		}}, nil
}

func controllerAsSet(o *events.Object, rc *corev1.ReplicationController) *set {
	template := rc.Spec.Template
	if template == nil {
		template = &corev1.PodTemplateSpec{}
	}
	conditions := make([]appsv1.ReplicaSetCondition, len(rc.Status.Conditions))
	for i, c := range rc.Status.Conditions {
		conditions[i] = appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status,
			LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message}
	}
	return &set{object: o, meta: &rc.ObjectMeta, reference: *metav1.NewControllerRef(rc, corev1.SchemeGroupVersion.WithKind("ReplicationController")),
		selector: labels.SelectorFromSet(rc.Spec.Selector), template: template, replicas: orOne(rc.Spec.Replicas), minReady: rc.Spec.MinReadySeconds,
		status: appsv1.ReplicaSetStatus{Replicas: rc.Status.Replicas, FullyLabeledReplicas: rc.Status.FullyLabeledReplicas, ReadyReplicas: rc.Status.ReadyReplicas,
			AvailableReplicas: rc.Status.AvailableReplicas, ObservedGeneration: rc.Status.ObservedGeneration, Conditions: nilIfEmpty(conditions)},
		withStatus: func(s appsv1.ReplicaSetStatus) runtime.Object {
			updated := *rc
			updated.Status = corev1.ReplicationControllerStatus{Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeledReplicas,
				ReadyReplicas: s.ReadyReplicas, AvailableReplicas: s.AvailableReplicas, ObservedGeneration: s.ObservedGeneration}
			for _, c := range s.Conditions {
				updated.Status.Conditions = append(updated.Status.Conditions, corev1.ReplicationControllerCondition{
					Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime,
					Reason: c.Reason, Message: c.Message})
			}
			return &updated
		}}
}

func orOne(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

func nilIfEmpty[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

// pacePerPod is how long a set rests per pod that it has after stating its status, when it has what it wants. So a set of thousands of pods, each of
// whose changes makes it count all of them again, takes at most a small part of a processor; and a small one never waits.
const pacePerPod = 20 * time.Microsecond

// restsUntil returns when the set is to be looked at next; zero if now.
func (s *set) restsUntil(now time.Time) time.Time {
	last := s.object.Facet(events.Observed)
	if last == nil || s.status.ObservedGeneration != s.meta.Generation || s.status.Replicas != s.replicas || s.meta.DeletionTimestamp != nil {
		return time.Time{}
	}
	until := last.At.Add(time.Duration(s.replicas) * pacePerPod).Truncate(time.Millisecond)
	if now.Before(until) {
		return until
	}
	return time.Time{}
}
