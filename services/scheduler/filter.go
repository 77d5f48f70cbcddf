package scheduler

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// The reasons for which a node will not do, in Kubernetes' words. The first that holds is the one that counts.
const (
	reasonAffinity      = "node(s) didn't match Pod's node affinity/selector"
	reasonUnschedulable = "node(s) were unschedulable"
	reasonPorts         = "node(s) didn't have free ports for the requested pod ports"
	reasonTooManyPods   = "Too many pods"
)

// ruledOut says why a node will never do for a shape until the Node changes; "" if it may.
func (s *shape) ruledOut(n *node) string {
	if match, err := s.required.Match(n.object); err != nil || !match {
		return reasonAffinity
	}
	if n.object.Spec.Unschedulable && !tolerated(s.tolerations, &corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}) {
		return reasonUnschedulable
	}
	for i := range n.taints {
		if t := &n.taints[i]; t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerated(s.tolerations, t) {
			return fmt.Sprintf("node(s) had untolerated taint {%s: %s}", t.Key, t.Value)
		}
	}
	return ""
}

// full says why what runs on a node leaves no room for a shape; "" if there is room.
func (s *shape) full(n *node) string {
	for _, port := range s.ports {
		if n.taken(port) {
			return reasonPorts
		}
	}
	reason := ""
	s.lacking(n, func(name corev1.ResourceName, _, _ int64) bool {
		reason = "Insufficient " + string(name)
		if name == corev1.ResourcePods {
			reason = reasonTooManyPods
		}
		return false
	})
	return reason
}

// lacking calls yield with each resource of which the node has too little: how much it lacks and how much is asked for, until yield returns false. What isn't requested is never
// lacking, even on a node that has given away more than it has.
func (s *shape) lacking(n *node, yield func(name corev1.ResourceName, lack, need int64) bool) {
	check := func(name corev1.ResourceName, need, used, has int64) bool {
		lack := used + need - has
		return need <= 0 || lack <= 0 || yield(name, lack, need)
	}
	used, has := &n.requested, &n.allocatable
	ok := check(corev1.ResourcePods, s.pods, used.pods, has.pods) &&
		check(corev1.ResourceCPU, s.cpu, used.cpu, has.cpu) &&
		check(corev1.ResourceMemory, s.memory, used.memory, has.memory) &&
		check(corev1.ResourceEphemeralStorage, s.storage, used.storage, has.storage)
	for _, name := range s.extended {
		ok = ok && check(name, s.demand.extended[name], used.extended[name], has.extended[name])
	}
}

func (n *node) taken(port hostPort) bool {
	for other := range n.ports {
		if port.overlaps(other) {
			return true
		}
	}
	return false
}

func tolerated(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	return slices.ContainsFunc(tolerations, func(t corev1.Toleration) bool {
		if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
			return false
		}
		switch t.Operator {
		case corev1.TolerationOpExists:
			return true
		case "", corev1.TolerationOpEqual:
			return t.Key != "" && t.Value == taint.Value
		default:
			return false
		}
	})
}

// taintsOf lists the taints of a node. One that isn't ready counts as tainted before anybody has said so in its spec.
func taintsOf(n *corev1.Node) []corev1.Taint {
	taints := slices.Clone(n.Spec.Taints)
	for i := range n.Status.Conditions {
		c := &n.Status.Conditions[i]
		if c.Type != corev1.NodeReady || c.Status == corev1.ConditionTrue {
			continue
		}
		key := corev1.TaintNodeNotReady
		if c.Status == corev1.ConditionUnknown {
			key = corev1.TaintNodeUnreachable
		}
		if !slices.ContainsFunc(taints, func(t corev1.Taint) bool { return t.Key == key && t.Effect != corev1.TaintEffectPreferNoSchedule }) {
			taints = append(taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
		}
	}
	return taints
}
