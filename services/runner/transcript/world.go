package transcript

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/runner"
)

// maxDecisions is after how many decisions at one time deciders are taken never to come to rest.
const maxDecisions = 100_000

// Began is the time at which a World begins.
var Began = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// World is a ledger and its deciders in one goroutine.
type World struct {
	state   *events.State
	now     time.Time
	entries []Entry
	seats   []*Seat
}

// Entry is an event that was accepted, and what it did.
type Entry struct {
	Event   *events.Event
	Changes []events.Change // the event's own object first
}

var newRegistry = sync.OnceValues(schemas.NewRegistry)

// Registry returns the kinds, which all the tests of a package share.
func Registry(t require.TestingT) *schemas.Registry {
	registry, err := newRegistry()
	require.NoError(t, err)
	return registry
}

// NewWorld returns an empty world with a seat for each of the deciders.
func NewWorld(registry *schemas.Registry, deciders ...func() runner.Decider) *World {
	w := &World{state: events.NewState(registry), now: Began}
	for _, fresh := range deciders {
		seat := &Seat{world: w, fresh: fresh}
		seat.Restart()
		w.seats = append(w.seats, seat)
	}
	return w
}

// State returns the present. It never changes.
func (w *World) State() *events.State { return w.state.Fork() }

// Pods lists the pods of a namespace that want holds of, in order.
func (w *World) Pods(namespace string, want func(*corev1.Pod) bool) []events.Ref {
	var refs []events.Ref
	for o := range w.state.All(events.GroupResource{Resource: "pods"}, namespace) {
		if want(o.Typed().(*corev1.Pod)) {
			refs = append(refs, o.Ref)
		}
	}
	return refs
}

// Now returns the time.
func (w *World) Now() time.Time { return w.now }

// Seats returns the running deciders, in the order in which they were given.
func (w *World) Seats() []*Seat { return w.seats }

// Entries returns everything that was accepted, oldest first.
func (w *World) Entries() []Entry { return w.entries }

// Append appends proposals that stand or fall together, as a ledger does: events.ErrConflict if a guard doesn't hold. They must be signed.
func (w *World) Append(proposals ...events.Proposal) error {
	if len(proposals) > events.MaxBatch {
		return fmt.Errorf("a batch of %d events; at most %d are taken", len(proposals), events.MaxBatch)
	}
	guarded := map[string]bool{}
	for i := range proposals {
		p := &proposals[i]
		subject := events.Subject(p.Facet, p.Ref)
		if guarded[subject] {
			return fmt.Errorf("a batch that writes %s twice", subject)
		}
		guarded[subject] = true
		if at := w.state.Slot(p.Ref).Expect(p.Facet); at != p.Expect {
			return fmt.Errorf("%s is at %d, expected was %d: %w", subject, at, p.Expect, events.ErrConflict)
		}
	}
	for i := range proposals {
		e := proposals[i].Event
		e.Revision, e.Stored = w.state.Revision()+1, w.now
		applied, err := w.state.Apply(e)
		if err != nil {
			return err
		}
		w.entries = append(w.entries, Entry{Event: &e, Changes: applied})
	}
	return nil
}

// Do appends what somebody outside does, together.
func (w *World) Do(who string, proposals ...events.Proposal) error {
	events.Audit{Actor: who, Basis: w.state.Revision(), At: w.now}.Sign(proposals)
	return w.Append(proposals...)
}

// Settle lets all seats look and decide until nothing more happens at this time. It fails if they don't come to rest.
func (w *World) Settle() error {
	for n := 0; n < maxDecisions; {
		busy := false
		for _, seat := range w.seats {
			seat.Look()
			for seat.Waits() {
				busy = true
				n++
				if err := seat.Decide(); err != nil {
					return err
				}
				seat.Look()
			}
		}
		if !busy {
			return nil
		}
	}
	return errors.New("the deciders don't come to rest")
}

// Pass lets d pass, deciding what comes due on the way.
func (w *World) Pass(d time.Duration) error {
	for end := w.now.Add(d); ; {
		due := end
		for _, seat := range w.seats {
			if at, ok := seat.seat.Next(); ok && at.Before(due) {
				due = at
			}
		}
		if due.After(w.now) {
			w.now = due
		}
		if err := w.Settle(); err != nil {
			return err
		}
		if !due.Before(end) {
			return nil
		}
	}
}
