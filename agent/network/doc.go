// Package network is a node's part of the pod network: a bridge that the node's pods are on, and the ways to the pods of other nodes. It
// guarantees:
//
//   - Every pod reaches every pod at its own address, untranslated: on the node through the bridge, on other nodes by a route to the node's own address
//     where both share a link, and through VXLAN (RFC 7348) where they don't.
//   - Pods reach nodes without translation too where they share a link with their own; whatever else they reach outside sees the node's address.
//   - A pod has its addresses, its default routes and its place on the bridge, or it isn't attached: the last of the steps is the one that tells, so
//     a killed agent finds the others undone and does them again.
//   - No address belongs to two sandboxes at once. Which one belongs to whom stands in the labels of the sandboxes; nothing is kept here.
//   - Everything that the kernel is told is compared with what it has, and only what differs is changed: a restart drops no packet, leftovers of nodes that
//     are gone disappear, and what somebody else takes away is put back within a second (routes, devices, neighbours) or ten (packet filter rules).
//   - Other nodes on the same machine, of this cluster or of another, are left alone.
//   - Nothing is exchanged between nodes: names, ranges and addresses are all that they need to know of each other.
package network
