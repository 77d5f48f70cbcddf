package gateway

import (
	"slices"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/gateway/joining"
)

// EventTypes is this package's part of the catalogue. <Kind> is the kind as it is written in manifests.
var EventTypes = slices.Concat([]events.TypeDoc{
	{Type: "<Kind>Created", By: "user, system:bootstrap", Meaning: "an object came into being"},
	{Type: wakeStarted, By: "system:bootstrap", Meaning: "the cluster was started"},
	{Type: "<Kind>Changed", By: "user, system:bootstrap", Meaning: "an object's metadata or spec changed; the changed fields are named"},
	{Type: "<Kind>StatusChanged", By: "user", Meaning: "an object's status was reported through the API"},
	{Type: "<Kind>Restored", By: "user", Meaning: "an object's metadata and spec are again what they were at an earlier revision; the cause is the event that had changed or ended it"},
	{Type: "<Kind>Scaled", By: "user", Meaning: "the number of replicas was set through the scale subresource"},
	{Type: "<Kind>DeletionRequested", By: "user", Meaning: "an object is to end; its grace period, its finalizers or what it holds still keep it"},
	{Type: "<Kind>Deleted", By: "user", Meaning: "an object ended: a tombstone"},
	{Type: "NamespaceFinalized", By: "user", Meaning: "a namespace's own finalizers changed"},
	{Type: "PodResized", By: "user", Meaning: "a running pod's resources changed"},
	{Type: "EphemeralContainersAdded", By: "user", Meaning: "containers were added to a running pod for debugging"},
	{Type: "PodBound", By: "user", Meaning: "a pod was placed on a node through the binding subresource"},
}, joining.EventTypes)
