package plan

import "github.com/wakehq/wake/events"

// EventTypes are the facts that a node reports of its pods; see Begun, Ended, Changes and the probes.
var EventTypes = []events.TypeDoc{
	{Type: "PodAccepted", By: "node", Meaning: "the node has taken the pod on and makes it ready to run"},
	{Type: "SandboxStarted", By: "node", Meaning: "the pod's sandbox runs: it has an address"},
	{Type: "SandboxStartFailed", By: "node", Meaning: "the sandbox could not be started"},
	{Type: "SandboxLost", By: "node", Meaning: "the sandbox was found gone or changed; the pod is started anew"},
	{Type: "VolumeMountFailed", By: "node", Meaning: "a volume could not be prepared"},
	{Type: "ImagePullStarted", By: "node", Meaning: "an image is being pulled"},
	{Type: "ImagePulled", By: "node", Meaning: "an image was pulled"},
	{Type: "ImageFound", By: "node", Meaning: "an image was there already"},
	{Type: "ImageNotFound", By: "node", Meaning: "an image isn't there and may not be pulled"},
	{Type: "ImageNameRefused", By: "node", Meaning: "an image's name can't be understood"},
	{Type: "ImagePullFailed", By: "node", Meaning: "an image could not be pulled"},
	{Type: "ImagePullBackedOff", By: "node", Meaning: "the next try to pull an image waits"},
	{Type: "ContainerCreated", By: "node", Meaning: "a container was created"},
	{Type: "ContainerCreateFailed", By: "node", Meaning: "a container could not be created"},
	{Type: "ContainerConfigRefused", By: "node", Meaning: "a container names what isn't there: a Secret, a ConfigMap, a key"},
	{Type: "ContainerStarted", By: "node", Meaning: "a container runs"},
	{Type: "ContainerStartFailed", By: "node", Meaning: "a container could not be started"},
	{Type: "ContainerExited", By: "node", Meaning: "a container has ended"},
	{Type: "ContainerBackedOff", By: "node", Meaning: "the next start of a container that fails again and again waits"},
	{Type: "ContainerStopRequested", By: "node", Meaning: "a container was told to stop"},
	{Type: "ContainerStopFailed", By: "node", Meaning: "a container could not be stopped"},
	{Type: "PostStartHookFailed", By: "node", Meaning: "a container's postStart hook failed"},
	{Type: "PreStopHookFailed", By: "node", Meaning: "a container's preStop hook failed"},
	{Type: "ProbeFailed", By: "node", Meaning: "a probe of a container failed"},
	{Type: "PodStarted", By: "node", Meaning: "the pod's phase is Running"},
	{Type: "PodReady", By: "node", Meaning: "the pod is ready for traffic"},
	{Type: "PodUnready", By: "node", Meaning: "the pod is not ready for traffic any more"},
	{Type: "PodSucceeded", By: "node", Meaning: "all containers have ended well, for good"},
	{Type: "PodFailed", By: "node", Meaning: "the containers have ended for good, not all well"},
	{Type: "PodTerminated", By: "node", Meaning: "everything of a pod that is to end has ended on its node"},
	{Type: "PodConditionsChanged", By: "node", Meaning: "the pod's status changed in a way that has no name of its own"},
}
