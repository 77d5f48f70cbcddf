package plan

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// conditions are the pod's conditions: the node's own in a fixed order, then those that others have set, untouched.
func (d *decider) conditions(s *corev1.PodStatus) []corev1.PodCondition {
	containersReady := d.containersReady(s)
	own := []corev1.PodCondition{
		d.sandboxReady(),
		d.initializedCondition(s),
		d.podReady(containersReady),
		containersReady,
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
	out := make([]corev1.PodCondition, 0, len(own))
	for _, c := range own {
		c.ObservedGeneration = d.pod.Generation
		c.LastTransitionTime = *seconds(d.in.Now)
		if before := condition(d.in.Last.Conditions, c.Type); before != nil && before.Status == c.Status {
			c.LastTransitionTime = before.LastTransitionTime
			c.LastProbeTime = before.LastProbeTime
		}
		out = append(out, c)
	}
	for _, c := range d.pod.Status.Conditions {
		if condition(own, c.Type) == nil {
			out = append(out, c)
		}
	}
	return out
}

func condition(list []corev1.PodCondition, t corev1.PodConditionType) *corev1.PodCondition {
	if i := slices.IndexFunc(list, func(c corev1.PodCondition) bool { return c.Type == t }); i >= 0 {
		return &list[i]
	}
	return nil
}

// sandboxReady says whether containers can be started: the sandbox runs and has its network.
func (d *decider) sandboxReady() corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse}
	if s := d.in.Seen.Sandbox; s != nil && s.State == Running {
		c.Status = corev1.ConditionTrue
	} else if f := d.in.Memory.Sandbox; f.Count > 0 {
		c.Reason, c.Message = f.Reason, f.Message
	} else if d.in.Node.NoNetwork != "" && needsNetwork(d.pod) {
		c.Reason, c.Message = "NetworkNotReady", d.in.Node.NoNetwork
	}
	return c
}

func (d *decider) initializedCondition(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if s.Phase == corev1.PodSucceeded {
		c.Reason = "PodCompleted"
		return c
	}
	if slices.ContainsFunc(s.ContainerStatuses, hasRun) {
		return c
	}
	var incomplete []string
	for i, v := range d.inits {
		st := s.InitContainerStatuses[i]
		if v.sidecar && !*st.Started || !v.sidecar && !st.Ready {
			incomplete = append(incomplete, st.Name)
		}
	}
	if len(incomplete) > 0 {
		c.Status = corev1.ConditionFalse
		c.Reason = "ContainersNotInitialized"
		c.Message = fmt.Sprintf("containers with incomplete status: %s", incomplete)
	}
	return c
}

// hasRun says that a container has at least once been started.
func hasRun(s corev1.ContainerStatus) bool {
	return s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil
}

func (d *decider) containersReady(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	switch s.Phase {
	case corev1.PodSucceeded:
		c.Reason = "PodCompleted"
		return c
	case corev1.PodFailed:
		c.Reason = "PodFailed"
		return c
	}
	var unready []string
	for i, v := range d.inits {
		if v.sidecar && !s.InitContainerStatuses[i].Ready {
			unready = append(unready, v.spec.Name)
		}
	}
	for _, st := range s.ContainerStatuses {
		if !st.Ready {
			unready = append(unready, st.Name)
		}
	}
	if len(unready) > 0 {
		c.Reason = "ContainersNotReady"
		c.Message = fmt.Sprintf("containers with unready status: %s", unready)
		return c
	}
	c.Status = corev1.ConditionTrue
	return c
}

// podReady follows the containers' readiness and the pod's readiness gates.
func (d *decider) podReady(containers corev1.PodCondition) corev1.PodCondition {
	c := containers
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var closed []string
	for _, gate := range d.pod.Spec.ReadinessGates {
		switch set := condition(d.pod.Status.Conditions, gate.ConditionType); {
		case set == nil:
			closed = append(closed, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case set.Status != corev1.ConditionTrue:
			closed = append(closed, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, set.Status))
		}
	}
	if len(closed) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(closed, ", ")
	}
	return c
}
