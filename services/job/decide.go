package job

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/owned"
)

const (
	// maxGroup is how many pods one batch makes, ends, counts, adopts or releases; what remains follows when the batch has arrived.
	maxGroup = 300
	// maxNotes is how many of a batch's pods are told of in notes, as many as Kubernetes shows Events of one origin in a burst.
	maxNotes = 25
	// retryFailure is how long after pods could not be made it is tried again.
	retryFailure = 10 * time.Second
)

// Decide implements runner.Decider.
func (d *jobs) Decide(in runner.Input) runner.Decision {
	o, ok := in.State.Get(in.Key)
	if !ok {
		return freeOrphans(in)
	}
	job := o.Typed().(*batchv1.Job)
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil || selector.Empty() || managedElsewhere(job) {
		return runner.Decision{}
	}
	claims := owned.Claim(in.State, o, selector, d.orphans)
	owner := *metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job"))
	if changes := claims.Changes(owner, "Pod", maxGroup, batchv1.JobTrackingFinalizer); len(changes) > 0 {
		return runner.Decision{Together: [][]events.Proposal{changes}}
	}
	t := &turn{Input: in, object: o, was: job, job: job.DeepCopy(), owner: owner}
	t.take(claims.Own)
	t.decide()
	return t.decision()
}

func managedElsewhere(job *batchv1.Job) bool {
	return job.Spec.ManagedBy != nil && *job.Spec.ManagedBy != batchv1.JobControllerName
}

// freeOrphans lets go of the pods of a Job that is gone, so that they can be collected.
func freeOrphans(in runner.Input) runner.Decision {
	gone := in.State.Slot(in.Key)
	if gone == nil {
		return runner.Decision{}
	}
	var each []events.Proposal
	for o := range in.State.Indexed(events.ByOwner, gone.UID()) {
		if o.Ref.GroupResource() == podKind && tracked(o) {
			each = append(each, owned.Unhold(o, batchv1.JobTrackingFinalizer, "PodCounted"))
		}
	}
	return runner.Decision{Each: each}
}

func tracked(pod *events.Object) bool {
	return slices.Contains(pod.Meta().GetFinalizers(), batchv1.JobTrackingFinalizer)
}

// turn is one decision about a Job.
type turn struct {
	runner.Input
	object      *events.Object
	was         *batchv1.Job
	job         *batchv1.Job // its status is that to be stated
	owner       metav1.OwnerReference
	pods        []*events.Object
	active      []*events.Object
	born        int32 // active pods that this turn makes
	terminating int32
	ready       int32
	uncounted   []*events.Object // ended pods that still carry the finalizer
	done        indexes          // of an indexed Job: those that have succeeded
	group       []events.Proposal
	note        *events.Note
	again       time.Time
}

// take sorts out the Job's pods.
func (t *turn) take(pods []*events.Object) {
	t.pods = pods
	for _, o := range pods {
		pod := o.Typed().(*corev1.Pod)
		switch {
		case owned.Active(pod):
			t.active = append(t.active, o)
			if owned.Ready(pod) {
				t.ready++
			}
		case !owned.Finished(pod):
			t.terminating++
		}
		if !owned.Active(pod) && tracked(o) {
			t.uncounted = append(t.uncounted, o)
		}
	}
}

// decide counts what has ended, then ends the Job if that is due, else sees to its pods.
func (t *turn) decide() {
	more := len(t.uncounted) > maxGroup
	t.count(t.uncounted[:min(len(t.uncounted), maxGroup)])
	status := &t.job.Status
	switch {
	case t.job.DeletionTimestamp != nil || more:
	case finished(status):
		t.expire()
	case targeted(status):
		t.conclude()
	default:
		t.start()
		if !t.target() {
			t.manage()
		}
		if !targeted(status) && t.completed() {
			t.succeed()
		}
	}
}

// decision words the turn: all of it is one batch, with the Job's status as the fence.
func (t *turn) decision() runner.Decision {
	status := &t.job.Status
	if !finished(&t.was.Status) { // what has ended stays as it ended
		status.Active, status.Ready, status.Terminating = int32(len(t.active))+t.born, new(t.ready), new(t.terminating)
	}
	if len(t.group) == 0 && equality.Semantic.DeepEqual(*status, t.was.Status) {
		return runner.Decision{Again: t.again}
	}
	// The status is the fence: it goes with whatever is made, ended or counted, even when it says nothing new. It comes last: who has seen it has seen the rest.
	fence := events.Observe(t.object, t.job, statusEvent(&t.was.Status, status), changedStatus(&t.was.Status, status)...)
	if t.note != nil {
		fence = fence.With(*t.note)
	}
	return runner.Decision{Together: [][]events.Proposal{append(t.group, fence)}, Again: t.again}
}

// look asks for another look at a time, if no earlier one was asked for.
func (t *turn) look(at time.Time) {
	if t.again.IsZero() || at.Before(t.again) {
		t.again = at
	}
}

// expire deletes a Job that has outlived its time to live.
func (t *turn) expire() {
	ttl := t.job.Spec.TTLSecondsAfterFinished
	if ttl == nil || len(t.group) > 0 {
		return
	}
	end := finishedAt(&t.job.Status).Add(time.Duration(*ttl) * time.Second)
	switch {
	case t.Now.Before(end):
		t.look(end)
	case len(t.job.Finalizers) == 0:
		t.group = append(t.group, events.Remove(t.object, "JobDeleted"))
	default:
		job := t.job.DeepCopy()
		job.DeletionTimestamp, job.DeletionGracePeriodSeconds = new(metav1.NewTime(t.Now.Truncate(time.Second))), new(int64(0))
		t.group = append(t.group, events.Alter(t.object, job, "JobDeletionRequested", "metadata.deletionTimestamp"))
	}
}

// manage makes or ends pods, so that as many are active as may be.
func (t *turn) manage() {
	if t.suspended() {
		t.end(t.active, true)
		return
	}
	wanted := t.wanted()
	if t.indexed() {
		t.end(t.strays(), true)
	}
	switch excess := len(t.active) - wanted; {
	case excess > 0:
		t.end(owned.Rank(t.active, nil)[:excess], true)
	case excess < 0 && !owned.Terminating(t.State, t.job.Namespace):
		if until := t.backsOffUntil(); t.Now.Before(until) {
			t.look(until)
			return
		}
		t.create(min(-excess, maxGroup))
	}
}

// wanted returns how many pods should be active.
func (t *turn) wanted() int {
	parallelism, completions := int(orOne(t.job.Spec.Parallelism)), t.job.Spec.Completions
	succeeded := int(t.job.Status.Succeeded)
	if completions == nil {
		if succeeded > 0 { // one has found the work to be done: the others finish theirs
			return min(parallelism, len(t.active))
		}
		return t.replacing(parallelism)
	}
	return t.replacing(min(parallelism, int(*completions)-succeeded))
}

// replacing lowers n by the pods that must be gone before others take their place, if the Job's policy is to wait for them.
func (t *turn) replacing(n int) int {
	if policy := t.job.Spec.PodReplacementPolicy; policy != nil && *policy == batchv1.Failed {
		return max(min(n, len(t.active)), n-int(t.terminating))
	}
	return max(0, n)
}

func orOne(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// create makes n pods; an indexed Job's take the lowest indexes that are missing.
func (t *turn) create(n int) {
	birth, err := owned.NewBirth(t.State, t.template(), owned.Parent{Reference: t.owner, Namespace: t.job.Namespace, Base: t.job.Name + "-"}, t.Now)
	if err != nil {
		t.note = &events.Note{Reason: "FailedCreate", Message: "Error creating: " + err.Error(), Warning: true}
		t.look(t.Now.Add(retryFailure))
		return
	}
	missing := t.missing(n)
	for i := range n {
		var pod *corev1.Pod
		if t.indexed() {
			if i >= len(missing) {
				break
			}
			pod = indexedPod(birth, t.job.Name, missing[i])
		} else {
			pod = birth.Next()
		}
		t.add(events.Create(t.State, pod, "PodCreated"), "SuccessfulCreate", "Created pod: "+pod.Name)
		t.born++
	}
}

// end ends active pods, at most maxGroup of them. Uncounted they leave no trace in the counters; else each is a failure.
func (t *turn) end(pods []*events.Object, uncounted bool) {
	for _, o := range slices.Clone(pods[:min(len(pods), maxGroup)]) {
		p := owned.End(o, t.Now, batchv1.JobTrackingFinalizer)
		if !p.Tombstone {
			t.terminating++
		}
		if !uncounted {
			t.job.Status.Failed++
		}
		if owned.Ready(o.Typed().(*corev1.Pod)) {
			t.ready--
		}
		t.active = slices.DeleteFunc(t.active, func(other *events.Object) bool { return other == o })
		t.add(p, "SuccessfulDelete", "Deleted pod: "+o.Ref.Name)
	}
}

func (t *turn) add(p events.Proposal, reason, message string) {
	if len(t.group) < maxNotes {
		p = p.With(events.Note{Reason: reason, Message: message, About: &t.object.Ref, AboutID: t.object.UID()})
	}
	t.group = append(t.group, p)
}
