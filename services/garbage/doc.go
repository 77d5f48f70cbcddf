// Package garbage ends what has lost its reason to be. Its nouns are those of Kubernetes' garbage collector: a dependent
// names its owners; an owner is solid when it exists under the UID that is named, absent when it doesn't, and waiting when it is being
// deleted in the foreground, which it is only once the dependents that block it are gone.
//
// It reads every object's metadata, nodes and the phases of pods. It writes deletion marks, tombstones, owner references and its two
// finalizers. It guarantees:
//
//   - After quiet no object is left whose owners are all absent.
//   - A dependent with a solid owner stays; references to its other owners are dropped.
//   - An owner deleted in the foreground goes after the dependents that block it; one deleted with "orphan" goes after its dependents have
//     forgotten it, and they stay.
//   - An owner of a kind that is not known, or one that can't be seen from where the dependent is, counts as solid: nothing is deleted
//     for want of knowledge.
//   - A pod on a node that doesn't exist goes after a while; of finished pods no more than a bound is kept, the newest.
package garbage

import "github.com/wakehq/wake/events"

// The types of the events that this package writes, beside <Kind>DeletionRequested and <Kind>Deleted.
const (
	OwnerForgotten   = "OwnerForgotten"
	FinalizerRemoved = "FinalizerRemoved"
)

// EventTypes is this package's part of the catalogue.
var EventTypes = []events.TypeDoc{
	{Type: OwnerForgotten, By: "service:garbage", Meaning: "an object no longer names an owner that is absent, or that was deleted without its dependents"},
	{Type: FinalizerRemoved, By: "service:garbage", Meaning: "the dependents of an object that is being deleted are dealt with"},
	{Type: "<Kind>DeletionRequested", By: "service:garbage", Meaning: "an object whose owners are gone was asked to end; its node or its finalizers still hold it"},
	{Type: "<Kind>Deleted", By: "service:garbage", Meaning: "an object whose owners are gone ended"},
}
