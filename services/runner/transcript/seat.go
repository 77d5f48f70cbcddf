package transcript

import (
	"errors"
	"fmt"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// Seat is a running copy of a decider: a runner's, which looks and decides when the test says so.
type Seat struct {
	world *World
	fresh func() runner.Decider
	seat  *runner.Seat
	seen  int // entries of the world
	// Lost counts the groups and single proposals that a guard refused.
	Lost int
}

// Restart replaces the decider by a new one, which knows only the present, as after a kill.
func (s *Seat) Restart() {
	s.seat = runner.NewSeat(s.fresh(), s.world.state.Registry())
	s.seat.Begin(s.world.State())
	s.seen = len(s.world.entries)
}

// Look shows the decider everything that has happened since it last looked.
func (s *Seat) Look() {
	var changes []events.Change
	for _, entry := range s.world.entries[s.seen:] {
		changes = append(changes, entry.Changes...)
	}
	if s.seen < len(s.world.entries) {
		s.seat.See(changes, s.world.State())
	}
	s.seen = len(s.world.entries)
	s.seat.Wake(s.world.now)
}

// Waits says that there is something to decide.
func (s *Seat) Waits() bool { return s.seat.Waits() }

// Decide decides the key that waits longest, on the state that was last looked at, and appends what comes of it. Losing a race is no
// error: the key waits again.
func (s *Seat) Decide() error {
	turn, ok := s.seat.Take()
	if !ok {
		return nil
	}
	d := s.seat.Decide(turn, s.world.now)
	groups := d.Together
	for _, p := range d.Each {
		groups = append(groups, []events.Proposal{p})
	}
	for _, group := range groups {
		switch err := s.world.Append(group...); {
		case errors.Is(err, events.ErrConflict):
			s.Lost++
			s.seat.Ask(turn)
		case err != nil:
			return fmt.Errorf("deciding about %s: %w", turn.Key, err)
		}
	}
	if !d.Again.IsZero() {
		if !d.Again.After(s.world.now) {
			return fmt.Errorf("deciding about %s: it is to be decided again at %s, which isn't later", turn.Key, d.Again)
		}
		s.seat.Later(turn, d.Again)
	}
	return nil
}
