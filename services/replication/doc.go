// Package replication keeps as many pods running as somebody asked for, and replaces them by newer ones without an interruption.
//
// Its nouns: a set (a ReplicaSet or a ReplicationController) keeps a number of equal pods; a Deployment keeps one ReplicaSet per
// template that it has had, and moves replicas from the older ones to the newest.
//
//	reads   deployments, replicasets, replicationcontrollers, pods, namespaces, priorityclasses
//	writes  desired: replicasets and pods that it owns, and a Deployment's revision annotation
//	        observed: deployments, replicasets, replicationcontrollers
//
// Invariants:
//
//   - Whatever is made or ended for an owner stands in one atomic batch with that owner's status. Two deciders that know the same never
//     both act on it.
//   - A set that is left alone comes to have exactly spec.replicas pods that are neither finished nor asked to end.
//   - During a rolling update there are never more than replicas + maxSurge such pods, pods still to be made or ended included; and none
//     that is available is ended while no more than replicas - maxUnavailable are.
//   - A template that a Deployment has had before gets its ReplicaSet of then again, as long as the history holds it.
//   - A decision about a set costs what its pods cost to look at once; about a Deployment, its ReplicaSets.
package replication
