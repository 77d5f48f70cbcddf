package runner

import (
	"time"

	"github.com/wakehq/wake/events"
)

// Decider is a service's mind. Its methods are called from one goroutine and are pure: what they return, and what Fold
// remembers, follows from the changes seen and from the arguments alone.
type Decider interface {
	// Name is the service's name; its events carry the actor "service:<name>".
	Name() string

	// Keys returns what must be decided again because of a change. state includes the change and possibly later ones.
	Keys(change events.Change, state *events.State) []events.Ref

	// Decide says what is to be done about a key.
	Decide(in Input) Decision
}

// Folder is a Decider that keeps account of changes. Fold sees each object once when the runner starts (Old nil) and then every change, and at
// a Decide has seen exactly those up to the state's revision. Where the runner has fallen behind too far, several changes of an object come as one.
type Folder interface {
	Fold(change events.Change)
}

// Sharer is a Decider that shares its name with others. Holds says which keys are its own.
type Sharer interface {
	Holds(key events.Ref) bool
}

// Input is all that a decision may depend on: what an event records of the decision that it comes from gives it again.
type Input struct {
	State *events.State
	Key   events.Ref
	Now   time.Time // to the millisecond
}

// Cause is the newest event that asked for the decision.
type Cause struct {
	Revision    events.Revision
	Correlation events.Revision
}

// Decision is what is to be done: nothing, if it is zero. Proposals need not be signed; the runner does it, and gives those the turn's cause that
// name none themselves.
type Decision struct {
	// Together holds groups of proposals; each group is one atomic batch of at most events.MaxBatch.
	Together [][]events.Proposal
	// Each holds proposals that stand alone.
	Each []events.Proposal
	// Again is when to look again if nothing happens before; zero for never.
	Again time.Time
}
