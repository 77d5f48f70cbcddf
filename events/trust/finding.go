package trust

import (
	"fmt"

	"github.com/wakehq/wake/events"
)

// FindingKind says what is wrong, for programs.
type FindingKind string

// What can be wrong with the ledger, and then with what the notary keeps.
const (
	Missing    FindingKind = "missing"    // witnessed events are not in the ledger
	Altered    FindingKind = "altered"    // an event's content is not what was witnessed
	Reordered  FindingKind = "reordered"  // an event stands at another revision than the one it was witnessed at
	Inserted   FindingKind = "inserted"   // an event was put between witnessed ones
	TailCut    FindingKind = "tail-cut"   // the ledger ends before what was witnessed last
	OlderCopy  FindingKind = "older-copy" // the ledger goes on otherwise than was witnessed
	Unreadable FindingKind = "unreadable" // the ledger can't be read any further

	ChainAltered     FindingKind = "chain-altered"     // the chain file
	CheckpointForged FindingKind = "checkpoint-forged" // a line of the checkpoints is damaged or not signed with the pinned key
	CheckpointsCut   FindingKind = "checkpoints-cut"   // lines of the checkpoints are gone
	KeyMismatch      FindingKind = "key-mismatch"      // the pinned key is not this cluster's, or the key is gone
	OtherCluster     FindingKind = "other-cluster"     // the trust directory is another cluster's
	WitnessLost      FindingKind = "witness-lost"      // the trust directory is empty, though there was a notary before
	Contradicted     FindingKind = "contradicted"      // a checkpoint that was kept elsewhere says otherwise
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind     FindingKind     `json:"kind"`
	Revision events.Revision `json:"revision"`          // the first that is affected
	Through  events.Revision `json:"through,omitempty"` // the last, if that is known and another one
	What     string          `json:"what"`              // what was found, a sentence
	Remedy   string          `json:"remedy"`            // what to do, a sentence
}

// String gives the finding in full.
func (f Finding) String() string { return fmt.Sprintf("%s: %s %s", f.Kind, f.What, f.Remedy) }

// Error lets a finding be an error.
func (f Finding) Error() string { return f.String() }

const (
	remedyRestore = "Stop the cluster, keep a copy of its data directory, and restore one that wake verify finds in order; or accept the break with a reason."
	remedyWho     = "Find out who can write the data directory; restore a copy that wake verify finds in order, or accept the break with a reason."
	remedyOlder   = "If you restored a backup, accept the break with that reason; if you didn't, find out who did: what was witnessed after it is not in this ledger."
	remedyDisk    = "Look at the broker's log and at the disk; restore a copy of the data directory that wake verify finds in order."
	remedyTrust   = "Find out who can write the trust directory; put it back from a copy if you have one, or accept the break with a reason."
	remedyLost    = "Put the trust directory back. To begin anew, move the key away (keep it) and start the cluster."
	remedyAnew    = "Put back the trust directory and the key that belong together. To begin anew, move both away (keep them) and start the cluster."
)

// span says "revision 7" or "revisions 7 to 9".
func span(from, through events.Revision) string {
	if through <= from {
		return fmt.Sprintf("revision %d", from)
	}
	return fmt.Sprintf("revisions %d to %d", from, through)
}

// were says "revision 7 was" or "revisions 7 to 9 were".
func were(from, through events.Revision) string {
	if through <= from {
		return span(from, through) + " was"
	}
	return span(from, through) + " were"
}

// finding makes a Finding. A through that isn't past from counts as none.
func finding(kind FindingKind, from, through events.Revision, remedy, what string, args ...any) Finding {
	if through <= from {
		through = 0
	}
	return Finding{Kind: kind, Revision: from, Through: through, What: fmt.Sprintf(what, args...), Remedy: remedy}
}
