package transcript

import (
	"errors"
	"fmt"
	"slices"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// Restart replaces the decider by a new one, which knows only the present, as after a kill.
func (s *Seat) Restart() {
	s.decider, s.waiting, s.later = s.fresh(), nil, nil
	s.state, s.seen = s.world.State(), len(s.world.entries)
	for _, gr := range s.state.Resources() {
		for o := range s.state.All(gr, "") {
			s.see(events.Change{Revision: o.Revision(), Event: o.Newest(), New: o})
		}
	}
}

// Look shows the decider everything that has happened since it last looked.
func (s *Seat) Look() {
	fresh := s.world.entries[s.seen:]
	s.seen = len(s.world.entries)
	if len(fresh) > 0 {
		s.state = s.world.State()
	}
	for _, entry := range fresh {
		for _, change := range entry.Changes {
			s.see(change)
		}
	}
	s.later = slices.DeleteFunc(s.later, func(l waiting) bool {
		due := !l.at.After(s.world.now)
		if due {
			s.ask(l.key, l.cause)
		}
		return due
	})
}

func (s *Seat) see(change events.Change) {
	if folder, ok := s.decider.(runner.Folder); ok {
		folder.Fold(change)
	}
	for _, key := range s.decider.Keys(change, s.state) {
		s.ask(key, runner.Cause{Revision: change.Event.Revision, Correlation: change.Event.Chain()})
	}
}

func (s *Seat) ask(key events.Ref, cause runner.Cause) {
	for i := range s.waiting {
		if s.waiting[i].key == key {
			if cause.Revision > s.waiting[i].cause.Revision {
				s.waiting[i].cause = cause
			}
			return
		}
	}
	s.waiting = append(s.waiting, waiting{key: key, cause: cause})
}

// Waits says that there is something to decide.
func (s *Seat) Waits() bool { return len(s.waiting) > 0 }

// Decide decides the key that waits longest, on the state that was last looked at, and appends what comes of it. Losing a race is no
// error: the key waits again.
func (s *Seat) Decide() error {
	if !s.Waits() {
		return nil
	}
	next := s.waiting[0]
	s.waiting = s.waiting[1:]
	s.later = slices.DeleteFunc(s.later, func(l waiting) bool { return l.key == next.key })
	d := s.decider.Decide(runner.Input{State: s.state, Key: next.key, Now: s.world.now, Cause: next.cause})
	groups := d.Together
	for _, p := range d.Each {
		groups = append(groups, []events.Proposal{p})
	}
	audit := events.Audit{Actor: "service:" + s.decider.Name(), Key: next.key.String(), Cause: next.cause.Revision, Correlation: next.cause.Correlation,
		Basis: s.state.Revision(), At: s.world.now}
	for _, group := range groups {
		audit.Sign(group)
		switch err := s.world.Append(group...); {
		case errors.Is(err, events.ErrConflict):
			s.Lost++
			s.ask(next.key, next.cause)
		case err != nil:
			return fmt.Errorf("deciding about %s: %w", next.key, err)
		}
	}
	if !d.Again.IsZero() {
		if !d.Again.After(s.world.now) {
			return fmt.Errorf("deciding about %s: it is to be decided again at %s, which isn't later", next.key, d.Again)
		}
		s.later = append(s.later, waiting{key: next.key, cause: next.cause, at: d.Again})
	}
	return nil
}
