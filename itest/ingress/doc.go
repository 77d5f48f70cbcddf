// Package ingress asks with real packets whether Ingresses are reached from outside through several nodes that joined, while agents and nodes die. Nodes are
// machines of a fabric; the clients are beyond a router.
package ingress
