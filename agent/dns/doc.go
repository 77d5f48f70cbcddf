// Package dns answers a node's DNS queries: the cluster's names from what the node knows of services and endpoints, all other
// names from the node's own name servers.
//
//   - It needs nothing but the last objects that it was given: while the control plane is away it goes on answering.
//   - With a state file it does so across restarts, killed at any instant, with objects that are at most half a minute older.
//   - Reading takes no lock, and a query sees a service as it was before an update or after it, never in between.
//   - An update costs the services that it names, not those that exist, and changes applied one by one lead to the same answers
//     as the objects that are left at the end applied at once.
//   - Before the first full change a cluster name is answered with SERVFAIL, never with NXDOMAIN: a starting node doesn't deny
//     what it hasn't heard of.
//   - Names follow the Kubernetes DNS specification 1.1, and CoreDNS where that is silent, but for two things: pod names
//     (10-1-2-3.ns.pod) are answered for every namespace, and a namespace without services doesn't exist, because a node isn't
//     told of namespaces.
//   - What other servers answered is kept for its time to live in bounded memory, asked for once however many ask for it, and
//     used beyond its time while no server answers.
//   - A name server of the node that is this one, directly or through others, is left out.
package dns
