// Package scheduler decides on which node a pod runs. One decision places a batch of waiting pods, each counted before the next is looked at.
//
// It reads pods, nodes and namespaces; it writes a pod's Assigned facet (PodBound), and the PodScheduled condition of one that can't be
// placed (PodUnschedulable, PodGated). It guarantees:
//
//   - A decision follows from the state and the time alone. What the scheduler remembers between decisions is an account of the state and
//     memoised rankings; an account folded event by event equals one built from the state.
//   - No node is given more than it has: resources, pods and host ports are counted against the node before the next pod is placed.
//   - Pods are placed by priority, then by age. A pod that fits nowhere does not hold up those behind it; pods that ask for the same fail
//     alike within a decision, so a thousand replicas that fit nowhere cost one look.
//   - Every waiting pod is bound or says why not: each node is counted under the one reason that rules it out first, so that the counts
//     sum to the number of nodes, and the nearest miss is named with what it lacks.
//   - Every placement carries why: counts by reason, the best three nodes with the parts of their scores, the nearest misses. That too follows from
//     the state alone.
//   - A Config changes scores, never which nodes can do.
//   - A reason stands for at least ten seconds before newer counts replace it.
//   - A hard constraint that the scheduler does not know is never ignored: the pod waits, and its condition names the constraint.
//   - Placing a pod costs about the same on ten nodes and on five thousand: only nodes that changed are looked at again.
//
// The nouns: a demand is what a pod takes from a node, a shape a demand with the rules about which nodes will do, a ranking the nodes that
// suit a shape with the best first, a division those that have room by what other pods do to them, a workload the pods of one owner, which are kept apart.
package scheduler
