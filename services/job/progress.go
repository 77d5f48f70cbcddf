package job

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner/owned"
)

func condition(s *batchv1.JobStatus, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			return &s.Conditions[i]
		}
	}
	return nil
}

func holds(s *batchv1.JobStatus, kind batchv1.JobConditionType) bool {
	c := condition(s, kind)
	return c != nil && c.Status == corev1.ConditionTrue
}

// finished says that the Job is over.
func finished(s *batchv1.JobStatus) bool {
	return holds(s, batchv1.JobComplete) || holds(s, batchv1.JobFailed)
}

func finishedAt(s *batchv1.JobStatus) time.Time {
	for _, kind := range [...]batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if holds(s, kind) {
			return condition(s, kind).LastTransitionTime.Time
		}
	}
	return time.Time{}
}

// targeted says that how the Job ends is decided, though pods of it may still be ending.
func targeted(s *batchv1.JobStatus) bool {
	return holds(s, batchv1.JobSuccessCriteriaMet) || holds(s, batchv1.JobFailureTarget)
}

// set sets a condition and says whether that is a change.
func (t *turn) set(kind batchv1.JobConditionType, value corev1.ConditionStatus, reason, message string) bool {
	now := metav1.NewTime(t.Now)
	c := condition(&t.job.Status, kind)
	if c == nil {
		t.job.Status.Conditions = append(t.job.Status.Conditions, batchv1.JobCondition{Type: kind})
		c = condition(&t.job.Status, kind)
	} else if c.Status == value {
		return false
	}
	c.Status, c.Reason, c.Message, c.LastProbeTime, c.LastTransitionTime = value, reason, message, now, now
	return true
}

func (t *turn) suspended() bool { return t.job.Spec.Suspend != nil && *t.job.Spec.Suspend }

// start notes when the Job began, was suspended, and went on.
func (t *turn) start() {
	status := &t.job.Status
	if t.suspended() {
		if t.set(batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended") {
			t.note = &events.Note{Reason: "Suspended", Message: "Job suspended"}
		}
		return
	}
	if condition(status, batchv1.JobSuspended) != nil && t.set(batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed") {
		t.note = &events.Note{Reason: "Resumed", Message: "Job resumed"}
		status.StartTime = new(metav1.NewTime(t.Now))
	}
	if status.StartTime == nil {
		status.StartTime = new(metav1.NewTime(t.Now))
	}
}

// target gives the Job up if it has failed too often or takes too long.
func (t *turn) target() bool {
	status, spec := &t.job.Status, &t.job.Spec
	reason, message := "", ""
	if spec.BackoffLimit != nil && (status.Failed > *spec.BackoffLimit || t.restartsExceed(*spec.BackoffLimit)) {
		reason, message = batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit"
	}
	if deadline := spec.ActiveDeadlineSeconds; deadline != nil && reason == "" && !t.suspended() {
		if end := status.StartTime.Add(time.Duration(*deadline) * time.Second); t.Now.Before(end) {
			t.look(end)
		} else {
			reason, message = batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline"
		}
	}
	if reason == "" {
		return false
	}
	t.set(batchv1.JobFailureTarget, corev1.ConditionTrue, reason, message)
	t.note = &events.Note{Reason: reason, Message: message, Warning: true}
	t.conclude()
	return true
}

// restartsExceed says that containers of active pods, of a Job that restarts them in place, were restarted as often as the limit allows.
func (t *turn) restartsExceed(limit int32) bool {
	if t.job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	n := int32(0)
	for _, o := range t.active {
		n += restarts(o.Typed().(*corev1.Pod))
	}
	return n >= max(limit, 1)
}

// completed says that the Job has all the successes that it needs.
func (t *turn) completed() bool {
	if len(t.active) > 0 || t.born > 0 {
		return false
	}
	if t.job.Spec.Completions == nil {
		return t.job.Status.Succeeded > 0
	}
	return t.job.Status.Succeeded >= *t.job.Spec.Completions
}

func (t *turn) succeed() {
	t.set(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
	t.conclude()
}

// conclude ends what is active of a Job whose end is decided, and ends the Job when the last of its pods has ended.
func (t *turn) conclude() {
	status := &t.job.Status
	t.end(t.active, false)
	if len(t.active) > 0 || t.terminating > 0 {
		return
	}
	if met := condition(status, batchv1.JobSuccessCriteriaMet); met != nil {
		t.set(batchv1.JobComplete, corev1.ConditionTrue, met.Reason, met.Message)
		status.CompletionTime = new(metav1.NewTime(t.Now))
		t.note = &events.Note{Reason: "Completed", Message: "Job completed"}
	} else if target := condition(status, batchv1.JobFailureTarget); target != nil {
		t.set(batchv1.JobFailed, corev1.ConditionTrue, target.Reason, target.Message)
	}
	if ttl := t.job.Spec.TTLSecondsAfterFinished; ttl != nil {
		t.look(t.Now.Add(time.Duration(*ttl)*time.Second + time.Millisecond))
	}
}

// count counts pods that have ended, and lets go of them. A pod that was asked to end counts as a failure, as in Kubernetes.
func (t *turn) count(pods []*events.Object) {
	status := &t.job.Status
	if t.indexed() {
		t.done = parseIndexes(status.CompletedIndexes, t.completions())
	}
	for _, o := range pods {
		pod := o.Typed().(*corev1.Pod)
		index, valid := completionIndex(pod)
		switch {
		case pod.Status.Phase != corev1.PodSucceeded:
			status.Failed++
		case !t.indexed():
			status.Succeeded++
		case valid && index < len(t.done):
			t.done[index] = true
		}
		p := owned.Unhold(o, batchv1.JobTrackingFinalizer, "PodCounted")
		if p.Tombstone && !owned.Finished(pod) {
			t.terminating--
		}
		t.group = append(t.group, p)
	}
	if t.indexed() {
		status.CompletedIndexes, status.Succeeded = t.done.String(), t.done.total()
	}
}

// The back-off after failures: it doubles from the first to the last of these.
const (
	firstBackOff = 10 * time.Second
	lastBackOff  = 10 * time.Minute
)

// backsOffUntil returns when the next pod may be made, by the failures since the last success.
func (t *turn) backsOffUntil() time.Time {
	var lastSuccess, lastFailure time.Time
	for _, o := range t.pods {
		if pod := o.Typed().(*corev1.Pod); pod.Status.Phase == corev1.PodSucceeded && endedAt(pod).After(lastSuccess) {
			lastSuccess = endedAt(pod)
		}
	}
	backOff := firstBackOff / 2
	for _, o := range t.pods {
		pod := o.Typed().(*corev1.Pod)
		if pod.Status.Phase != corev1.PodFailed || pod.DeletionTimestamp != nil {
			continue
		}
		if at := endedAt(pod); at.After(lastSuccess) {
			backOff = min(2*backOff, lastBackOff)
			if at.After(lastFailure) {
				lastFailure = at
			}
		}
	}
	if lastFailure.IsZero() {
		return time.Time{}
	}
	return lastFailure.Add(backOff)
}

// endedAt returns when a finished pod's last container ended.
func endedAt(pod *corev1.Pod) time.Time {
	at := pod.CreationTimestamp.Time
	for i := range pod.Status.ContainerStatuses {
		if ended := pod.Status.ContainerStatuses[i].State.Terminated; ended != nil && ended.FinishedAt.After(at) {
			at = ended.FinishedAt.Time
		}
	}
	return at
}

// statusEvent names the event that a change of status is.
func statusEvent(was, is *batchv1.JobStatus) string {
	newly := func(kind batchv1.JobConditionType) bool { return holds(is, kind) && !holds(was, kind) }
	switch {
	case newly(batchv1.JobComplete):
		return "JobCompleted"
	case newly(batchv1.JobFailed):
		return "JobFailed"
	case newly(batchv1.JobSuccessCriteriaMet):
		return "JobSucceeding"
	case newly(batchv1.JobFailureTarget):
		return "JobFailing"
	case newly(batchv1.JobSuspended):
		return "JobSuspended"
	case !is.StartTime.Equal(was.StartTime):
		return "JobStarted"
	}
	return "JobProgressed"
}

func changedStatus(was, is *batchv1.JobStatus) []string {
	fields := []struct {
		path    string
		differs bool
	}{
		{"status.active", was.Active != is.Active},
		{"status.ready", !equality.Semantic.DeepEqual(was.Ready, is.Ready)},
		{"status.terminating", !equality.Semantic.DeepEqual(was.Terminating, is.Terminating)},
		{"status.succeeded", was.Succeeded != is.Succeeded},
		{"status.failed", was.Failed != is.Failed},
		{"status.completedIndexes", was.CompletedIndexes != is.CompletedIndexes},
		{"status.startTime", !was.StartTime.Equal(is.StartTime)},
		{"status.completionTime", !was.CompletionTime.Equal(is.CompletionTime)},
		{"status.conditions", !equality.Semantic.DeepEqual(was.Conditions, is.Conditions)},
	}
	var changed []string
	for _, f := range fields {
		if f.differs {
			changed = append(changed, f.path)
		}
	}
	return changed
}
