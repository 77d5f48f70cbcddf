// Package nodeipam gives every Node the addresses of its pods: spec.podCIDR and spec.podCIDRs, a part of each of the cluster's ranges.
//
// Its nouns: a cluster range (one, or one of each family) is cut into blocks of equal size, one a node and range. A claim is the Lease in
// kube-system named by a block ("podcidr-10.244.3.0-24") that says to which Node the block belongs.
//
// It reads Nodes and claims. It writes claims, spec.podCIDR and spec.podCIDRs of Nodes, and the condition NetworkUnavailable of a Node that can't get
// a range. It guarantees:
//
//   - No two Nodes hold the same claim. A Node gets its ranges in the same batch as the claims that fence them, so that of two deciders that
//     choose the same block at once one fails and chooses again.
//   - A Node that comes with a range keeps it, if no other Node holds a part of it; else it gets another. A range outside of the cluster's is
//     left alone.
//   - A range once given stays for the life of the Node. A claim ends with its Node, and a Node of the same name that comes after may get
//     another range.
//   - Nodes with an agent are served first. One that goes empty-handed is told so by a condition and an event, until there is a range for it.
//   - The lowest free blocks are given first.
package nodeipam

import "github.com/wakehq/wake/events"

// The types of the events that this package writes.
const (
	RangeAssigned = "NodeRangeAssigned"
	RangeClaimed  = "NodeRangeClaimed"
	RangeReleased = "NodeRangeReleased"
	RangeRefused  = "NodeRangeRefused"
	RangeAccepted = "NodeRangeAccepted"
)

// EventTypes is this package's part of the catalogue.
var EventTypes = []events.TypeDoc{
	{Type: RangeAssigned, By: "service:node-ipam", Meaning: "a Node got the addresses of its pods"},
	{Type: RangeClaimed, By: "service:node-ipam", Meaning: "a range of pod addresses now belongs to a Node"},
	{Type: RangeReleased, By: "service:node-ipam", Meaning: "a range of pod addresses is free again: its Node is gone"},
	{Type: RangeRefused, By: "service:node-ipam", Meaning: "a Node can't have addresses for its pods; its condition NetworkUnavailable says why"},
	{Type: RangeAccepted, By: "service:node-ipam", Meaning: "a Node that could not have addresses for its pods has them now"},
}
