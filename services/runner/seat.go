package runner

import (
	"errors"
	"time"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

const (
	retryAfter = 500 * time.Millisecond // after a first failure that isn't a conflict; twice as long after each further one
	maxRetry   = time.Minute
	maxRound   = 256 // keys decided on one state before the ledger is looked at again
)

// Seat is a decider at work: what it has seen, what waits to be decided, and when to look again. It has no clock, no goroutine and no ledger;
// whoever drives it shows it changes and gives it a World to act on. A Runner drives it in real time on a ledger, a simulation in virtual time on a fork.
type Seat struct {
	decider  Decider
	queue    *queue
	state    *events.State      // what the decider has seen
	appended events.Revision    // own newest event: nothing is decided on a state before it
	failures map[events.Ref]int // of a key since it last succeeded, conflicts left out
}

// World is what a Seat acts on.
type World interface {
	// Now is the time.
	Now() time.Time
	// Append and AppendEach are as those of events.Ledger.
	Append(proposals ...events.Proposal) (events.Revision, error)
	AppendEach(proposals []events.Proposal) []events.Result
	// Deciding calls decide, and may count, measure and recover from its panic.
	Deciding(turn Turn, decide func() Decision) (Decision, error)
	// Failed tells that a decision, or a part of it, came to nothing; it is tried again after a while.
	Failed(turn Turn, again time.Duration, err error)
}

// Turn is a key whose turn it is to be decided, and the newest event that asked for it.
type Turn struct {
	Key   events.Ref
	Cause Cause
}

// NewSeat returns the seat of a decider that has seen nothing yet.
func NewSeat(decider Decider, registry *schemas.Registry) *Seat {
	return &Seat{decider: decider, queue: newQueue(), state: events.NewState(registry), failures: map[events.Ref]int{}}
}

// Decider returns who sits here.
func (s *Seat) Decider() Decider { return s.decider }

// State returns what the decider has seen.
func (s *Seat) State() *events.State { return s.state }

// Begin shows the decider how the present differs from what it has seen: at first, everything that exists.
func (s *Seat) Begin(state *events.State) {
	var changes []events.Change
	for _, gr := range s.state.Resources() {
		for old := range s.state.All(gr, "") {
			if _, ok := state.Get(old.Ref); ok {
				continue
			}
			end := old.Newest()
			if gone := state.Slot(old.Ref); gone != nil {
				end = gone.Newest()
			}
			changes = append(changes, events.Change{Revision: end.Revision, Event: end, Old: old})
		}
	}
	for _, gr := range state.Resources() {
		for o := range state.All(gr, "") {
			if old, _ := s.state.Get(o.Ref); old == nil || old.Revision() != o.Revision() {
				changes = append(changes, events.Change{Revision: o.Revision(), Event: o.Newest(), Old: old, New: o})
			}
		}
	}
	s.See(changes, state)
}

// See shows the decider changes, in order, and the state that they lead to, which must not change any more.
func (s *Seat) See(changes []events.Change, state *events.State) {
	folder, folds := s.decider.(Folder)
	for _, change := range changes {
		if folds {
			folder.Fold(change)
		}
		for _, key := range s.decider.Keys(change, state) {
			s.Ask(Turn{key, Cause{Revision: change.Event.Revision, Correlation: change.Event.Chain()}})
		}
	}
	s.state = state
}

// Ask asks for a key to be decided.
func (s *Seat) Ask(turn Turn) { s.queue.add(turn.Key, turn.Cause) }

// Wake asks for the keys whose time to be looked at again has come.
func (s *Seat) Wake(now time.Time) { s.queue.due(now) }

// Waits says that there is something to decide, on a state that includes everything that the seat has appended.
func (s *Seat) Waits() bool { return len(s.queue.waiting) > 0 && s.state.Revision() >= s.appended }

// Next returns when the first of the keys to be looked at again is due; false if there is none.
func (s *Seat) Next() (time.Time, bool) { return s.queue.earliest() }

// Take returns the key that waits longest; false if none does. What was to be looked at later is forgotten: the decision names a new time.
func (s *Seat) Take() (Turn, bool) { return s.queue.take() }

// Decide asks the decider, and signs what it proposes.
func (s *Seat) Decide(turn Turn, now time.Time) Decision {
	d := s.decider.Decide(Input{State: s.state, Key: turn.Key, Now: now})
	audit := events.Audit{Actor: "service:" + s.decider.Name(), Key: turn.Key.String(), Cause: turn.Cause.Revision, Correlation: turn.Cause.Correlation,
		Basis: s.state.Revision(), At: now}
	audit.Sign(d.Each)
	for _, group := range d.Together {
		audit.Sign(group)
	}
	return d
}

// Later asks for a key to be looked at again at a time, or earlier if that was asked for already.
func (s *Seat) Later(turn Turn, at time.Time) { s.queue.later(turn, at) }

// Round decides the keys that wait, up to a bound, on the state that was seen last, and appends what comes of it to w.
func (s *Seat) Round(w World) {
	now := w.Now().UTC().Truncate(time.Millisecond)
	var each []events.Proposal
	var owners []Turn
	for range maxRound {
		turn, ok := s.Take()
		if !ok {
			break
		}
		d, err := w.Deciding(turn, func() Decision { return s.Decide(turn, now) })
		if err != nil {
			s.fail(w, turn, err)
			continue
		}
		if !d.Again.IsZero() {
			s.Later(turn, d.Again)
		}
		for _, group := range d.Together {
			if len(group) > 0 {
				revision, err := w.Append(group...)
				s.settle(w, turn, revision, err)
			}
		}
		for _, p := range d.Each {
			each, owners = append(each, p), append(owners, turn)
		}
	}
	if len(each) == 0 {
		return
	}
	for i, result := range w.AppendEach(each) {
		s.settle(w, owners[i], result.Revision, result.Err)
	}
}

func (s *Seat) settle(w World, turn Turn, revision events.Revision, err error) {
	if err != nil {
		s.fail(w, turn, err)
		return
	}
	s.appended = max(s.appended, revision)
	delete(s.failures, turn.Key)
}

// fail asks for the key again: at once after a conflict, since the state that decides it anew is on its way, ever later after anything else.
func (s *Seat) fail(w World, turn Turn, err error) {
	wait := conflictAfter
	if !errors.Is(err, events.ErrConflict) {
		wait = min(maxRetry, retryAfter<<min(s.failures[turn.Key], 7))
		s.failures[turn.Key]++
	}
	w.Failed(turn, wait, err)
	s.Later(turn, w.Now().Add(wait))
}
