package node

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/owned"
)

// decidePod says what a pod's node means to it.
func decidePod(in runner.Input, o *events.Object) runner.Decision {
	pod := o.Typed().(*corev1.Pod)
	home, ok := in.State.Get(nodeRef(pod.Spec.NodeName))
	if !ok || owned.Finished(pod) {
		return runner.Decision{}
	}
	var d runner.Decision
	node := home.Typed().(*corev1.Node)
	if due, evicted := evictionTime(pod, node, home.Facet(events.Desired).At); evicted && pod.DeletionTimestamp == nil {
		if !in.Now.Before(due) {
			return evict(in, o, home)
		}
		d.Again = due
	}
	if p, ok := readiness(in, o, node); ok {
		if status := home.Facet(events.Observed); status != nil {
			p.Cause, p.Correlation = status.Revision, status.Chain()
		}
		d.Each = append(d.Each, p)
	}
	return d
}

// readiness makes a pod unready whose node is, and ready again when the node is and nothing else speaks against it.
func readiness(in runner.Input, o *events.Object, node *corev1.Node) (events.Proposal, bool) {
	pod := o.Typed().(*corev1.Pod).DeepCopy()
	ready, home := readyCondition(pod), condition(node, corev1.NodeReady)
	if ready == nil || home == nil {
		return events.Proposal{}, false
	}
	up := home.Status == corev1.ConditionTrue
	switch {
	case !up && ready.Status == corev1.ConditionTrue:
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, notReadyReason, fmt.Sprintf("Node %s is not ready.", node.Name)
		ready.LastTransitionTime = metav1.NewTime(in.Now.Truncate(time.Second))
		return events.Observe(o, pod, PodUnready, "status.conditions").With(events.Note{Reason: notReadyReason, Message: "Node is not ready", Warning: true}), true
	case up && isOurs(ready) && containersReady(pod):
		ready.Status, ready.Reason, ready.Message = corev1.ConditionTrue, "", ""
		ready.LastTransitionTime = metav1.NewTime(in.Now.Truncate(time.Second))
		return events.Observe(o, pod, PodReadyAgain, "status.conditions"), true
	}
	return events.Proposal{}, false
}

// containersReady says that a pod's containers and gates, which only its node's condition overrode, are ready. Simulated nodes may
// report no ContainersReady: then the pod was ready on their word.
func containersReady(pod *corev1.Pod) bool {
	if c := podCondition(pod, corev1.ContainersReady); c != nil && c.Status != corev1.ConditionTrue {
		return false
	}
	return !slices.ContainsFunc(pod.Spec.ReadinessGates, func(gate corev1.PodReadinessGate) bool {
		c := podCondition(pod, gate.ConditionType)
		return c == nil || c.Status != corev1.ConditionTrue
	})
}

// evictionTime says whether and when a pod must leave its node because of NoExecute taints. One that doesn't say since when it is there
// counts from since, the node's last change.
func evictionTime(pod *corev1.Pod, node *corev1.Node, since time.Time) (due time.Time, evicted bool) {
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		if taint.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		span, forever := tolerated(pod, taint)
		if forever {
			continue
		}
		at := since
		if taint.TimeAdded != nil {
			at = taint.TimeAdded.Time
		}
		if at = at.Add(span); !evicted || at.Before(due) {
			due, evicted = at, true
		}
	}
	return due, evicted
}

// tolerated says for how long a pod tolerates a taint: the shortest time of the tolerations that match, not at all if there are none.
func tolerated(pod *corev1.Pod, taint *corev1.Taint) (d time.Duration, forever bool) {
	matched, limited := false, false
	for i := range pod.Spec.Tolerations {
		t := &pod.Spec.Tolerations[i]
		if !matches(t, taint) {
			continue
		}
		matched = true
		if t.TolerationSeconds == nil {
			continue
		}
		seconds := time.Duration(max(0, *t.TolerationSeconds)) * time.Second
		if !limited || seconds < d {
			d, limited = seconds, true
		}
	}
	return d, matched && !limited
}

func matches(t *corev1.Toleration, taint *corev1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
		return false
	}
	return t.Operator == corev1.TolerationOpExists || (t.Operator == "" || t.Operator == corev1.TolerationOpEqual) && t.Value == taint.Value
}

// evict deletes a pod, and says on it why.
func evict(in runner.Input, o, home *events.Object) runner.Decision {
	p, ok := owned.Delete(o, metav1.DeletePropagationBackground, in.Now)
	if !ok {
		return runner.Decision{}
	}
	if !p.Tombstone {
		p.Type = PodEvicted
	}
	cause := home.Facet(events.Desired)
	p.Cause, p.Correlation = cause.Revision, cause.Chain()
	group := []events.Proposal{p.With(events.Note{Reason: "TaintManagerEviction", Message: "Marking for deletion Pod " + o.Ref.Namespace + "/" + o.Ref.Name})}
	if !p.Tombstone {
		pod := o.Typed().(*corev1.Pod).DeepCopy()
		if podCondition(pod, corev1.DisruptionTarget) == nil {
			pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
				Reason: "DeletionByTaintManager", Message: "Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.NewTime(in.Now.Truncate(time.Second))})
			told := events.Observe(o, pod, PodEvicted, "status.conditions")
			told.Cause, told.Correlation = p.Cause, p.Correlation
			group = append(group, told)
		}
	}
	return runner.Decision{Together: [][]events.Proposal{group}}
}
