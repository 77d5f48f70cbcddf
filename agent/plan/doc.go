// Package plan decides what a node does about one pod. It is pure: everything that a decision depends on is a value of Input, the
// time included, and nothing is left for the execution to choose. It guarantees:
//
//   - Decide with the same Input gives the same Decision, whatever the order of maps.
//   - Two attempts of one container are never wanted at the same time, an attempt's number only grows, and a container that runs is
//     stopped only for a reason that the Action names.
//   - Everything that outlives the agent is read from what Docker says (Seen): losing Memory costs time, never a container.
//   - The status follows the kubelet's definitions of phases, conditions and container states (Kubernetes 1.36). A terminal phase
//     stays, and a condition's transition time changes only with its status.
//   - A pod is Done only when nothing of it is left on the node.
package plan
