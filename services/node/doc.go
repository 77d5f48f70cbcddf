// Package node keeps account of the health of nodes. Agent nodes are heard by the node feed, which writes down when they fall silent; nodes that
// report through the API, by Lease or status (KWOK, virtual kubelets, scripts), are heard here. What follows from a node's health is the
// same for both. It reads Nodes, Leases in kube-node-lease and Pods. It writes Nodes' conditions and taints, Pods' Ready condition, and
// deletions of Pods. It guarantees:
//
//   - A node that reports through the API and is silent for 40 s is NodeLost: nothing is known of its conditions. Heard again, it is NodeReturned.
//     Nobody is called lost within 40 s of the cluster's start (Lease kube-system/wake), for then it was the cluster that did not listen.
//   - The taints of a node follow its conditions, as Kubernetes' node lifecycle has them, and nobody else's taints are touched.
//   - Those that drive pods off nodes that aren't ready come one node at a time: in each zone one in 10 s; where more than two and 55 % of the nodes
//     aren't ready, one in 100 s, or none in a zone of up to 50 nodes. Where no node of the cluster is ready none has one: that is the control plane that
//     is cut off. These are Kubernetes' defaults.
//   - Pods of a node that isn't ready aren't ready either, so that Services don't send to them, and are again when the node is.
//   - A pod that doesn't tolerate a NoExecute taint of its node is deleted: at once, or after the time for which it does tolerate it.
package node

import "github.com/wakehq/wake/events"

// The types of the events that this package writes.
const (
	NodeLost      = "NodeLost"
	NodeReturned  = "NodeReturned"
	NodeTainted   = "NodeTainted"
	NodeUntainted = "NodeUntainted"
	PodUnready    = "PodUnready"
	PodReadyAgain = "PodReadyAgain"
	PodEvicted    = "PodEvicted"
)

// EventTypes is this package's part of the catalogue.
var EventTypes = []events.TypeDoc{
	{Type: NodeLost, By: "service:node", Meaning: "a node that reports through the API has been silent for too long"},
	{Type: NodeReturned, By: "service:node", Meaning: "a node that was lost renews its Lease again"},
	{Type: NodeTainted, By: "service:node", Meaning: "a node's conditions call for taints that it hadn't"},
	{Type: NodeUntainted, By: "service:node", Meaning: "a node's conditions don't call for some of its taints any more"},
	{Type: PodUnready, By: "service:node", Meaning: "a pod can't count as ready, because its node doesn't"},
	{Type: PodReadyAgain, By: "service:node", Meaning: "a pod whose node is ready again is as ready as its containers are"},
	{Type: PodEvicted, By: "service:node", Meaning: "a pod doesn't tolerate a taint of its node any longer and is to end"},
}
