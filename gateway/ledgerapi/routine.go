package ledgerapi

import (
	"slices"

	"github.com/wakehq/wake/events"
)

// RoutineTypes are the types of events that only say that the cluster keeps up with itself: counts, steps on a node's way to what is told anyway, lists that are
// derived from pods. One that carries a warning is not routine.
var RoutineTypes = []string{
	"PodAccepted", "SandboxStarted", "ImagePullStarted", "ImagePulled", "ImageFound", "ContainerCreated", "ContainerStopRequested", "PodConditionsChanged",
	"ImagePullBackedOff", "ContainerBackedOff",
	"PodTerminated", "PodCounted",
	"ReplicasCounted", "DeploymentProgressed", "DeploymentRevised", "ReplicaSetRevised", "JobProgressed", "JobStarted", "NodeStatusChanged", "NamespaceContentRemaining",
	"EndpointSliceCreated", "EndpointSliceChanged", "EndpointSliceDeleted", "EndpointsCreated", "EndpointsChanged", "EndpointsDeleted",
	"ServiceAddressClaimed", "ServiceAddressReleased",
	"LeaseCreated", "LeaseChanged",
}

// derived are the kinds of which the cluster itself keeps account, beside what they are derived from.
var derived = []events.GroupResource{
	{Resource: "endpoints"}, {Resource: "events"}, {Group: "discovery.k8s.io", Resource: "endpointslices"},
	{Group: "networking.k8s.io", Resource: "ipaddresses"}, {Group: "coordination.k8s.io", Resource: "leases"},
}

// routine says that e is of no interest to somebody who asks what happened.
func routine(e *events.Event) bool {
	return slices.Contains(RoutineTypes, e.Type) && (e.Note == nil || !e.Note.Warning)
}

func isDerived(gr events.GroupResource) bool { return slices.Contains(derived, gr) }
