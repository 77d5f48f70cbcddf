package feed

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
)

// unknownReason is the reason of the conditions of a node that is lost, as Kubernetes words it.
const unknownReason = "NodeStatusUnknown"

// lostConditions are those that nobody knows of a node that is lost.
var lostConditions = []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure}

// pulse remembers when nodes were heard, on the process's own monotonic clock.
type pulse struct {
	mu       sync.Mutex
	since    time.Time            // when listening began
	deaf     time.Time            // until when nobody could be heard, last
	taken    map[string]time.Time // when nodes were taken over from another feed
	heardAt  map[string]time.Time
	reported map[string]corev1.NodeStatus
}

// begin starts to listen: what was heard before doesn't count.
func (p *pulse) begin(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since, p.heardAt, p.taken = now, map[string]time.Time{}, map[string]time.Time{}
	if p.reported == nil {
		p.reported = map[string]corev1.NodeStatus{}
	}
}

func (p *pulse) heard(node string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heardAt[node] = now
}

func (p *pulse) report(node string, status corev1.NodeStatus, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heardAt[node], p.reported[node] = now, status
}

// judge says whether a node is heard, or silent. It may be neither, as long as it is too early to tell.
func (p *pulse) judge(node string, now time.Time, silence, grace time.Duration) (heard, silent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ever := p.heardAt[node]
	heard = ever && now.Sub(at) <= silence
	return heard, !heard && now.Sub(p.since) > grace && now.Sub(p.deaf) > silence && now.Sub(p.taken[node]) > silence
}

// couldNotHear says that nobody can be heard now: that says nothing of them.
func (p *pulse) couldNotHear(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = now
}

// takeOver begins a node's silence anew.
func (p *pulse) takeOver(node string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken[node] = now
}

// lastReport is what a node last said of itself, if this feed heard it.
func (p *pulse) lastReport(node string) (corev1.NodeStatus, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	status, ok := p.reported[node]
	return status, ok
}

// judgeNodes writes down which agents fell silent and which are back, until ctx ends.
func (f *Feed) judgeNodes(ctx context.Context) error {
	every := f.Silence / 10
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-ticker.C:
			if now.Sub(last) > f.Silence/2 {
				f.pulse.begin(now) // it was this process that was away
			}
			if f.Connected != nil && !f.Connected() {
				f.pulse.couldNotHear(now)
			}
			f.judgeAll(ctx, now)
			last = time.Now() // writing may take long while the ledger changes its leader
		}
	}
}

func (f *Feed) judgeAll(ctx context.Context, now time.Time) {
	if f.View.Status().Following != nil {
		return // nothing can be written now
	}
	state := f.View.State()
	var proposals []events.Proposal
	for o := range state.All(events.GroupResource{Resource: "nodes"}, "") {
		if o.Meta().GetLabels()[events.AgentLabel] != "true" || !f.owns(o.Ref.Name) {
			continue
		}
		heard, silent := f.pulse.judge(o.Ref.Name, now, f.Silence, f.Grace)
		lost := isLost(o)
		switch {
		case silent && !lost:
			proposals = append(proposals, f.lost(o, now))
			f.mu.Lock()
			f.forget(o.Ref.Name)
			f.mu.Unlock()
		case heard && lost:
			proposals = append(proposals, f.found(o, now))
		}
	}
	if len(proposals) == 0 {
		return
	}
	events.Audit{Actor: "service:feed", Basis: state.Revision(), At: now}.Sign(proposals)
	for i, result := range f.Ledger.AppendEach(ctx, proposals) {
		if result.Err != nil && ctx.Err() == nil {
			f.Log.Warn("a change of a node's health did not reach the ledger; it is tried again", "node", proposals[i].Ref.Name, "error", result.Err)
		}
	}
}

// isLost says that the ledger calls a node lost.
func isLost(o *events.Object) bool {
	ready := condition(&o.Typed().(*corev1.Node).Status, corev1.NodeReady)
	return ready != nil && ready.Status == corev1.ConditionUnknown && ready.Reason == unknownReason
}

func condition(status *corev1.NodeStatus, of corev1.NodeConditionType) *corev1.NodeCondition {
	i := slices.IndexFunc(status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == of })
	if i < 0 {
		return nil
	}
	return &status.Conditions[i]
}

func (f *Feed) lost(o *events.Object, now time.Time) events.Proposal {
	node := o.Typed().(*corev1.Node).DeepCopy()
	message := fmt.Sprintf("The node agent has not been heard for %s.", f.Silence)
	for _, of := range lostConditions {
		set(&node.Status, of, corev1.ConditionUnknown, unknownReason, message, now)
	}
	return events.Observe(o, node, NodeLost, "status.conditions").With(events.Note{Reason: "NodeNotReady",
		Message: fmt.Sprintf("Node %s status is now: NodeNotReady. %s", node.Name, message), Warning: true})
}

// found proposes what the node last said of itself. A feed that never heard it say so takes a node that is heard for ready.
func (f *Feed) found(o *events.Object, now time.Time) events.Proposal {
	node := o.Typed().(*corev1.Node).DeepCopy()
	if status, ok := f.pulse.lastReport(node.Name); ok {
		node.Status = *merged(&status, &node.Status)
	} else {
		for _, of := range lostConditions {
			set(&node.Status, of, corev1.ConditionFalse, "AgentHeard", "The node agent is heard again.", now)
		}
		set(&node.Status, corev1.NodeReady, corev1.ConditionTrue, "AgentHeard", "The node agent is heard again.", now)
	}
	return events.Observe(o, node, NodeReady, "status.conditions").With(events.Note{Reason: "NodeReady",
		Message: fmt.Sprintf("Node %s status is now: NodeReady", node.Name)})
}

func set(status *corev1.NodeStatus, of corev1.NodeConditionType, to corev1.ConditionStatus, reason, message string, now time.Time) {
	c := condition(status, of)
	if c == nil {
		status.Conditions = append(status.Conditions, corev1.NodeCondition{Type: of})
		c = &status.Conditions[len(status.Conditions)-1]
	}
	if c.Status != to {
		c.LastTransitionTime = metav1.NewTime(now.UTC().Truncate(time.Second))
	}
	c.Status, c.Reason, c.Message = to, reason, message
}
