package node

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// Grace is how long a node that reports through the API may be silent.
const Grace = 40 * time.Second

// Reasons of conditions, as in Kubernetes.
const (
	unknownReason  = "NodeStatusUnknown"
	neverReason    = "NodeStatusNeverUpdated"
	notReadyReason = "NodeNotReady"
)

// conditions are those that a lost node's silence leaves unknown.
var conditions = []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure}

// Decide says what follows from a node's silence and conditions, or for a pod from those of its node.
func (n Node) Decide(in runner.Input) runner.Decision {
	if in.Key == everyNode {
		return decidePace(in)
	}
	o, ok := in.State.Get(in.Key)
	if !ok {
		return runner.Decision{}
	}
	if in.Key.GroupResource() == podsKind {
		return decidePod(in, o)
	}
	var d runner.Decision
	if o.Meta().GetLabels()[events.AgentLabel] != "true" {
		d = listen(in, o)
	}
	if p, ok := taints(in, o); ok {
		d.Each = append(d.Each, p)
	}
	return d
}

// signs are what a node that reports through the API has said lately.
type signs struct {
	at    time.Time // when it was heard last
	lost  bool      // it was found lost
	again bool      // since then it was heard
}

// signsOf reads them off its Lease and its status. A status that this package wrote is no sign of life.
func signsOf(in runner.Input, o *events.Object) signs {
	s := signs{at: o.Facet(events.Desired).At}
	status := o.Facet(events.Observed)
	s.lost = status != nil && status.Type == NodeLost
	if status != nil && status.Type != NodeLost && status.Type != NodeReturned {
		s.at = status.At
	}
	if lease, ok := in.State.Get(leaseRef(o.Ref.Name)); ok {
		renewed := lease.Facet(events.Desired)
		if renewed.At.After(s.at) {
			s.at = renewed.At
		}
		s.again = s.lost && renewed.Revision > status.Revision
	}
	return s
}

func leaseRef(node string) events.Ref {
	return events.Ref{Group: leasesKind.Group, Resource: leasesKind.Resource, Namespace: corev1.NamespaceNodeLease, Name: node}
}

// beganToListen returns since when nodes are heard: when the cluster was started last. The zero time if the ledger doesn't know.
func beganToListen(state *events.State) time.Time {
	o, ok := state.Get(events.StartLease())
	if !ok {
		return time.Time{}
	}
	return o.Facet(events.Desired).At
}

// listen finds a node lost that was silent for too long, and returned that is heard again.
func listen(in runner.Input, o *events.Object) runner.Decision {
	s := signsOf(in, o)
	switch {
	case s.again:
		return runner.Decision{Each: []events.Proposal{returned(in, o)}}
	case s.lost:
		return runner.Decision{}
	}
	if began := beganToListen(in.State); s.at.Before(began) {
		s.at = began
	}
	if due := s.at.Add(Grace); in.Now.Before(due) {
		return runner.Decision{Again: due}
	}
	return runner.Decision{Each: []events.Proposal{lost(in, o)}}
}

func lost(in runner.Input, o *events.Object) events.Proposal {
	node := o.Typed().(*corev1.Node).DeepCopy()
	for _, of := range conditions {
		reason, message := unknownReason, "The node stopped posting its status."
		if condition(node, of) == nil {
			reason, message = neverReason, "The node never posted its status."
		}
		set(node, of, corev1.ConditionUnknown, reason, message, in.Now)
	}
	return events.Observe(o, node, NodeLost, "status.conditions").With(events.Note{Reason: notReadyReason, Warning: true,
		Message: fmt.Sprintf("Node %s status is now: NodeNotReady. It has not been heard for %s.", node.Name, Grace)})
}

// returned takes a node that renews its Lease for ready until it says otherwise.
func returned(in runner.Input, o *events.Object) events.Proposal {
	node := o.Typed().(*corev1.Node).DeepCopy()
	const reason, message = "NodeReturned", "The node renews its Lease again."
	for _, of := range conditions {
		set(node, of, corev1.ConditionFalse, reason, message, in.Now)
	}
	set(node, corev1.NodeReady, corev1.ConditionTrue, reason, message, in.Now)
	return events.Observe(o, node, NodeReturned, "status.conditions").With(events.Note{Reason: "NodeReady",
		Message: fmt.Sprintf("Node %s status is now: NodeReady", node.Name)})
}

func set(node *corev1.Node, of corev1.NodeConditionType, to corev1.ConditionStatus, reason, message string, now time.Time) {
	c := condition(node, of)
	if c == nil {
		node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{Type: of})
		c = &node.Status.Conditions[len(node.Status.Conditions)-1]
	}
	if c.Status != to {
		c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	}
	c.Status, c.Reason, c.Message = to, reason, message
}
