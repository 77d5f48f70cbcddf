package events

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrConflict says that a guard did not hold: somebody else wrote the facet first. Read again and decide again.
var ErrConflict = errors.New("conflict: the facet has changed since it was read")

// ErrTooOld says that a position lies before what is still held.
var ErrTooOld = errors.New("too old: the revision is not held any more")

// ErrReadOnly says that nothing can be appended: the ledger is a recording.
var ErrReadOnly = errors.New("this is a recording: nothing can be appended to it")

// ErrTooLarge says that an event exceeds MaxEventBytes.
var ErrTooLarge = fmt.Errorf("too large: an event holds at most %d bytes", MaxEventBytes)

// MaxEventBytes bounds an event's payload, in bytes. Kubernetes refuses requests of 3 MiB and etcd values of 1.5 MiB.
const MaxEventBytes = 3 << 19

// MaxBatch is how many proposals Append takes at once.
const MaxBatch = 1000

// Ledger is the ordered record. It may be used by many goroutines.
type Ledger interface {
	// Append appends proposals: one, or several that stand or fall together and get contiguous revisions. It returns the revision of
	// the last. Errors: ErrConflict if a guard did not hold (nothing was appended), ErrTooLarge. With any other error it is unknown
	// whether the proposals are in the ledger; appending the same proposals (same IDs) again is safe.
	Append(ctx context.Context, proposals ...Proposal) (Revision, error)

	// AppendEach appends independent proposals, pipelined. results[i] tells of proposals[i]. Their order in the ledger is that
	// of proposals, conflicts left out.
	AppendEach(ctx context.Context, proposals []Proposal) (results []Result)

	// Follow calls deliver with events in ascending order until ctx ends or deliver fails, and returns that error. It begins after start.After, or,
	// if start.Present, with the last event of every facet. Batch.Revision never steps back, and Batch.Loaded becomes true with the first batch that reaches what
	// was the ledger's end when Follow began (an empty ledger gives one empty, loaded batch). From then on, what one Append has appended comes in one Batch.
	Follow(ctx context.Context, start Start, deliver func(Batch) error) error

	// Read calls yield with the events that q selects, in ascending order, until yield returns false or all are given.
	Read(ctx context.Context, q Query, yield func(Event) bool) error

	// Last returns the revision of the last event and when it was stored; 0 if there is none.
	Last(ctx context.Context) (Revision, time.Time, error)

	// RevisionAt returns the revision of the last event stored at or before t; 0 if there is none.
	RevisionAt(ctx context.Context, t time.Time) (Revision, error)

	Close() error
}

// Result tells how an append of one proposal ended.
type Result struct {
	Revision Revision
	Err      error
}

// Start is where Follow begins.
type Start struct {
	Present bool
	After   Revision
}

// Batch is a run of consecutive deliveries. Its events are the receiver's to keep.
type Batch struct {
	Events   []Event
	SetAside []SetAside
	Revision Revision // of the last event up to here, set aside or not
	Loaded   bool
}

// SetAside is an event that this code can't understand.
type SetAside struct {
	Revision Revision
	Subject  string
	Reason   string
}

// Query selects events of the past. The zero Query selects all.
type Query struct {
	From, To Revision // inclusive; 0 is open
	Ref      *Ref     // one object; else Facet, Group, Resource, Namespace narrow it
	Facet    *Facet
	Group    *string
	Resource string
	// Namespace narrows to one namespace; empty means all.
	Namespace string
	// LastPerFacet selects only the last event of each facet within From and To.
	LastPerFacet bool
}
