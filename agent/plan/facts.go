package plan

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Fact is something that happened to a pod, as the ledger (Type) and a person (Reason, Message; both may be empty) are told.
type Fact struct {
	Type    string // past tense
	Reason  string // as the kubelet's events have it
	Message string
	Warning bool
}

// Begun is what is told when an action begins.
func Begun(a Action) []Fact {
	switch a.Verb {
	case PullImage:
		return []Fact{{Type: "ImagePullStarted", Reason: "Pulling", Message: fmt.Sprintf("Pulling image %q", a.Image)}}
	case StopContainer:
		return []Fact{{Type: "ContainerStopRequested", Reason: "Killing", Message: a.Reason}}
	case RemoveSandbox:
		if a.Reason != "" {
			return []Fact{{Type: "SandboxLost", Reason: "SandboxChanged", Message: a.Reason}}
		}
	}
	return nil
}

// Ended is what is told when an action has ended; failure is its error, if any, with the reason that the plan knows it by.
func Ended(a Action, failure *Failure) []Fact {
	if failure != nil {
		return failed(a, failure)
	}
	switch a.Verb {
	case PullImage:
		return []Fact{{Type: "ImagePulled", Reason: "Pulled", Message: fmt.Sprintf("Successfully pulled image %q", a.Image)}}
	case CreateContainer:
		created := Fact{Type: "ContainerCreated", Reason: "Created", Message: "Container created: " + a.Container}
		if !a.Present {
			return []Fact{created}
		}
		return []Fact{
			{Type: "ImageFound", Reason: "Pulled", Message: fmt.Sprintf("Container image %q already present on machine", a.Image)}, created,
		}
	}
	return nil
}

func failed(a Action, f *Failure) []Fact {
	warn := func(kind, reason, message string) []Fact {
		return []Fact{{Type: kind, Reason: reason, Message: message, Warning: true}}
	}
	switch a.Verb {
	case SyncVolumes:
		return warn("VolumeMountFailed", "FailedMount", f.Message)
	case CreateSandbox, StartSandbox:
		return warn("SandboxStartFailed", "FailedCreatePodSandBox", "Failed to create pod sandbox: "+f.Message)
	case PullImage:
		return warn("ImagePullFailed", "Failed", fmt.Sprintf("Failed to pull image %q: %s", a.Image, f.Message))
	case CreateContainer:
		switch f.Reason {
		case ReasonNeverPull:
			return warn("ImageNotFound", ReasonNeverPull, f.Message)
		case ReasonPull: // it is pulled next: not a failure yet
			return nil
		case ReasonInvalidImage:
			return warn("ImageNameRefused", "InspectFailed", fmt.Sprintf("Failed to apply default image tag %q: %s", a.Image, f.Message))
		}
		return warn("ContainerCreateFailed", "Failed", "Error: "+f.Message)
	case StartContainer:
		return warn("ContainerStartFailed", "Failed", "Error: "+f.Message)
	case RunPostStart:
		return warn("PostStartHookFailed", "FailedPostStartHook", "PostStartHook failed: "+f.Message)
	case StopContainer:
		return warn("ContainerStopFailed", "FailedKillPod", "error killing pod: "+f.Message)
	}
	return nil
}

// PreStopFailed is told when a preStop hook fails, which doesn't keep its container from being stopped.
func PreStopFailed(message string) Fact {
	return Fact{Type: "PreStopHookFailed", Reason: "FailedPreStopHook", Message: "PreStopHook failed: " + message, Warning: true}
}

// ProbeFailed is told of each failure of a probe.
func ProbeFailed(kind ProbeKind, message string) Fact {
	return Fact{Type: "ProbeFailed", Reason: "Unhealthy", Message: fmt.Sprintf("%s probe failed: %s", kind, message), Warning: true}
}

// Changes is what is told when a pod's status goes from before to after: of each container that changed, then of the pod. Unless
// the pod is being deleted there is at least one fact if the two differ.
func Changes(pod *corev1.Pod, before, after *corev1.PodStatus) []Fact {
	var facts []Fact
	for _, list := range []struct{ before, after []corev1.ContainerStatus }{
		{before.InitContainerStatuses, after.InitContainerStatuses}, {before.ContainerStatuses, after.ContainerStatuses},
	} {
		for i := range list.after {
			var old corev1.ContainerStatus
			if i < len(list.before) {
				old = list.before[i]
			}
			facts = append(facts, containerChanges(pod, &old, &list.after[i])...)
		}
	}
	kind := podChange(before, after)
	switch {
	case kind == "" && len(facts) == 0 && pod.DeletionTimestamp != nil:
		return nil // its last report follows, and has it all
	case kind == "" && len(facts) == 0:
		return []Fact{{Type: "PodConditionsChanged"}}
	case kind != "" && len(facts) > 0 && facts[len(facts)-1].Type == "ContainerStarted":
		facts[len(facts)-1].Type = kind // the container's start is what started the pod: one fact, one report
	case kind != "":
		facts = append(facts, Fact{Type: kind})
	}
	return facts
}

// containerChanges is what happened to one container.
func containerChanges(pod *corev1.Pod, old, now *corev1.ContainerStatus) []Fact {
	var facts []Fact
	switch {
	case now.State.Running != nil && (old.State.Running == nil || old.ContainerID != now.ContainerID):
		facts = append(facts, Fact{Type: "ContainerStarted", Reason: "Started", Message: "Container started: " + now.Name})
	case now.State.Terminated != nil && (old.State.Terminated == nil || old.ContainerID != now.ContainerID):
		facts = append(facts, Fact{Type: "ContainerExited"})
	case now.State.Waiting != nil && waitingReason(old) != now.State.Waiting.Reason:
		w := now.State.Waiting
		switch w.Reason {
		case ReasonCrashLoop:
			facts = append(facts, Fact{Type: "ContainerBackedOff", Reason: "BackOff", Warning: true, Message: fmt.Sprintf(
				"Back-off restarting failed container %s in pod %s_%s(%s)", now.Name, pod.Name, pod.Namespace, pod.UID)})
		case ReasonPullBackOff:
			facts = append(facts, Fact{Type: "ImagePullBackedOff", Reason: "BackOff", Message: fmt.Sprintf("Back-off pulling image %q", now.Image)})
		case ReasonConfig:
			facts = append(facts, Fact{Type: "ContainerConfigRefused", Reason: "Failed", Message: "Error: " + w.Message, Warning: true})
		case ReasonPull:
			facts = append(facts, Fact{Type: "ImagePullFailed", Reason: "Failed", Message: "Error: " + ReasonPull, Warning: true})
		}
	}
	return facts
}

func waitingReason(s *corev1.ContainerStatus) string {
	if s.State.Waiting == nil {
		return ""
	}
	return s.State.Waiting.Reason
}

// podChange is what happened to the pod as a whole; empty if nothing that has a name.
func podChange(before, after *corev1.PodStatus) string {
	ready := func(s *corev1.PodStatus) bool {
		c := condition(s.Conditions, corev1.PodReady)
		return c != nil && c.Status == corev1.ConditionTrue
	}
	switch {
	case before.Phase != after.Phase:
		switch after.Phase {
		case corev1.PodSucceeded:
			return "PodSucceeded"
		case corev1.PodFailed:
			return "PodFailed"
		case corev1.PodRunning:
			return "PodStarted"
		case corev1.PodPending:
			return "PodAccepted"
		}
	case before.StartTime == nil:
		return "PodAccepted"
	case ready(after) && !ready(before):
		return "PodReady"
	case !ready(after) && ready(before):
		return "PodUnready"
	case before.PodIP != after.PodIP && after.PodIP != "":
		return "SandboxStarted"
	}
	return ""
}
