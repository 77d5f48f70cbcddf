// Package service gives Services their addresses and tells who answers at them. It holds two deciders:
//
//   - Addresses gives a Service what it leaves open: its cluster IP and its node ports.
//   - Endpoints keeps the EndpointSlices and the Endpoints of a Service equal to the pods that it selects.
//
// Its nouns: a claim is the object that says to which Service an address or a port belongs, an IPAddress named by the address or a Lease in
// kube-system named by the port. A group is the pods of a Service for which its ports come to the same numbers; a slice holds pods of
// one group.
//
// Addresses reads Services and claims, and writes claims, spec fields of Services and one condition of theirs. Endpoints reads Services, Pods,
// Nodes, Endpoints and EndpointSlices, and writes Endpoints and EndpointSlices. It guarantees:
//
//   - No two Services hold the same claim. A Service gets an address in the same batch as the claim that fences it, so that of
//     two deciders that choose the same address at once one fails and chooses again.
//   - A Service that asks for what another holds keeps its wish and is told so, by a condition and an event, until it gets it.
//   - A claim ends with the Service, or with the Service's need of it.
//   - After quiet the endpoints of a Service that selects pods are exactly these pods, ready when the pods are.
//   - A change of a pod costs the Services that select it, and writes only the slices that it is in. An event is written only when something
//     differs.
//   - What carries no selector is left alone; Endpoints that somebody else wrote for it are mirrored into slices.
package service

import "github.com/wakehq/wake/events"

// The types of the events that this package writes.
const (
	AddressAssigned = "ServiceAddressAssigned"
	AddressClaimed  = "ServiceAddressClaimed"
	AddressReleased = "ServiceAddressReleased"
	AddressRefused  = "ServiceAddressRefused"
	AddressAccepted = "ServiceAddressAccepted"

	SliceCreated     = "EndpointSliceCreated"
	SliceChanged     = "EndpointSliceChanged"
	SliceDeleted     = "EndpointSliceDeleted"
	EndpointsCreated = "EndpointsCreated"
	EndpointsChanged = "EndpointsChanged"
	EndpointsDeleted = "EndpointsDeleted"
)

// EventTypes is this package's part of the catalogue.
var EventTypes = []events.TypeDoc{
	{Type: AddressAssigned, By: "service:service-addresses", Meaning: "a Service got the cluster IP or the node ports that it left open, or lost those that its type has no use for"},
	{Type: AddressClaimed, By: "service:service-addresses", Meaning: "an address or a node port now belongs to a Service"},
	{Type: AddressReleased, By: "service:service-addresses", Meaning: "an address or a node port is free again"},
	{Type: AddressRefused, By: "service:service-addresses", Meaning: "a Service can't have the address or the node port that it needs; its condition says why"},
	{Type: AddressAccepted, By: "service:service-addresses", Meaning: "a Service that could not have its address has it now"},
	{Type: SliceCreated, By: "service:endpoints", Meaning: "a Service's pods needed one more EndpointSlice"},
	{Type: SliceChanged, By: "service:endpoints", Meaning: "pods of an EndpointSlice came, went, or changed their readiness"},
	{Type: SliceDeleted, By: "service:endpoints", Meaning: "an EndpointSlice was left without pods"},
	{Type: EndpointsCreated, By: "service:endpoints", Meaning: "a Service got its Endpoints object"},
	{Type: EndpointsChanged, By: "service:endpoints", Meaning: "the addresses of a Service's Endpoints changed"},
	{Type: EndpointsDeleted, By: "service:endpoints", Meaning: "the Service of an Endpoints object is gone"},
}
