package events

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/wakehq/wake/schemas"
)

// HeldChanges is how many of the newest changes a View holds for those who watch.
const HeldChanges = 1 << 15

// retryEvery is how long a View waits before it follows a ledger again that it has lost.
const retryEvery = 200 * time.Millisecond

// maxSetAside bounds how many set-aside events a View remembers; it counts all.
const maxSetAside = 100

// View follows a ledger and holds its present. It outlives the ledger's absence: reads go on with what is known.
type View struct {
	ledger Ledger

	mu       sync.Mutex
	state    *State
	fork     *State        // of state, until it changes
	held     []Change      // the newest changes, a ring
	count    uint64        // how many changes there have been; the ring's next slot is count % len(held)
	floor    Revision      // changes after it are held
	moved    chan struct{} // closed at the next step
	loaded   bool
	loading  *loader // until then
	recent   Recent  // read before
	noNotes  error   // why they could not be read
	failed   error   // the last failure to follow, nil while it works
	aside    []SetAside
	asideAll int
}

// OpenView follows ledger until ctx ends, and returns when the present is loaded.
func OpenView(ctx context.Context, ledger Ledger, registry *schemas.Registry) (*View, error) {
	v := &View{ledger: ledger, state: NewState(registry), held: make([]Change, HeldChanges), moved: make(chan struct{})}
	v.begin()
	go v.follow(ctx)
	for {
		v.mu.Lock()
		loaded, failed, moved := v.loaded, v.failed, v.moved
		v.mu.Unlock()
		switch {
		case loaded:
			return v, nil
		case failed != nil:
			return nil, fmt.Errorf("loading the present from the ledger: %w", failed)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-moved:
		}
	}
}

// begin makes v ready to load.
func (v *View) begin() {
	v.state = NewState(v.state.Registry())
	v.loading = &loader{state: v.state, byRef: map[Ref]*part{}}
}

func (v *View) follow(ctx context.Context) {
	start := Start{Present: true}
	for ctx.Err() == nil {
		err := v.read(ctx, start)
		v.mu.Lock()
		v.failed = err
		if v.loaded {
			start = Start{After: v.state.Revision()}
		} else {
			v.begin()
		}
		v.wake()
		v.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(retryEvery):
		}
	}
}

// read follows the ledger from start, and reads what the present does not tell first.
func (v *View) read(ctx context.Context, start Start) error {
	if start.Present {
		if err := v.readNotes(ctx); err != nil {
			return err
		}
	}
	return v.ledger.Follow(ctx, start, v.step)
}

// readNotes reads the notes, and goes on without if they can't be read: they are for people, and nothing is decided on them.
func (v *View) readNotes(ctx context.Context) error {
	last, _, err := v.ledger.Last(ctx)
	if err != nil {
		return err
	}
	recent, err := ReadNotes(ctx, v.ledger, last)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.recent, v.noNotes = recent, nil; err != nil {
		v.recent, v.noNotes = Recent{}, fmt.Errorf("reading the notes up to revision %d: %w", last, err)
	}
	return nil
}

// step folds a batch and wakes who waits.
func (v *View) step(b Batch) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.loaded {
		b.SetAside = append(b.SetAside, v.fold(b.Events)...)
	} else {
		for i := range b.Events {
			v.loading.add(&b.Events[i])
		}
		if b.Loaded {
			b.SetAside = append(b.SetAside, v.loading.finish(v.recent)...)
			v.loading, v.recent = nil, Recent{}
		}
	}
	v.asideAll += len(b.SetAside)
	v.aside = append(v.aside, b.SetAside...)
	v.aside = v.aside[max(0, len(v.aside)-maxSetAside):]
	v.state.Advance(b.Revision)
	if !v.loaded && b.Loaded {
		v.loaded, v.floor = true, v.state.Revision()
	}
	v.fork, v.failed = nil, nil
	v.wake()
	return nil
}

// fold applies events and holds what they changed.
func (v *View) fold(all []Event) (aside []SetAside) {
	for _, e := range all {
		if err := v.state.apply(&e, v.hold); err != nil { // a copy: an event that stays must not hold its batch
			aside = append(aside, setAside(&e, err))
		}
	}
	return aside
}

func setAside(e *Event, err error) SetAside {
	return SetAside{Revision: e.Revision, Subject: Subject(e.Facet, e.Ref), Reason: err.Error()}
}

func (v *View) hold(c Change) {
	slot := &v.held[v.count%uint64(len(v.held))]
	if slot.Revision != 0 {
		v.floor = slot.Revision
	}
	*slot = c
	v.count++
}

func (v *View) wake() {
	close(v.moved)
	v.moved = make(chan struct{})
}

// State returns the newest state. It never changes.
func (v *View) State() *State {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.current()
}

func (v *View) current() *State {
	if v.fork == nil {
		v.fork = v.state.Fork()
	}
	return v.fork
}

// WaitFor returns the state once it has reached revision. It fails only when ctx ends.
func (v *View) WaitFor(ctx context.Context, revision Revision) (*State, error) {
	for {
		v.mu.Lock()
		if v.state.Revision() >= revision {
			defer v.mu.Unlock()
			return v.current(), nil
		}
		at, moved := v.state.Revision(), v.moved
		v.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for revision %d, the view is at %d: %w", revision, at, ctx.Err())
		case <-moved:
		}
	}
}

// Status tells how the view is doing.
type Status struct {
	Revision      Revision
	Following     error // nil, or why the ledger can't be followed right now
	Notes         error // nil, or why the state began without the notes of before
	SetAsideCount int
	SetAside      []SetAside // the newest
}

// Status returns the view's condition.
func (v *View) Status() Status {
	v.mu.Lock()
	defer v.mu.Unlock()
	return Status{Revision: v.state.Revision(), Following: v.failed, Notes: v.noNotes, SetAsideCount: v.asideAll, SetAside: append([]SetAside(nil), v.aside...)}
}

// Watch returns a cursor over the changes after revision, or ErrTooOld if they are not all held. Revision 0 means from now on. A revision
// that the view has not reached yet is waited for by Next.
func (v *View) Watch(after Revision) (*Cursor, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if after == 0 {
		return &Cursor{view: v, next: v.count, after: v.state.Revision()}, nil
	}
	if after < v.floor {
		return nil, fmt.Errorf("revision %d is before %d: %w", after, v.floor, ErrTooOld)
	}
	next := v.count
	for next > 0 && v.count-next < uint64(len(v.held)) && v.held[(next-1)%uint64(len(v.held))].Revision > after {
		next--
	}
	return &Cursor{view: v, next: next, after: after}, nil
}

// Subscribe returns the state and a cursor over all that changes after it.
func (v *View) Subscribe() (*State, *Cursor) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.current(), &Cursor{view: v, next: v.count, after: v.state.Revision()}
}

// Cursor walks along a View's changes. It belongs to one goroutine.
type Cursor struct {
	view  *View
	next  uint64
	after Revision // changes up to it are passed over
}

// Next returns the changes since the last call, waiting for the view to move if there are none, and the state that they lead to. There may
// be none: then the view moved without a change. ErrTooOld: the cursor was so slow that changes were lost to it.
func (c *Cursor) Next(ctx context.Context) ([]Change, *State, error) {
	for {
		changes, state, moved, err := c.take()
		if err != nil || len(changes) > 0 || state != nil {
			return changes, state, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-moved:
		}
	}
}

// take returns a nil state when nothing has happened since the last call.
func (c *Cursor) take() ([]Change, *State, <-chan struct{}, error) {
	v := c.view
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.count-c.next > uint64(len(v.held)) {
		return nil, nil, nil, fmt.Errorf("%d changes behind: %w", v.count-c.next, ErrTooOld)
	}
	if v.state.Revision() <= c.after {
		return nil, nil, v.moved, nil
	}
	changes := make([]Change, 0, v.count-c.next)
	for ; c.next < v.count; c.next++ {
		if change := v.held[c.next%uint64(len(v.held))]; change.Revision > c.after {
			changes = append(changes, change)
		}
	}
	c.after = v.state.Revision()
	return changes, v.current(), nil, nil
}
