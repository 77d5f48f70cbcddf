// Package agent is the part of Wake that runs on every node: it makes Docker run the pods that the cluster has bound to the node, and
// says what becomes of them. It guarantees:
//
//   - Nothing but the labels of Docker's containers and the files of the pods' volumes is kept on the node. A killed agent finds every
//     pod again, and neither its restart nor the absence of the control plane restarts a container.
//   - What to do is decided by agent/plan from what the cluster wants and what Docker says; here it is only carried out, one action
//     at a time per container, a bounded number of starts at a time per node.
//   - A report is sent for each change, in order, until the cluster has taken it; what happened while it was away is told then. Only
//     the newest are kept when it stays away.
//   - Containers of this cluster that belong to no pod of the node are stopped and removed, but only after the cluster has once said in
//     full which pods the node has.
//   - The agent reaches the cluster only through a Feed, and listens on nothing.
package agent
