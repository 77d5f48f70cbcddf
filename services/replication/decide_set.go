package replication

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/owned"
)

const (
	// maxGroup is how many pods one batch makes, ends, adopts or releases; what remains follows when the batch has arrived.
	maxGroup = events.MaxBatch - 1
	// maxNotes is how many of a batch's pods are told of in notes, as many as Kubernetes shows Events of one origin in a burst. The ledger
	// has every pod anyway.
	maxNotes = 25
	// retryFailure is how long after pods could not be made it is tried again.
	retryFailure = 10 * time.Second
)

// Decide implements runner.Decider.
func (d *sets) Decide(in runner.Input) runner.Decision {
	o, ok := in.State.Get(in.Key)
	if !ok {
		return runner.Decision{}
	}
	s, err := asSet(o)
	if err != nil {
		return runner.Decision{} // the gateway refuses such a selector; an object that has one all the same owns nothing
	}
	if until := s.restsUntil(in.Now); !until.IsZero() {
		return runner.Decision{Again: until}
	}
	claims := owned.Claim(in.State, o, s.selector, d.orphans)
	if changes := claims.Changes(s.reference, "Pod", maxGroup); len(changes) > 0 {
		return runner.Decision{Together: [][]events.Proposal{changes}}
	}
	return newRecount(in, s, claims.Own).decide()
}

// recount is one decision about a set.
type recount struct {
	runner.Input
	*set
	active      []*events.Object // neither finished nor asked to end
	terminating int32
	created     int32
	group       []events.Proposal
	failure     string
}

func newRecount(in runner.Input, s *set, pods []*events.Object) *recount {
	r := &recount{Input: in, set: s}
	for _, o := range pods {
		switch pod := o.Typed().(*corev1.Pod); {
		case owned.Active(pod):
			r.active = append(r.active, o)
		case !owned.Finished(pod):
			r.terminating++
		}
	}
	return r
}

func (r *recount) decide() runner.Decision {
	if r.meta.DeletionTimestamp == nil {
		switch excess := len(r.active) - int(r.replicas); {
		case excess > 0:
			r.end(min(excess, maxGroup))
		case excess < 0 && !owned.Terminating(r.State, r.meta.Namespace):
			r.create(min(-excess, maxGroup))
		}
	}
	status, again := r.count()
	if len(r.group) == 0 && equality.Semantic.DeepEqual(status, r.status) {
		return runner.Decision{Again: again}
	}
	// The status is the fence: it goes with whatever is made or ended, even when it says nothing new. It comes last: who has seen it has seen the rest.
	observed := events.Observe(r.object, r.withStatus(status), "ReplicasCounted", changedCounts(&r.status, &status)...)
	if r.failure != "" {
		observed = observed.With(events.Note{Reason: "FailedCreate", Message: "Error creating: " + r.failure, Warning: true})
	}
	return runner.Decision{Together: [][]events.Proposal{append(r.group, observed)}, Again: again}
}

// create makes n pods. Those that were counted and are gone are replaced because of what made them go, which is why the set is looked
// at; those that never were are there because of the set's own desired state.
func (r *recount) create(n int) {
	birth, err := owned.NewBirth(r.State, r.template, owned.Parent{Reference: r.reference, Namespace: r.meta.Namespace, Base: r.meta.Name + "-"}, r.Now)
	if err != nil {
		r.failure = err.Error()
		return
	}
	replacing := int(r.status.Replicas) - len(r.active)
	for i := range n {
		pod := birth.Next()
		r.add(events.Create(r.State, pod, "PodCreated"), i >= replacing, "SuccessfulCreate", "Created pod: "+pod.Name)
	}
	r.created = int32(n)
}

// end ends the n pods that are missed least.
func (r *recount) end(n int) {
	// Pods beyond those counted came unasked, and their coming is why they go.
	unasked := len(r.active) > int(r.status.Replicas)
	victims := owned.Rank(r.active, podsPerNode(r.State, r.object, r.active))
	r.active = victims[n:]
	for _, victim := range victims[:n] {
		p := owned.End(victim, r.Now)
		if !p.Tombstone {
			r.terminating++
		}
		r.add(p, !unasked, "SuccessfulDelete", "Deleted pod: "+victim.Ref.Name)
	}
}

func (r *recount) add(p events.Proposal, becauseOfSpec bool, reason, message string) {
	if desired := r.object.Facet(events.Desired); becauseOfSpec {
		p.Cause, p.Correlation = desired.Revision, desired.Chain()
	}
	if len(r.group) < maxNotes {
		p = p.With(events.Note{Reason: reason, Message: message, About: &r.object.Ref, AboutID: r.object.UID()})
	}
	r.group = append(r.group, p)
}

// count words the status that the set has once the group is in the ledger, and when it changes by itself.
func (r *recount) count() (status appsv1.ReplicaSetStatus, again time.Time) {
	status = appsv1.ReplicaSetStatus{Replicas: int32(len(r.active)) + r.created, FullyLabeledReplicas: r.created, ObservedGeneration: r.meta.Generation,
		Conditions: r.conditions()}
	if r.countsTerminating {
		status.TerminatingReplicas = new(r.terminating)
	}
	wanted := labels.SelectorFromSet(r.template.Labels)
	for _, o := range r.active {
		pod := o.Typed().(*corev1.Pod)
		if wanted.Matches(labels.Set(pod.Labels)) {
			status.FullyLabeledReplicas++
		}
		if owned.Ready(pod) {
			status.ReadyReplicas++
		}
		available, at := owned.Available(pod, r.minReady, r.Now)
		if available {
			status.AvailableReplicas++
		}
		again = earlier(again, at)
	}
	if r.failure != "" {
		again = earlier(again, r.Now.Add(retryFailure))
	}
	return status, again
}

// conditions returns the set's conditions with the failure of this decision, or without that of an earlier one.
func (r *recount) conditions() []appsv1.ReplicaSetCondition {
	at := slices.IndexFunc(r.status.Conditions, func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure })
	switch {
	case r.failure == "" && at >= 0:
		return nilIfEmpty(slices.Delete(slices.Clone(r.status.Conditions), at, at+1))
	case r.failure != "" && at < 0:
		return append(slices.Clone(r.status.Conditions), appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
			Reason: "FailedCreate", Message: r.failure, LastTransitionTime: metav1.NewTime(r.Now)})
	}
	return r.status.Conditions
}

// changedCounts names the fields of a set's status that differ.
func changedCounts(was, is *appsv1.ReplicaSetStatus) []string {
	var c changes
	c.note("status.replicas", was.Replicas != is.Replicas)
	c.note("status.fullyLabeledReplicas", was.FullyLabeledReplicas != is.FullyLabeledReplicas)
	c.note("status.readyReplicas", was.ReadyReplicas != is.ReadyReplicas)
	c.note("status.availableReplicas", was.AvailableReplicas != is.AvailableReplicas)
	c.note("status.terminatingReplicas", !equality.Semantic.DeepEqual(was.TerminatingReplicas, is.TerminatingReplicas))
	c.note("status.observedGeneration", was.ObservedGeneration != is.ObservedGeneration)
	c.note("status.conditions", !equality.Semantic.DeepEqual(was.Conditions, is.Conditions))
	return c
}

// changes collects the paths of fields that differ.
type changes []string

func (c *changes) note(path string, differs bool) {
	if differs {
		*c = append(*c, path)
	}
}

// earlier returns the earlier of two times; zero stands for never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
