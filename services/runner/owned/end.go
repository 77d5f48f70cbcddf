package owned

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
)

// The types of the events that end a pod.
const (
	PodDeletionRequested = "PodDeletionRequested"
	PodDeleted           = "PodDeleted"
)

// End proposes what deleting a pod means: a tombstone if nothing of it can be running or wait for its end, else a request to its node to end
// it within its grace period. The finalizers named in without are taken away with it.
func End(o *events.Object, now time.Time, without ...string) events.Proposal {
	pod := o.Typed().(*corev1.Pod)
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		grace = *pod.Spec.TerminationGracePeriodSeconds
	}
	if pod.Spec.NodeName == "" || Finished(pod) {
		grace = 0
	}
	typed, meta := edit(o)
	pod = typed.(*corev1.Pod)
	dropFinalizers(meta, without)
	if grace == 0 && len(pod.Finalizers) == 0 {
		return events.Remove(o, PodDeleted)
	}
	pod.DeletionTimestamp = new(metav1.NewTime(now.Truncate(time.Second).Add(time.Duration(grace) * time.Second)))
	pod.DeletionGracePeriodSeconds = &grace
	pod.Generation++
	return events.Alter(o, pod, PodDeletionRequested, "metadata.deletionTimestamp", "metadata.deletionGracePeriodSeconds")
}

// Unhold proposes that a pod lose a finalizer. If it was only that which kept it from being gone, it goes.
func Unhold(o *events.Object, finalizer, eventType string) events.Proposal {
	typed, meta := edit(o)
	dropFinalizers(meta, []string{finalizer})
	if o.Kind.Removable(typed) {
		return events.Remove(o, PodDeleted)
	}
	return events.Alter(o, typed, eventType, "metadata.finalizers")
}

func dropFinalizers(meta metav1.Object, without []string) {
	meta.SetFinalizers(slices.DeleteFunc(meta.GetFinalizers(), func(f string) bool { return slices.Contains(without, f) }))
}

// Terminating says that a namespace is being emptied, or gone: nothing new may come into being in it.
func Terminating(s *events.State, namespace string) bool {
	ref := events.Ref{Resource: "namespaces", Name: namespace}
	if o, ok := s.Get(ref); ok {
		return o.Meta().GetDeletionTimestamp() != nil
	}
	return s.Slot(ref) != nil
}
