package scheduler

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

const (
	// mostAtOnce bounds the events of one decision.
	mostAtOnce = events.MaxBatch

	// tellAgainAfter is how long a pod's explanation stands before the counts are taken anew, so that a thousand waiting pods don't write a
	// thousand events for every node that joins.
	tellAgainAfter = 10 * time.Second

	gatedMessage = "Scheduling is blocked due to non-empty scheduling gates" // as the API server has it when it creates such a pod
)

// The types of the scheduler's events.
const (
	PodBound         = "PodBound"
	PodUnschedulable = "PodUnschedulable"
	PodGated         = "PodGated"
)

// EventTypes are the events that the scheduler writes.
var EventTypes = []events.TypeDoc{
	{Type: PodBound, By: "service:scheduler", Meaning: "A pod was given the node that it runs on."},
	{Type: PodUnschedulable, By: "service:scheduler", Meaning: "No node will do for a pod; its PodScheduled condition says why, with counts."},
	{Type: PodGated, By: "service:scheduler", Meaning: "A pod waits for its scheduling gates to be removed."},
}

// everything is the scheduler's only key: all waiting pods compete for all nodes.
var everything = events.Ref{Resource: "pods"}

var (
	pods       = events.GroupResource{Resource: "pods"}
	nodes      = events.GroupResource{Resource: "nodes"}
	namespaces = events.GroupResource{Resource: "namespaces"}
)

type scheduler struct{ account *account }

// New returns the scheduler with the default Config. It is a runner.Folder.
func New() runner.Decider { return NewWith(Config{}) }

// NewWith returns a scheduler that weighs nodes as c says. Decisions follow from it, as they do from the state: whoever decides again what was decided must
// know it.
func NewWith(c Config) runner.Decider { return &scheduler{account: newAccount(c)} }

func (*scheduler) Name() string { return "scheduler" }

// Fold keeps the account.
func (s *scheduler) Fold(c events.Change) {
	ref := c.Ref()
	switch ref.GroupResource() {
	case pods:
		s.account.foldPod(ref, c.New)
	case nodes:
		var node *corev1.Node
		if c.New != nil {
			node = c.New.Typed().(*corev1.Node)
		}
		s.account.foldNode(ref.Name, node)
	case namespaces:
		s.account.foldNamespace(ref.Name, c.New)
	}
}

// Keys asks for a decision when a pod comes to wait, or when something that a waiting pod may wait for has changed.
func (s *scheduler) Keys(c events.Change, _ *events.State) []events.Ref {
	matters := false
	switch c.Ref().GroupResource() {
	case pods:
		matters = podMatters(c)
	case nodes:
		matters = c.Old == nil || c.New == nil || nodeDiffers(c.Old.Typed().(*corev1.Node), c.New.Typed().(*corev1.Node))
	case namespaces:
		matters = c.Old != nil && c.New != nil && !maps.Equal(c.Old.Meta().GetLabels(), c.New.Meta().GetLabels())
	}
	if !matters {
		return nil
	}
	return []events.Ref{everything}
}

// podMatters is false for most reports about running pods, and for the scheduler's own explanations.
func podMatters(c events.Change) bool {
	if c.Old == nil || c.New == nil {
		return true
	}
	before, after := c.Old.Typed().(*corev1.Pod), c.New.Typed().(*corev1.Pod)
	return c.Old.Expect(events.Desired) != c.New.Expect(events.Desired) || before.Spec.NodeName != after.Spec.NodeName || concerns(before) != concerns(after)
}

// Decide places the pods that wait.
func (s *scheduler) Decide(in runner.Input) runner.Decision {
	b := batch{account: s.account, now: in.Now, failed: map[likeness]string{}}
	s.account.retract()
	s.account.waiting.Scan(func(p *pod) bool {
		if len(b.decision.Each) == mostAtOnce {
			b.lookAgain(in.Now.Add(time.Millisecond))
			return false
		}
		b.place(p)
		return true
	})
	s.account.tidy()
	return b.decision
}

// batch is one decision in the making.
type batch struct {
	account  *account
	now      time.Time
	failed   map[likeness]string // why pods that found no place found none; "" while nobody had to be told
	decision runner.Decision
}

// likeness is equal for pods that fail alike.
type likeness struct {
	shape   *shape
	company string
}

func (b *batch) place(p *pod) {
	if len(p.spec().Spec.SchedulingGates) > 0 {
		b.tell(p, PodGated, corev1.PodReasonSchedulingGated, gatedMessage)
		return
	}
	c := p.company(b.account)
	like := likeness{p.shape, c.alike()}
	message, failed := b.failed[like]
	if !failed {
		if p.impossible() == "" {
			if found := b.account.choose(p, &c); found.best() != nil {
				b.bind(p, found)
				return
			}
		}
		b.failed[like] = ""
	}
	if next := p.toldAt().Add(tellAgainAfter); p.condition(corev1.PodReasonUnschedulable) != nil && b.now.Before(next) {
		b.lookAgain(next)
		return
	}
	if message == "" {
		message = b.account.explain(p, &c)
		b.failed[like] = message
	}
	b.tell(p, PodUnschedulable, corev1.PodReasonUnschedulable, message)
}

func (b *batch) bind(p *pod, found *search) {
	n, why := found.best(), found.choice()
	b.account.assume(p, n)
	b.propose(p, events.Place(p.object, events.Placement{Node: n.name, Why: why}, PodBound).With(events.Note{Reason: "Scheduled",
		Message: "Successfully assigned " + p.ref.Namespace + "/" + p.ref.Name + " to " + n.name}))
}

// tell writes into a pod's condition why it waits, unless it says so already.
func (b *batch) tell(p *pod, eventType, reason, message string) {
	said := p.condition(reason)
	if said != nil && said.Message == message {
		return
	}
	condition := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message,
		LastTransitionTime: metav1.NewTime(b.now.Truncate(time.Second))}
	if said != nil {
		condition.LastTransitionTime = said.LastTransitionTime
	}
	updated := p.spec().DeepCopy()
	updated.Status.Conditions = slices.DeleteFunc(updated.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled })
	updated.Status.Conditions = append(updated.Status.Conditions, condition)
	proposal := events.Observe(p.object, updated, eventType, "status.conditions")
	if eventType == PodUnschedulable {
		proposal = proposal.With(events.Note{Reason: "FailedScheduling", Message: message, Warning: true})
	}
	b.propose(p, proposal)
}

// propose adds an event whose cause is what made the pod as it is: its creation, mostly.
func (b *batch) propose(p *pod, proposal events.Proposal) {
	desired := p.object.Facet(events.Desired)
	proposal.Cause, proposal.Correlation = desired.Revision, desired.Chain()
	b.decision.Each = append(b.decision.Each, proposal)
}

func (b *batch) lookAgain(at time.Time) {
	if again := &b.decision.Again; again.IsZero() || at.Before(*again) {
		*again = at
	}
}

func (p *pod) spec() *corev1.Pod { return p.object.Typed().(*corev1.Pod) }

// impossible says why no node at all can do, whatever it offers; "" if one may.
func (p *pod) impossible() string {
	if p.rules != nil && p.rules.wrong != "" {
		return p.rules.wrong
	}
	return p.shape.unsupported
}

// condition returns what the pod says about not being scheduled, if that is for the given reason.
func (p *pod) condition(reason string) *corev1.PodCondition {
	conditions := p.spec().Status.Conditions
	for i := range conditions {
		if c := &conditions[i]; c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == reason {
			return c
		}
	}
	return nil
}

// toldAt is when the pod's status was last written.
func (p *pod) toldAt() time.Time {
	if e := p.object.Facet(events.Observed); e != nil {
		return e.At
	}
	return time.Time{}
}
