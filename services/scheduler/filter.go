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

// lack is what a node has too little of for a shape: the first of these, then of the shape's extended resources.
type lack int16

const (
	lackNothing lack = iota
	lackPorts
	lackPods
	lackCPU
	lackMemory
	lackStorage
	lackExtended
)

// full says what a node has too little of because of what runs on it.
func (s *shape) full(n *node) lack {
	for _, port := range s.ports {
		if n.taken(port) {
			return lackPorts
		}
	}
	used, has := &n.requested, &n.allocatable
	switch {
	case used.pods+s.pods > has.pods:
		return lackPods
	case s.cpu > 0 && used.cpu+s.cpu > has.cpu:
		return lackCPU
	case s.memory > 0 && used.memory+s.memory > has.memory:
		return lackMemory
	case s.storage > 0 && used.storage+s.storage > has.storage:
		return lackStorage
	}
	for i, name := range s.extended {
		if need := s.demand.extended[name]; need > 0 && used.extended[name]+need > has.extended[name] {
			return lackExtended + lack(i)
		}
	}
	return lackNothing
}

// reason words a lack as Kubernetes does.
func (s *shape) reason(l lack) string {
	switch l {
	case lackNothing:
		return ""
	case lackPorts:
		return reasonPorts
	case lackPods:
		return reasonTooManyPods
	case lackCPU:
		return "Insufficient " + string(corev1.ResourceCPU)
	case lackMemory:
		return "Insufficient " + string(corev1.ResourceMemory)
	case lackStorage:
		return "Insufficient " + string(corev1.ResourceEphemeralStorage)
	default:
		return "Insufficient " + string(s.extended[l-lackExtended])
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
