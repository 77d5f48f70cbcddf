package feed

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
)

// restrictedLabels are for those who administer nodes, not for nodes (Kubernetes' NodeRestriction).
const restrictedLabels = "node-restriction.kubernetes.io/"

// Node takes what a node says of itself. The first report registers it, if it may.
func (f *Feed) Node(ctx context.Context, node string, r nodewire.NodeReport) nodewire.Answer {
	f.pulse.report(node, r.Status, time.Now())
	return f.append(ctx, events.Audit{Actor: actor(node), At: decidedAt(r.At)}, func(state *events.State) ([]events.Proposal, *nodewire.Answer) {
		o, ok := state.Get(object{resource: nodewire.Nodes, name: node}.ref())
		if !ok && f.Registers != nil && !f.Registers(node) {
			return nil, &nodewire.Answer{Error: fmt.Sprintf("there is no node %s, or no longer: a machine joins with a token", node)}
		}
		if !ok {
			return register(state, node, &r), nil
		}
		proposals := nodeProposals(o, &r, f.Registers == nil || f.Registers(node))
		if len(proposals) == 0 {
			return nil, &nodewire.Answer{Revision: o.Revision()}
		}
		return proposals, nil
	})
}

// register words a node's coming into being.
func register(state *events.State, name string, r *nodewire.NodeReport) []events.Proposal {
	ref := object{resource: nodewire.Nodes, name: name}.ref()
	node := &corev1.Node{Status: r.Status, ObjectMeta: metav1.ObjectMeta{Name: name, Labels: nodeLabels(nil, r.Labels), Generation: 1,
		UID:               events.DeriveUID(ref, state.Slot(ref).Expect(events.Desired)),
		CreationTimestamp: metav1.NewTime(decidedAt(r.At).Truncate(time.Second))}}
	note := events.Note{Reason: "RegisteredNode", Message: fmt.Sprintf("Node %s has registered", name)}
	return []events.Proposal{events.Create(state, node, NodeRegistered).With(note), events.ObserveNew(state, node, NodeStatusChanged)}
}

// nodeLabels adds a node's own labels to those that it has; what it has, it keeps.
func nodeLabels(have, own map[string]string) map[string]string {
	labels := map[string]string{}
	for key, value := range own {
		if !strings.HasPrefix(key, restrictedLabels) {
			labels[key] = value
		}
	}
	maps.Copy(labels, have)
	labels[events.AgentLabel] = "true"
	return labels
}

// nodeProposals words a report of a node that is known. A trusted one says itself what it does beside running pods.
func nodeProposals(o *events.Object, r *nodewire.NodeReport, trusted bool) []events.Proposal {
	before := o.Typed().(*corev1.Node)
	var proposals []events.Proposal
	labelled := *before                             // what isn't replaced is only read
	if before.Labels[events.AgentLabel] != "true" { // somebody else wrote it down before the agent came
		labelled.Labels = withRole(nodeLabels(before.Labels, r.Labels), before.Labels[events.IngressLabel])
		if trusted {
			labelled.Labels = withRole(labelled.Labels, r.Labels[events.IngressLabel])
		}
		proposals = append(proposals, events.Alter(o, &labelled, NodeRegistered, "metadata.labels"))
	} else if says := r.Labels[events.IngressLabel]; trusted && says != before.Labels[events.IngressLabel] {
		labelled.Labels = withRole(before.Labels, says)
		proposals = append(proposals, events.Alter(o, &labelled, NodeRolesChanged, "metadata.labels"))
	}
	after := *before // as above
	after.Status = *merged(&r.Status, &before.Status)
	changed := changedStatus(timeless(&before.Status), timeless(&after.Status))
	if len(changed) == 0 {
		return proposals
	}
	if isLost(o) {
		return append(proposals, events.Observe(o, &after, NodeReady, changed...).With(events.Note{Reason: "NodeReady",
			Message: fmt.Sprintf("Node %s status is now: NodeReady", before.Name)}))
	}
	return append(proposals, events.Observe(o, &after, NodeStatusChanged, changed...))
}

// withRole is labels that say of a node whether it serves Ingresses; empty: it doesn't.
func withRole(labels map[string]string, serves string) map[string]string {
	out := maps.Clone(labels)
	delete(out, events.IngressLabel)
	if serves != "" {
		out[events.IngressLabel] = serves
	}
	return out
}

// merged is what a node reports, with the conditions that it says nothing of (those of others) and the volumes that others attached.
func merged(reported, before *corev1.NodeStatus) *corev1.NodeStatus {
	after := reported.DeepCopy()
	for _, c := range before.Conditions {
		if condition(after, c.Type) == nil {
			after.Conditions = append(after.Conditions, c)
		}
	}
	for i := range after.Conditions {
		c := &after.Conditions[i]
		if old := condition(before, c.Type); old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
	}
	after.VolumesAttached = before.VolumesAttached
	return after
}

// timeless is a status without the times at which its conditions were last confirmed, and with its lists in an order of their own.
func timeless(status *corev1.NodeStatus) *corev1.NodeStatus {
	out := status.DeepCopy()
	for i := range out.Conditions {
		out.Conditions[i].LastHeartbeatTime = metav1.Time{}
	}
	slices.SortFunc(out.Conditions, func(a, b corev1.NodeCondition) int { return cmp.Compare(a.Type, b.Type) })
	slices.SortFunc(out.Images, func(a, b corev1.ContainerImage) int { return slices.Compare(a.Names, b.Names) })
	return out
}

// changedStatus gives the paths of the fields of a status that differ.
func changedStatus[T corev1.PodStatus | corev1.NodeStatus](before, after *T) []string {
	var changed []string
	a, b := reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem()
	for i := range a.NumField() {
		if !equality.Semantic.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
			changed = append(changed, "status."+name)
		}
	}
	return changed
}
