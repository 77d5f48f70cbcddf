package replication

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The reasons of a Deployment's conditions.
const (
	reasonNewSet       = "NewReplicaSetCreated"
	reasonFoundSet     = "FoundNewReplicaSet"
	reasonUpdated      = "ReplicaSetUpdated"
	reasonAvailable    = "NewReplicaSetAvailable"
	reasonTimedOut     = "ProgressDeadlineExceeded"
	reasonPaused       = "DeploymentPaused"
	reasonResumed      = "DeploymentResumed"
	reasonMinAvailable = "MinimumReplicasAvailable"
	reasonMinMissing   = "MinimumReplicasUnavailable"
)

// status words the Deployment's status and says when it changes by itself.
func (r *rollout) status() (status appsv1.DeploymentStatus, again time.Time) {
	all := r.all()
	was := func(count func(*appsv1.ReplicaSetStatus) int32) int32 {
		return sum(all, func(m *member) int32 { return count(&m.was.Status) })
	}
	status = appsv1.DeploymentStatus{
		ObservedGeneration:  r.was.Generation,
		Replicas:            was(func(s *appsv1.ReplicaSetStatus) int32 { return s.Replicas }),
		ReadyReplicas:       was(func(s *appsv1.ReplicaSetStatus) int32 { return s.ReadyReplicas }),
		AvailableReplicas:   was(func(s *appsv1.ReplicaSetStatus) int32 { return s.AvailableReplicas }),
		TerminatingReplicas: new(was(terminating)),
		CollisionCount:      r.is.Status.CollisionCount,
		Conditions:          slices.Clone(r.was.Status.Conditions),
	}
	if r.newest != nil {
		status.UpdatedReplicas = r.newest.was.Status.Replicas
	}
	status.UnavailableReplicas = max(0, sum(all, (*member).size)-status.AvailableReplicas)
	if status.AvailableReplicas >= r.replicas-r.absent {
		r.set(&status, appsv1.DeploymentAvailable, corev1.ConditionTrue, reasonMinAvailable, "Deployment has minimum availability.")
	} else {
		r.set(&status, appsv1.DeploymentAvailable, corev1.ConditionFalse, reasonMinMissing, "Deployment does not have minimum availability.")
	}
	r.failure(&status)
	if r.was.DeletionTimestamp == nil {
		again = r.progress(&status)
	}
	return status, again
}

func terminating(s *appsv1.ReplicaSetStatus) int32 {
	if s.TerminatingReplicas == nil {
		return 0
	}
	return *s.TerminatingReplicas
}

// set sets a condition. One that has the same status and reason already stays as it is.
func (r *rollout) set(status *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType, value corev1.ConditionStatus, reason, message string) {
	now := metav1.NewTime(r.Now)
	updated := appsv1.DeploymentCondition{Type: kind, Status: value, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now}
	if old := condition(status, kind); old != nil {
		if old.Status == value && old.Reason == reason {
			return
		}
		if old.Status == value {
			updated.LastTransitionTime = old.LastTransitionTime
		}
		unset(status, kind)
	}
	status.Conditions = append(status.Conditions, updated)
}

func condition(status *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range status.Conditions {
		if status.Conditions[i].Type == kind {
			return &status.Conditions[i]
		}
	}
	return nil
}

func unset(status *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) {
	status.Conditions = slices.DeleteFunc(status.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == kind })
}

// failure passes on why a ReplicaSet, the newest before others, can't make its pods.
func (r *rollout) failure(status *appsv1.DeploymentStatus) {
	all := slices.Clone(r.all())
	slices.Reverse(all)
	for _, m := range all {
		for _, c := range m.was.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				r.set(status, appsv1.DeploymentReplicaFailure, c.Status, c.Reason, c.Message)
				return
			}
		}
	}
	unset(status, appsv1.DeploymentReplicaFailure)
}

// progress sets the Progressing condition and returns when the progress deadline passes.
func (r *rollout) progress(status *appsv1.DeploymentStatus) (again time.Time) {
	deadline := r.was.Spec.ProgressDeadlineSeconds
	if deadline == nil || *deadline == 1<<31-1 {
		unset(status, appsv1.DeploymentProgressing)
		return time.Time{}
	}
	current := condition(&r.was.Status, appsv1.DeploymentProgressing)
	if paused := current != nil && current.Reason == reasonPaused; r.was.Spec.Paused {
		if current == nil || current.Reason != reasonTimedOut {
			r.set(status, appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonPaused, "Deployment is paused")
		}
		return time.Time{}
	} else if paused {
		r.set(status, appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed")
	}
	r.advance(status, current)
	if c := condition(status, appsv1.DeploymentProgressing); c != nil && c.Reason != reasonAvailable && c.Reason != reasonTimedOut {
		end := c.LastUpdateTime.Add(time.Duration(*deadline)*time.Second + time.Second)
		if !r.Now.Before(end) {
			r.set(status, appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimedOut, r.subject()+" has timed out progressing.")
			return time.Time{}
		}
		return end
	}
	return time.Time{}
}

// advance notes what has been achieved since the last status.
func (r *rollout) advance(status *appsv1.DeploymentStatus, current *appsv1.DeploymentCondition) {
	created := r.newest != nil && r.newest.object == nil
	settled := current != nil && current.Reason == reasonAvailable && status.Replicas == status.UpdatedReplicas
	switch {
	case created:
		r.set(status, appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonNewSet, fmt.Sprintf("Created new replica set %q", r.newest.is.Name))
	case settled:
	case r.complete(status):
		r.set(status, appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonAvailable, r.subject()+" has successfully progressed.")
	case progressed(&r.was.Status, status):
		transition := metav1.NewTime(r.Now)
		if current != nil && current.Status == corev1.ConditionTrue {
			transition = current.LastTransitionTime
		}
		unset(status, appsv1.DeploymentProgressing)
		status.Conditions = append(status.Conditions, appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue,
			Reason: reasonUpdated, Message: r.subject() + " is progressing.", LastUpdateTime: metav1.NewTime(r.Now), LastTransitionTime: transition})
	case current == nil && r.newest != nil:
		r.set(status, appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonFoundSet, fmt.Sprintf("Found new replica set %q", r.newest.is.Name))
	}
}

func (r *rollout) subject() string {
	if r.newest == nil {
		return fmt.Sprintf("Deployment %q", r.was.Name)
	}
	return fmt.Sprintf("ReplicaSet %q", r.newest.is.Name)
}

// complete says that all replicas are of the present template and available, and no other is left.
func (r *rollout) complete(status *appsv1.DeploymentStatus) bool {
	return status.UpdatedReplicas == r.replicas && status.Replicas == r.replicas && status.AvailableReplicas == r.replicas &&
		status.ObservedGeneration >= r.was.Generation
}

func progressed(was, is *appsv1.DeploymentStatus) bool {
	return is.UpdatedReplicas > was.UpdatedReplicas || is.Replicas-is.UpdatedReplicas < was.Replicas-was.UpdatedReplicas ||
		is.ReadyReplicas > was.ReadyReplicas || is.AvailableReplicas > was.AvailableReplicas
}

// statusEvent names the event that a change of status is.
func statusEvent(was, is *appsv1.DeploymentStatus) string {
	before, after := condition(was, appsv1.DeploymentProgressing), condition(is, appsv1.DeploymentProgressing)
	if after == nil || before != nil && before.Reason == after.Reason {
		return "DeploymentProgressed"
	}
	switch after.Reason {
	case reasonAvailable:
		return "DeploymentCompleted"
	case reasonTimedOut:
		return "DeploymentStalled"
	case reasonPaused:
		return "DeploymentPaused"
	case reasonResumed:
		return "DeploymentResumed"
	}
	return "DeploymentProgressed"
}

func changedStatus(was, is *appsv1.DeploymentStatus) []string {
	var c changes
	c.note("status.replicas", was.Replicas != is.Replicas)
	c.note("status.updatedReplicas", was.UpdatedReplicas != is.UpdatedReplicas)
	c.note("status.readyReplicas", was.ReadyReplicas != is.ReadyReplicas)
	c.note("status.availableReplicas", was.AvailableReplicas != is.AvailableReplicas)
	c.note("status.unavailableReplicas", was.UnavailableReplicas != is.UnavailableReplicas)
	c.note("status.terminatingReplicas", !equality.Semantic.DeepEqual(was.TerminatingReplicas, is.TerminatingReplicas))
	c.note("status.collisionCount", !equality.Semantic.DeepEqual(was.CollisionCount, is.CollisionCount))
	c.note("status.observedGeneration", was.ObservedGeneration != is.ObservedGeneration)
	c.note("status.conditions", !equality.Semantic.DeepEqual(was.Conditions, is.Conditions))
	return c
}
