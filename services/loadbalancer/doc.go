// Package loadbalancer gives Services of type LoadBalancer addresses at which the world reaches them, and says which node announces each on its link.
//
// Its nouns: a pool is a range of addresses that the operator set aside (package addresspool); a claim is the IPAddress object that says to which
// Service an address belongs; the announcer of an address is the node whose agent answers for it (ARP, NDP), noted in an annotation of the claim.
//
// It reads Services, the ConfigMap of the pools, claims, Nodes, EndpointSlices and ServiceCIDRs, and writes claims and Services' status. It guarantees:
//
//   - No two Services hold one address. A Service gets its addresses, one of each of its families, in the same batch as the claims that fence them.
//   - An address has one announcer at a time: a node that is ready, has an agent and isn't excluded from external load balancers
//     (node.kubernetes.io/exclude-from-external-load-balancers); with externalTrafficPolicy Local one that has a ready endpoint, if any has. It moves only when
//     its node may not announce it any more. Where no node may, it stays where it was, so that what still works goes on.
//   - A Service that can't have an address says why, by a condition and an event, until it can. Asking for an address that another holds doesn't take it away.
//   - Claims end with the Service, with its type, and with its class. Services of another class are left alone; so is what others wrote while there are no pools.
//   - Pools that can't be read change nothing for those that have an address.
package loadbalancer

import "github.com/wakehq/wake/events"

// The types of the events that this package writes.
const (
	AddressClaimed  = "LoadBalancerAddressClaimed"
	AddressReleased = "LoadBalancerAddressReleased"
	AnnouncerMoved  = "LoadBalancerAnnouncerMoved"
	Assigned        = "LoadBalancerAssigned"
	Withdrawn       = "LoadBalancerWithdrawn"
	Refused         = "LoadBalancerRefused"
	Announced       = "LoadBalancerAnnounced"
)

// EventTypes is this package's part of the catalogue.
var EventTypes = []events.TypeDoc{
	{Type: AddressClaimed, By: "service:load-balancer", Meaning: "an address of a pool now belongs to a Service"},
	{Type: AddressReleased, By: "service:load-balancer", Meaning: "an address of a pool is free again"},
	{Type: AnnouncerMoved, By: "service:load-balancer", Meaning: "another node is to announce an address on its link"},
	{Type: Assigned, By: "service:load-balancer", Meaning: "a Service can be reached at an address of a pool"},
	{Type: Withdrawn, By: "service:load-balancer", Meaning: "a Service can't be reached at an address of a pool any more"},
	{Type: Refused, By: "service:load-balancer", Meaning: "a Service can't have an address of a pool; its condition says why"},
	{Type: Announced, By: "service:load-balancer", Meaning: "a Service's status says which nodes announce its addresses"},
}
