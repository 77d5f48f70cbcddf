// Package ingress publishes where Ingresses are served. Its nouns: a door is a node that serves Ingresses (events.IngressLabel), and that is ready.
//
// It reads Ingresses, IngressClasses and Nodes, and writes the Ingresses' status. It guarantees:
//
//   - The status of every Ingress that is Wake's to serve (package ingressclass) gives the addresses of all doors, and nothing else. They are external ones of
//     nodes that have such, else internal ones.
//   - A node that is lost, deleted or excluded from external load balancers isn't given.
//   - Of an Ingress that isn't ours, or isn't any more, nothing is touched but what this service wrote last. While there is no door, what others wrote stays.
//
// Who serves, and how, is the nodes' (agent/ingress).
package ingress

import "github.com/wakehq/wake/events"

// The types of the events that this package writes.
const (
	Published = "IngressPublished"
	Withdrawn = "IngressWithdrawn"
)

// EventTypes is this package's part of the catalogue.
var EventTypes = []events.TypeDoc{
	{Type: Published, By: "service:ingress", Meaning: "an Ingress's status says at which addresses it is served"},
	{Type: Withdrawn, By: "service:ingress", Meaning: "an Ingress isn't served at any address any more"},
}
