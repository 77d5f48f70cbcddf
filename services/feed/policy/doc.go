// Package policy finds out what network policies mean to each node: which of its pods are isolated and by which policies, what those allow, and
// which pods the selectors of their rules stand for. It guarantees:
//
//   - A node is entitled to the policies that select a pod bound to it, and to the members of the groups that those policies' rules name. Of other
//     pods it isn't told.
//   - What a node is told follows from the state alone, not from the way that led there.
//   - A change costs what it touches: a pod the policies of its namespace and the groups that look there, a policy the pods that it selects and
//     names, a namespace its own pods. Nothing looks at everything, and no status that says nothing new of an address costs anything.
//   - Rules that choose peers alike share one group, so that a pod that changes is told once however many policies let it in.
//   - Pods on the host's network are neither isolated nor peers, nor are pods that have ended (their addresses may be another's by now).
//   - A selector that can't be understood chooses nobody: the pods are isolated all the same.
//
// The semantics are those of the NetworkPolicy API (networking.k8s.io/v1).
package policy
