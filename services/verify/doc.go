// Package verify decides recorded history again, with the code at hand, and says where it would come out otherwise. Its nouns: a decision is what a
// service decided about one key, on one state (its basis), at one time; what is recorded of it are the events that name it. A divergence is a recorded
// event that the decision doesn't give any more, or one that it gives and that could not be missing. It guarantees:
//
//   - On unchanged code there is no divergence, however the services were interleaved, killed, started twice or restarted, and whatever the ledger lost,
//     refused, doubled or delayed: a decision follows from the state at its basis, its key and its time, and nothing else is fed to it.
//   - A recorded event is compared whole: type, object, facet, UID, tombstone, payload to the byte, changed fields, note, and the cause where the decision
//     names it itself. Its guard is held against the history: no event may stand on a facet that changed after its basis.
//   - A batch is all or none: what is decided now to go with recorded events and isn't recorded is a divergence.
//   - What else is decided now and not recorded proves nothing: the append may have lost to another writer, failed, or died with its process. It is
//     counted by what became of the facet (see Unrecorded), so that an addition stands out.
//   - A decision of which nothing was recorded can't be seen, and isn't decided again.
//   - What can't be decided again is said, with the reason, and never passed over: another version's services, a state that is not held, or not whole.
//   - The ledger is only read, twice at once; memory is bounded by the state, the decisions under way and Config.Ahead, not by the length of history.
//   - Of a Secret no field's value is told.
package verify
