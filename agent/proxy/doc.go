// Package proxy makes Services reachable on one node: cluster IPs, node ports and external IPs.
//
// It folds Services and EndpointSlices into virtual servers (an address, a protocol and a port, and
// the endpoints that share its new connections) and hands what changed to a [Backend], which alone
// knows how the kernel is told.
//
//   - An update costs what changed, never what exists.
//   - Changes applied one by one, in any grouping, lead to the same virtual servers as the objects
//     that are left at the end applied at once.
//   - Nothing is served before the first full change has arrived, so a restarting agent never takes
//     away what a service of which it hasn't heard yet still needs.
//   - A failed update is followed by a reconciliation of everything, at once or at the next change.
//   - Which endpoints serve is Kubernetes' rule: the ready ones, or the serving ones that terminate
//     where none is ready; with a Local traffic policy only those of this node count.
//   - When two services claim one address and port, a cluster IP beats an external IP beats a node
//     port, then the older service wins.
package proxy
