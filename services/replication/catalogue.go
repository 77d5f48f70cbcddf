package replication

import "github.com/wakehq/wake/events"

const by = "service:" + actor

// EventTypes are the events that this service writes.
var EventTypes = []events.TypeDoc{
	{Type: "DeploymentRevised", By: by, Meaning: "A Deployment's revision annotation was set to that of its newest ReplicaSet."},
	{Type: "DeploymentProgressed", By: by, Meaning: "A Deployment's status was stated: its counts or conditions changed."},
	{Type: "DeploymentCompleted", By: by, Meaning: "All of a Deployment's replicas are of its present template and available."},
	{Type: "DeploymentStalled", By: by, Meaning: "A Deployment made no progress within its progress deadline."},
	{Type: "DeploymentPaused", By: by, Meaning: "A Deployment's rollout stands still because spec.paused says so."},
	{Type: "DeploymentResumed", By: by, Meaning: "A Deployment's rollout goes on after a pause."},
	{Type: "ReplicaSetCreated", By: by, Meaning: "A Deployment's template got a ReplicaSet of its own."},
	{Type: "ReplicaSetScaled", By: by, Meaning: "A Deployment gave a ReplicaSet another size."},
	{Type: "ReplicaSetChanged", By: by, Meaning: "A ReplicaSet took over a setting of its Deployment other than its size."},
	{Type: "ReplicaSetRevised", By: by, Meaning: "A ReplicaSet's annotations were set: its revision, or those of its Deployment."},
	{Type: "ReplicaSetDeleted", By: by, Meaning: "An unused ReplicaSet fell out of its Deployment's history."},
	{Type: "ReplicaSetAdopted", By: by, Meaning: "A Deployment took up a ReplicaSet that nothing controlled and that its selector matches."},
	{Type: "ReplicaSetReleased", By: by, Meaning: "A Deployment let go of a ReplicaSet that its selector does not match any more."},
	{Type: "ReplicasCounted", By: by, Meaning: "The status of a ReplicaSet or ReplicationController was stated: its counts or conditions changed, or it makes or ends pods."},
	{Type: "PodCreated", By: by, Meaning: "A pod came into being from a template."},
	{Type: "PodDeletionRequested", By: by, Meaning: "A pod that may be running was asked to end within its grace period."},
	{Type: "PodDeleted", By: by, Meaning: "A pod that nothing of was running is gone."},
	{Type: "PodAdopted", By: by, Meaning: "A set took up a pod that nothing controlled and that its selector matches."},
	{Type: "PodReleased", By: by, Meaning: "A set let go of a pod that its selector does not match any more."},
}
