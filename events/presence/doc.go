// Package presence tells the processes of one kind, such as the node feeds, of each other, so that each knows which part of the work is its own. It guarantees:
//
//   - A member that ends cleanly is gone at once; one that is killed, or that nobody hears any more, after Gone.
//   - One that begins takes nothing over before it knows the others, and they keep what is theirs until then.
//   - Among members that know the same others, each key has exactly one owner. When a member comes or goes, only the keys change hands that are its.
//   - Nothing is kept and nobody is asked: as long as members don't know the same others, a key may have two owners or none, for about Gone. What must not be
//     done twice is therefore guarded by the ledger, never by a presence.
package presence
