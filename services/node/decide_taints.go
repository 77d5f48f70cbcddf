package node

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// pressures are the taints that follow from conditions other than Ready.
var pressures = []struct {
	of    corev1.NodeConditionType
	taint string
}{
	{corev1.NodeMemoryPressure, corev1.TaintNodeMemoryPressure},
	{corev1.NodeDiskPressure, corev1.TaintNodeDiskPressure},
	{corev1.NodePIDPressure, corev1.TaintNodePIDPressure},
	{corev1.NodeNetworkUnavailable, corev1.TaintNodeNetworkUnavailable},
}

// ours are the taints that this package sets and takes away.
var ours = []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure,
	corev1.TaintNodePIDPressure, corev1.TaintNodeNetworkUnavailable, corev1.TaintNodeUnschedulable}

// wanted gives the taints that a node's conditions call for. Of one that drives pods off it only says which, if the node has one: whether it may have one is
// a matter of pace.
func wanted(node *corev1.Node) []corev1.Taint {
	var taints []corev1.Taint
	add := func(key string, effects ...corev1.TaintEffect) {
		for _, effect := range effects {
			taints = append(taints, corev1.Taint{Key: key, Effect: effect})
		}
	}
	effects := []corev1.TaintEffect{corev1.TaintEffectNoSchedule}
	if driven(node) != nil {
		effects = append(effects, corev1.TaintEffectNoExecute)
	}
	switch ready := condition(node, corev1.NodeReady); {
	case ready == nil: // it has just come, and nobody knows
		add(corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule)
	case ready.Status == corev1.ConditionFalse:
		add(corev1.TaintNodeNotReady, effects...)
	case ready.Status == corev1.ConditionUnknown:
		add(corev1.TaintNodeUnreachable, effects...)
	}
	for _, p := range pressures {
		if c := condition(node, p.of); c != nil && c.Status == corev1.ConditionTrue {
			add(p.taint, corev1.TaintEffectNoSchedule)
		}
	}
	if node.Spec.Unschedulable {
		add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	}
	return taints
}

// taints brings a node's taints in line with its conditions.
func taints(in runner.Input, o *events.Object) (events.Proposal, bool) {
	before := o.Typed().(*corev1.Node)
	want := wanted(before)
	var after []corev1.Taint
	removed := false
	for _, taint := range before.Spec.Taints {
		if slices.Contains(ours, taint.Key) && !containsTaint(want, taint) {
			removed = true
			continue
		}
		after = append(after, taint)
	}
	added := false
	for _, taint := range want {
		if !containsTaint(after, taint) {
			taint.TimeAdded = &metav1.Time{Time: in.Now.Truncate(time.Second)}
			after, added = append(after, taint), true
		}
	}
	if !added && !removed {
		return events.Proposal{}, false
	}
	node := before.DeepCopy()
	node.Spec.Taints = after
	eventType := NodeTainted
	if !added {
		eventType = NodeUntainted
	}
	p := events.Alter(o, node, eventType, "spec.taints")
	if status := o.Facet(events.Observed); status != nil && status.Revision > o.Expect(events.Desired) {
		p.Cause, p.Correlation = status.Revision, status.Chain()
	}
	return p, true
}

func containsTaint(taints []corev1.Taint, taint corev1.Taint) bool {
	return slices.ContainsFunc(taints, func(t corev1.Taint) bool { return t.Key == taint.Key && t.Effect == taint.Effect })
}
