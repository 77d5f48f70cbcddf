package owned

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Finished says that pod has run to its end, well or badly.
func Finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Active says that pod counts as a replica: neither finished nor asked to end.
func Active(pod *corev1.Pod) bool { return !Finished(pod) && pod.DeletionTimestamp == nil }

// ReadySince returns since when pod is ready; false if it isn't.
func ReadySince(pod *corev1.Pod) (time.Time, bool) {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.LastTransitionTime.Time, c.Status == corev1.ConditionTrue
		}
	}
	return time.Time{}, false
}

// Ready says that pod is ready.
func Ready(pod *corev1.Pod) bool {
	_, ready := ReadySince(pod)
	return ready
}

// Available says that pod has been ready for minReadySeconds. If it is ready but not for that long yet, at is when it will have been.
func Available(pod *corev1.Pod, minReadySeconds int32, now time.Time) (available bool, at time.Time) {
	since, ready := ReadySince(pod)
	if !ready {
		return false, time.Time{}
	}
	if at = since.Add(time.Duration(minReadySeconds) * time.Second); minReadySeconds > 0 && now.Before(at) {
		return false, at
	}
	return true, time.Time{}
}
