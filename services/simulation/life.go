package simulation

import (
	"fmt"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
)

// forever is for how long a node that lives says ahead that it does: longer than anybody simulates.
const forever = 100 * 365 * 24 * time.Hour

// unknownReason is the reason of the conditions of a node that is lost, as Kubernetes words it.
const unknownReason = "NodeStatusUnknown"

// lostConditions are those that nobody knows of a node that is lost.
var lostConditions = []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure}

// hasAgent says that a node's silence is the node feed's to notice.
func hasAgent(node *events.Object) bool { return node.Meta().GetLabels()[events.AgentLabel] == "true" }

// join lets a node live that is ready, or that has just come and has yet to say so. One that is in trouble stays in it.
func (o *outside) join(object *events.Object) {
	node, name := object.Typed().(*corev1.Node), object.Ref.Name
	switch {
	case isReady(object):
		o.renew(object, o.now.Add(forever))
	case !slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady }):
		o.agenda.add(o.now.Add(o.model.Start), func() {
			if found, ok := o.state.Get(events.Ref{Resource: nodesKind.Resource, Name: name}); ok && !isReady(found) && !o.killed[name] {
				o.register(found)
			}
		})
	}
}

// register reports for the first time what a node offers.
func (o *outside) register(object *events.Object) {
	node := object.Typed().(*corev1.Node).DeepCopy()
	if len(node.Status.Allocatable) == 0 {
		node.Status.Allocatable = node.Status.Capacity
	}
	setNode(node, corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "The simulated node is ready.", o.now)
	o.do("node:"+node.Name, events.Observe(object, node, nodeReady, "status"))
	if found, ok := o.state.Get(object.Ref); ok {
		o.renew(found, o.now.Add(forever))
	}
}

// renew says of a node that reports through the API that it lives, or did until then: once, whatever the time, in place of every ten seconds.
func (o *outside) renew(node *events.Object, until time.Time) {
	if hasAgent(node) {
		return
	}
	name := node.Ref.Name
	ref := events.Ref{Group: coordinationv1.GroupName, Resource: "leases", Namespace: corev1.NamespaceNodeLease, Name: name}
	renewed := metav1.NewMicroTime(until)
	var p events.Proposal
	if known, ok := o.state.Get(ref); ok {
		lease := known.Typed().(*coordinationv1.Lease).DeepCopy()
		lease.Spec.RenewTime = &renewed
		p = events.Alter(known, lease, nodeRenewed, "spec.renewTime")
	} else {
		p = events.Create(o.state, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: name, CreationTimestamp: second(o.now),
			UID: events.DeriveUID(ref, o.state.Slot(ref).Expect(events.Desired))}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &name, RenewTime: &renewed}}, nodeFirstBeat)
	}
	proposals := []events.Proposal{p}
	events.Audit{Actor: "node:" + name, Basis: o.state.Revision(), At: until}.Sign(proposals)
	if _, err := o.Append(proposals...); err != nil && o.err == nil {
		o.err = fmt.Errorf("simulating that node %s lives: %w", name, err)
	}
}

// kill lets a node fall silent, as a power cut does.
func (o *outside) kill(object *events.Object) {
	name := object.Ref.Name
	o.killed[name] = true
	if !hasAgent(object) {
		o.renew(object, o.now)
		return
	}
	o.agenda.add(o.now.Add(o.model.Silence), func() {
		if found, ok := o.state.Get(object.Ref); ok && isReady(found) {
			o.lose(found)
		}
	})
}

// lose finds a node with an agent lost, in the words of the node feed.
func (o *outside) lose(object *events.Object) {
	node := object.Typed().(*corev1.Node).DeepCopy()
	message := fmt.Sprintf("The node agent has not been heard for %s.", o.model.Silence)
	for _, of := range lostConditions {
		setNode(node, of, corev1.ConditionUnknown, unknownReason, message, o.now)
	}
	o.do("service:feed", events.Observe(object, node, nodeLost, "status.conditions").With(events.Note{Reason: "NodeNotReady",
		Message: fmt.Sprintf("Node %s status is now: NodeNotReady. %s", node.Name, message), Warning: true}))
}

func setNode(node *corev1.Node, of corev1.NodeConditionType, to corev1.ConditionStatus, reason, message string, now time.Time) {
	i := slices.IndexFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == of })
	if i < 0 {
		node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{Type: of})
		i = len(node.Status.Conditions) - 1
	}
	c := &node.Status.Conditions[i]
	if c.Status != to {
		c.LastTransitionTime = second(now)
	}
	c.Status, c.Reason, c.Message = to, reason, message
}
