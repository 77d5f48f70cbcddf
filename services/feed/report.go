package feed

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
)

// attempts is how often a report is tried against other writers of the same facet.
const attempts = 8

// reachWithin is how long an answer waits for the view to see what was appended, so that the node's next report builds on it.
const reachWithin = 2 * time.Second

// Bounds of a note, which travels in a header of the event.
const (
	maxReasonBytes  = 128
	maxMessageBytes = 1024
)

var eventType = regexp.MustCompile(`^[A-Z][A-Za-z]{1,62}$`)

func actor(node string) string { return "node:" + node }

// decide words a report as proposals on a state; none if it says nothing new. An Answer ends it without any.
type decide func(state *events.State) ([]events.Proposal, *nodewire.Answer)

// append writes what decide comes to, deciding again whenever another writer was first.
func (f *Feed) append(ctx context.Context, audit events.Audit, decide decide) nodewire.Answer {
	state := f.View.State()
	var err error
	for range attempts {
		proposals, answer := decide(state)
		if answer != nil {
			return *answer
		}
		audit.Basis = state.Revision()
		audit.Sign(proposals)
		var revision events.Revision
		if revision, err = f.Ledger.Append(ctx, proposals...); err == nil {
			f.await(ctx, revision)
			return nodewire.Answer{Revision: revision}
		}
		if !errors.Is(err, events.ErrConflict) {
			break
		}
		state = f.await(ctx, state.Revision()+1)
	}
	return nodewire.Answer{Error: fmt.Sprintf("the report did not reach the ledger; report again: %v", err)}
}

// await waits until the view has reached revision, but not for long.
func (f *Feed) await(ctx context.Context, revision events.Revision) *events.State {
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	if state, err := f.View.WaitFor(ctx, revision); err == nil {
		return state
	}
	return f.View.State()
}

// Pod takes what a node says of one of its pods.
func (f *Feed) Pod(ctx context.Context, node string, r nodewire.PodReport) nodewire.Answer {
	f.pulse.heard(node, time.Now())
	if err := check(&r); err != nil {
		return nodewire.Answer{Error: fmt.Sprintf("node %s, pod %s/%s: %v", node, r.Namespace, r.Name, err)}
	}
	return f.append(ctx, events.Audit{Actor: actor(node), At: decidedAt(r.At)}, func(state *events.State) ([]events.Proposal, *nodewire.Answer) {
		o, ok := state.Get(object{nodewire.Pods, r.Namespace, r.Name}.ref())
		if !ok || o.UID() != r.UID || nodeOf(o) != node {
			if r.Cause > state.Revision() { // another feed has told the node of what this one has yet to see
				return nil, &nodewire.Answer{Error: fmt.Sprintf("node %s, pod %s/%s: this feed is at revision %d; report again", node, r.Namespace, r.Name, state.Revision())}
			}
			return nil, &nodewire.Answer{Gone: true, Error: fmt.Sprintf("no pod %s/%s with UID %s is bound to node %s", r.Namespace, r.Name, r.UID, node)}
		}
		proposals, err := podProposals(o, &r)
		switch {
		case err != nil:
			return nil, &nodewire.Answer{Error: fmt.Sprintf("node %s, pod %s/%s: %v", node, r.Namespace, r.Name, err)}
		case len(proposals) == 0:
			return nil, &nodewire.Answer{Revision: o.Revision()}
		}
		for i := range proposals {
			proposals[i].Cause, proposals[i].Correlation = causeOf(o, r.Cause)
		}
		return proposals, nil
	})
}

func check(r *nodewire.PodReport) error {
	switch {
	case !eventType.MatchString(r.Type):
		return fmt.Errorf("event type %q is not UpperCamelCase", r.Type)
	case r.Note != nil && (r.Note.Reason == "" || len(r.Note.Reason) > maxReasonBytes):
		return fmt.Errorf("the note's reason must have 1 to %d bytes", maxReasonBytes)
	}
	return nil
}

// decidedAt is the node's own time of a report; a node's clock can't put an event into the future.
func decidedAt(at time.Time) time.Time {
	now := time.Now()
	if at.IsZero() || at.After(now) {
		at = now
	}
	return at.UTC()
}

// causeOf returns the event that a report names as its cause, if that is one that the object is made of or an earlier one, else what
// the node was last asked for.
func causeOf(o *events.Object, named events.Revision) (cause, correlation events.Revision) {
	asked := o.Facet(events.Desired)
	if placed := o.Facet(events.Assigned); placed != nil && placed.Revision > asked.Revision {
		asked = placed
	}
	if named == 0 || named > o.Revision() {
		named = asked.Revision
	}
	for _, facet := range []events.Facet{events.Desired, events.Assigned, events.Observed} {
		if e := o.Facet(facet); e != nil && e.Revision == named {
			return named, e.Chain()
		}
	}
	return named, asked.Chain()
}

// podProposals words a report on o: its new status, and its end if it was asked to end and has no finalizers.
func podProposals(o *events.Object, r *nodewire.PodReport) ([]events.Proposal, error) {
	before := o.Typed().(*corev1.Pod)
	after := *before // what isn't replaced is only read
	var err error
	if after.Status, err = podStatus(&before.Status, &r.Status); err != nil {
		return nil, err
	}
	var proposals []events.Proposal
	changed := changedStatus(&before.Status, &after.Status)
	if len(changed) > 0 || r.Note != nil && !r.Removed && !repeats(o, r) {
		proposals = append(proposals, events.Observe(o, &after, r.Type, changed...))
	}
	if r.Removed && before.DeletionTimestamp != nil && len(before.Finalizers) == 0 {
		proposals = append(proposals, events.Remove(o, PodDeleted))
	}
	if r.Note != nil && len(proposals) > 0 {
		message := r.Note.Message[:min(len(r.Note.Message), maxMessageBytes)]
		last := len(proposals) - 1
		proposals[last] = proposals[last].With(events.Note{Reason: r.Note.Reason, Message: message, Warning: r.Note.Warning})
	}
	return proposals, nil
}

// repeats says that r is what made o's status: the node didn't get the answer and reports again.
func repeats(o *events.Object, r *nodewire.PodReport) bool {
	last := o.Facet(events.Observed)
	return last != nil && last.Type == r.Type && last.Note != nil && last.Note.Message == r.Note.Message && last.At.Equal(r.At.Truncate(time.Millisecond))
}

// ownConditions are the conditions of a pod that its node speaks of.
var ownConditions = []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady, corev1.PodInitialized, corev1.PodReadyToStartContainers}

// podStatus is the status that a node's report makes of the one before. What is not the node's to say stays: the scheduler's and
// others' conditions, nominations, the quality of service.
func podStatus(before, reported *corev1.PodStatus) (corev1.PodStatus, error) {
	after := *reported
	switch reported.Phase {
	case corev1.PodPending, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed:
	default:
		return after, fmt.Errorf("phase %q is none of Pending, Running, Succeeded, Failed", reported.Phase)
	}
	if finished(before.Phase) {
		after.Phase = before.Phase // for good
	}
	after.Conditions = nil
	for _, c := range reported.Conditions {
		if slices.Contains(ownConditions, c.Type) {
			after.Conditions = append(after.Conditions, c)
		}
	}
	for _, c := range before.Conditions {
		if !slices.Contains(ownConditions, c.Type) {
			after.Conditions = append(after.Conditions, c)
		}
	}
	after.NominatedNodeName, after.ResourceClaimStatuses = before.NominatedNodeName, before.ResourceClaimStatuses
	if before.QOSClass != "" {
		after.QOSClass = before.QOSClass
	}
	return after, nil
}

func finished(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}
