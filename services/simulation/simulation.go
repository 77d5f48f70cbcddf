package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// maxRounds is after how many rounds at one instant deciders are taken never to come to rest: ten thousand pods take some hundred.
const maxRounds = 20_000

// Config is what a Simulation begins with.
type Config struct {
	State    *events.State    // is forked
	Deciders []runner.Decider // which have seen nothing yet
	Start    time.Time        // zero: the state's own time
	Nodes    Nodes
	Watch    func(e *events.Event, changes []events.Change) // is shown every event; nil is nobody
}

// Simulation is a cluster that nobody else has.
type Simulation struct {
	state   *events.State
	start   time.Time
	now     time.Time
	seats   []*seat
	fresh   []events.Change // what some seats haven't seen yet
	shared  *events.State   // what seats are shown: a fork of state, nil once state has gone on
	agenda  agenda
	outside *outside
	watch   func(*events.Event, []events.Change)
	err     error // what made it stop for good
}

// seat is a runner's, and how much of fresh it has seen.
type seat struct {
	*runner.Seat
	seen int
}

// New returns a Simulation in which nothing has happened yet.
func New(c Config) *Simulation {
	start := c.Start
	if start.IsZero() {
		start = c.State.Time()
	}
	s := &Simulation{state: c.State.Fork(), watch: c.Watch}
	s.start = upToMillisecond(start.UTC())
	s.now = s.start
	if s.watch == nil {
		s.watch = func(*events.Event, []events.Change) {}
	}
	for _, decider := range c.Deciders {
		taken := &seat{Seat: runner.NewSeat(decider, c.State.Registry())}
		taken.Begin(s.present())
		s.seats = append(s.seats, taken)
	}
	s.outside = newOutside(s, c.Nodes)
	s.outside.begin()
	return s
}

// upToMillisecond rounds up, since deciders are told the time to the millisecond and nothing may be early.
func upToMillisecond(t time.Time) time.Time {
	if down := t.Truncate(time.Millisecond); down.Before(t) {
		return down.Add(time.Millisecond)
	}
	return t
}

// State returns the present. It never changes.
func (s *Simulation) State() *events.State { return s.present() }

func (s *Simulation) present() *events.State {
	if s.shared == nil {
		s.shared = s.state.Fork()
	}
	return s.shared
}

// Now returns the virtual time.
func (s *Simulation) Now() time.Time { return s.now }

// Elapsed returns how much virtual time has passed.
func (s *Simulation) Elapsed() time.Duration { return s.now.Sub(s.start) }

// Do appends what somebody outside of the services does, together, because of a decision of his own at this time.
func (s *Simulation) Do(actor string, proposals ...events.Proposal) error {
	events.Audit{Actor: actor, Basis: s.state.Revision(), At: s.now}.Sign(proposals)
	_, err := s.Append(proposals...)
	return err
}

// Append appends signed proposals as a ledger does: all or none, events.ErrConflict if a guard doesn't hold.
func (s *Simulation) Append(proposals ...events.Proposal) (events.Revision, error) {
	if err := events.CheckBatch(proposals); err != nil {
		return 0, err
	}
	for i := range proposals {
		p := &proposals[i]
		if at := s.state.Slot(p.Ref).Expect(p.Facet); at != p.Expect {
			return 0, fmt.Errorf("%s of %s is at %d, expected was %d: %w", p.Facet, p.Ref, at, p.Expect, events.ErrConflict)
		}
	}
	for i := range proposals {
		e := proposals[i].Event
		e.Revision, e.Stored = s.state.Revision()+1, s.now
		s.shared = nil
		changes, err := s.state.Apply(e)
		if err != nil {
			s.err = fmt.Errorf("an event that can't be read back: %w", err)
			return 0, s.err
		}
		s.fresh = append(s.fresh, changes...)
		s.watch(&e, changes)
		for i := range changes {
			s.outside.see(&changes[i])
		}
	}
	return s.state.Revision(), nil
}

// Run lets virtual time pass until the given moment, or until ctx ends. It fails if a decider falls over, or never comes to rest.
func (s *Simulation) Run(ctx context.Context, until time.Time) error {
	for {
		if err := s.settle(ctx); err != nil {
			return err
		}
		next, ok := s.next()
		if !ok || next.After(until) {
			s.now = upToMillisecond(until)
			return nil
		}
		if next = upToMillisecond(next); !next.After(s.now) {
			next = s.now.Add(time.Millisecond)
		}
		s.now = next
		for s.err == nil && s.agenda.due(s.now) {
			s.agenda.take()()
		}
	}
}

// next is when something happens next, unless somebody does something.
func (s *Simulation) next() (time.Time, bool) {
	next, ok := s.agenda.next()
	for _, seat := range s.seats {
		if at, waits := seat.Next(); waits && (!ok || at.Before(next)) {
			next, ok = at, true
		}
	}
	return next, ok
}

// settle lets all deciders decide until they have nothing more to do at this instant.
func (s *Simulation) settle(ctx context.Context) error {
	for round := 0; ; round++ {
		busy := false
		for _, seat := range s.seats {
			s.show(seat)
			if !seat.Waits() {
				continue
			}
			busy = true
			if seat.Round(world{s, seat}); s.err != nil {
				return s.err
			}
			if round >= maxRounds {
				return fmt.Errorf("%s doesn't come to rest: after %d rounds at %s it still decides, and changes, the same again", seat.Decider().Name(), round, s.Elapsed())
			}
		}
		if err := errors.Join(s.err, ctx.Err()); err != nil {
			return err
		}
		if !busy {
			break
		}
	}
	s.fresh = s.fresh[:0]
	for _, seat := range s.seats {
		seat.seen = 0
	}
	return nil
}

// show brings a seat up to the present.
func (s *Simulation) show(seat *seat) {
	if unseen := s.fresh[seat.seen:]; len(unseen) > 0 {
		seat.See(unseen, s.present())
	}
	seat.seen = len(s.fresh)
	seat.Wake(s.now)
}

// world is the simulation as one seat acts on it.
type world struct {
	*Simulation
	seat *seat
}

// AppendEach appends independent proposals.
func (w world) AppendEach(proposals []events.Proposal) []events.Result {
	results := make([]events.Result, len(proposals))
	for i := range proposals {
		results[i].Revision, results[i].Err = w.Append(proposals[i])
	}
	return results
}

// Deciding ends the simulation if the decider falls over: there is nothing to learn from going on without it.
func (w world) Deciding(turn runner.Turn, decide func() runner.Decision) (d runner.Decision, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s panics %s in, deciding about %s: %v", w.seat.Decider().Name(), w.Elapsed(), turn.Key, p)
			w.err = err
		}
	}()
	return decide(), nil
}

// Failed takes a lost race for what it is. Anything else would fail again and again.
func (w world) Failed(turn runner.Turn, _ time.Duration, err error) {
	if w.err == nil && !errors.Is(err, events.ErrConflict) {
		w.err = fmt.Errorf("what %s decides about %s %s in, no ledger would take: %w", w.seat.Decider().Name(), turn.Key, w.Elapsed(), err)
	}
}
