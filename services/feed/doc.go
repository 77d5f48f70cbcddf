// Package feed is the control plane's end of the line to the nodes (events/nodewire): it gives each node its slice of the ledger and takes its
// reports. It keeps nothing that a restart would lose. It guarantees:
//
//   - A node is given the pods bound to it, the Secrets and ConfigMaps that those pods name, all Services and EndpointSlices, itself, and what
//     network policies mean to its pods (services/feed/policy), in the same slice as the pods.
//     What it is no longer entitled to it is told to forget.
//   - A node that serves Ingresses (events.IngressLabel) is also given those that are Wake's to serve, and the Secrets with their certificates. Other nodes are not.
//     Only nodes that may register themselves can say that they serve; others are labelled by whoever administers them.
//   - Of other nodes with agents it is given names, pod ranges and internal addresses, and nothing more. A lost node is still there; a deleted one isn't.
//   - The slices of a node form a chain without gaps: each names the revision that it follows. A full slice is consistent with the chain.
//   - A change costs the nodes that it concerns; only Services, EndpointSlices, and nodes that come, go or move concern all. What a node itself reported is not sent
//     back to it as a change.
//   - A report changes the status of a pod bound to that node, of the UID that it names, or of the node itself, and nothing else. The
//     node's name is that of the subject on which the broker let it speak.
//   - A pod ends on a node's word only if it was asked to.
//   - A report that says nothing new makes no event. Heartbeats never do.
//   - A node that falls silent is NodeLost in the ledger, and NodeReady when it is heard again. A feed that has just begun, or was
//     stopped itself, waits before it calls anybody lost.
package feed

import "github.com/wakehq/wake/events"

// The types of the events that the feed itself chooses. Those of a pod's status are the node's choice.
const (
	NodeRegistered    = "NodeRegistered"
	NodeStatusChanged = "NodeStatusChanged"
	NodeLost          = "NodeLost"
	NodeReady         = "NodeReady"
	PodDeleted        = "PodDeleted"
	NodeRolesChanged  = "NodeRolesChanged"
)

// EventTypes is this package's part of the catalogue.
var EventTypes = []events.TypeDoc{
	{Type: NodeRegistered, By: "node", Meaning: "a node agent reported for the first time"},
	{Type: NodeRolesChanged, By: "node", Meaning: "a node began or ceased to serve Ingresses"},
	{Type: NodeStatusChanged, By: "node", Meaning: "a node's conditions, capacity, addresses or images changed"},
	{Type: NodeLost, By: "service:feed", Meaning: "a node agent has been silent for too long; what its node does is unknown"},
	{Type: NodeReady, By: "service:feed", Meaning: "a node agent that was lost is heard again"},
	{Type: PodDeleted, By: "node", Meaning: "a terminating pod is gone from its node"},
}
