package simulation

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
)

// ownConditions are the conditions of a pod that its node speaks of.
var ownConditions = []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady}

// isWaiting says that a pod's node has tried to start it and said what it waits for.
func isWaiting(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Waiting != nil && c.State.Waiting.Reason != "ContainerCreating" && c.State.Waiting.Reason != "PodInitializing"
	})
}

// readyAfter is how long a pod's readiness probes wait before they first ask. Simulated containers answer at once.
func readyAfter(pod *corev1.Pod) (d time.Duration) {
	for i := range pod.Spec.Containers {
		if probe := pod.Spec.Containers[i].ReadinessProbe; probe != nil {
			d = max(d, time.Duration(probe.InitialDelaySeconds)*time.Second)
		}
	}
	return d
}

// run gives a pod the status of one that runs, in place.
func run(pod *corev1.Pod, now time.Time, host, address string, ready bool) {
	s, at := &pod.Status, second(now)
	s.Phase, s.ObservedGeneration, s.StartTime = corev1.PodRunning, pod.Generation, &at
	if s.HostIP = host; host != "" {
		s.HostIPs = []corev1.HostIP{{IP: host}}
	}
	s.PodIP, s.PodIPs = address, []corev1.PodIP{{IP: address}}
	s.InitContainerStatuses, s.ContainerStatuses = nil, nil
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		status := containerStatus(pod, c)
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			status.State.Running, *status.Started = &corev1.ContainerStateRunning{StartedAt: at}, true
		} else {
			status.State.Terminated = &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: at, FinishedAt: at, ContainerID: status.ContainerID}
		}
		status.Ready = true
		s.InitContainerStatuses = append(s.InitContainerStatuses, status)
	}
	for i := range pod.Spec.Containers {
		status := containerStatus(pod, &pod.Spec.Containers[i])
		status.State.Running, *status.Started = &corev1.ContainerStateRunning{StartedAt: at}, true
		s.ContainerStatuses = append(s.ContainerStatuses, status)
	}
	set(pod, corev1.PodReadyToStartContainers, true, "", "", now)
	set(pod, corev1.PodInitialized, true, "", "", now)
	if ready {
		markReady(pod, now)
		return
	}
	set(pod, corev1.PodReady, false, "ContainersNotReady", "containers with unready status: they are just starting", now)
	set(pod, corev1.ContainersReady, false, "ContainersNotReady", "containers with unready status: they are just starting", now)
}

func containerStatus(pod *corev1.Pod, c *corev1.Container) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: c.Name, Image: c.Image, ImageID: "simulated://" + c.Image, ContainerID: fmt.Sprintf("simulated://%s/%s", pod.UID, c.Name),
		Started: new(bool)}
}

// markReady makes a pod's containers ready, and the pod if its gates are open.
func markReady(pod *corev1.Pod, now time.Time) {
	for i := range pod.Status.ContainerStatuses {
		pod.Status.ContainerStatuses[i].Ready = true
	}
	closed := slices.IndexFunc(pod.Spec.ReadinessGates, func(g corev1.PodReadinessGate) bool {
		return !slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == g.ConditionType && c.Status == corev1.ConditionTrue
		})
	})
	if closed < 0 {
		set(pod, corev1.PodReady, true, "", "", now)
	} else {
		set(pod, corev1.PodReady, false, "ReadinessGatesNotReady",
			fmt.Sprintf("the status of pod readiness gate %q is not \"True\"", pod.Spec.ReadinessGates[closed].ConditionType), now)
	}
	set(pod, corev1.ContainersReady, true, "", "", now)
}

// wait gives a pod the status of one that can't start, in place.
func wait(pod *corev1.Pod, why corev1.ContainerStateWaiting, now time.Time) {
	s, at := &pod.Status, second(now)
	s.ObservedGeneration, s.StartTime, s.ContainerStatuses = pod.Generation, &at, nil
	for i := range pod.Spec.Containers {
		status := containerStatus(pod, &pod.Spec.Containers[i])
		status.State.Waiting, status.ContainerID, status.ImageID = &why, "", ""
		s.ContainerStatuses = append(s.ContainerStatuses, status)
	}
	set(pod, corev1.PodReadyToStartContainers, true, "", "", now)
	set(pod, corev1.PodInitialized, true, "", "", now)
	set(pod, corev1.PodReady, false, "ContainersNotReady", "containers with unready status", now)
	set(pod, corev1.ContainersReady, false, "ContainersNotReady", "containers with unready status", now)
}

// terminate gives a pod the status of one that has ended, in place: well, or told to stop.
func terminate(pod *corev1.Pod, phase corev1.PodPhase, now time.Time) {
	reason, code, why := "Completed", int32(0), "PodCompleted"
	if phase == corev1.PodFailed {
		reason, code, why = "Error", 143, "PodFailed"
	}
	pod.Status.Phase, pod.Status.ObservedGeneration = phase, pod.Generation
	for i := range pod.Status.ContainerStatuses {
		c := &pod.Status.ContainerStatuses[i]
		ended := &corev1.ContainerStateTerminated{Reason: reason, ExitCode: code, FinishedAt: second(now), ContainerID: c.ContainerID}
		if c.State.Running != nil {
			ended.StartedAt = c.State.Running.StartedAt
		}
		c.Ready, c.Started, c.State = false, new(bool), corev1.ContainerState{Terminated: ended}
	}
	set(pod, corev1.PodReady, false, why, "", now)
	set(pod, corev1.ContainersReady, false, why, "", now)
}

// set sets one of a pod's conditions. It keeps the time of one that stays as it is.
func set(pod *corev1.Pod, of corev1.PodConditionType, is bool, reason, message string, now time.Time) {
	status := corev1.ConditionFalse
	if is {
		status = corev1.ConditionTrue
	}
	next := corev1.PodCondition{Type: of, Status: status, Reason: reason, Message: message, ObservedGeneration: pod.Generation, LastTransitionTime: second(now)}
	i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == of })
	if i < 0 {
		// The node's own stand first, in their order.
		at := 0
		for at < len(pod.Status.Conditions) && slices.Index(ownConditions, pod.Status.Conditions[at].Type) >= 0 {
			at++
		}
		pod.Status.Conditions = slices.Insert(pod.Status.Conditions, at, next)
		return
	}
	if pod.Status.Conditions[i].Status == status {
		next.LastTransitionTime = pod.Status.Conditions[i].LastTransitionTime
	}
	pod.Status.Conditions[i] = next
}

// second is t as the API shows it: to the second.
func second(t time.Time) metav1.Time { return metav1.NewTime(t.UTC().Truncate(time.Second)) }

// host is the address of a node.
func (o *outside) host(node string) string {
	if found, ok := o.state.Get(events.Ref{Resource: nodesKind.Resource, Name: node}); ok {
		for _, a := range found.Typed().(*corev1.Node).Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				return a.Address
			}
		}
	}
	return ""
}

// address gives a pod an address, of those set aside for tests (RFC 2544): no real pod has one.
func (o *outside) address(pod *corev1.Pod) string {
	if host := o.host(pod.Spec.NodeName); pod.Spec.HostNetwork && host != "" {
		return host
	}
	o.addresses++
	return fmt.Sprintf("198.%d.%d.%d", 18+o.addresses>>16&1, o.addresses>>8&255, o.addresses&255)
}

// lacks names a Secret or ConfigMap that a pod needs and that isn't there, in the node agent's words.
func (o *outside) lacks(pod *corev1.Pod) string {
	lack := ""
	need := func(resource, word, name string, optional *bool) {
		if name == "" || optional != nil && *optional || lack != "" {
			return
		}
		if _, ok := o.state.Get(events.Ref{Resource: resource, Namespace: pod.Namespace, Name: name}); !ok {
			lack = fmt.Sprintf("%s %q not found", word, name)
		}
	}
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.ConfigMap != nil {
			need("configmaps", "configmap", v.ConfigMap.Name, v.ConfigMap.Optional)
		} else if v.Secret != nil {
			need("secrets", "secret", v.Secret.SecretName, v.Secret.Optional)
		}
	}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			for _, from := range containers[i].EnvFrom {
				if r := from.ConfigMapRef; r != nil {
					need("configmaps", "configmap", r.Name, r.Optional)
				}
				if r := from.SecretRef; r != nil {
					need("secrets", "secret", r.Name, r.Optional)
				}
			}
			for _, env := range containers[i].Env {
				if f := env.ValueFrom; f != nil && f.ConfigMapKeyRef != nil {
					need("configmaps", "configmap", f.ConfigMapKeyRef.Name, f.ConfigMapKeyRef.Optional)
				} else if f != nil && f.SecretKeyRef != nil {
					need("secrets", "secret", f.SecretKeyRef.Name, f.SecretKeyRef.Optional)
				}
			}
		}
	}
	return lack
}
