package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/wakehq/wake/events"
)

const (
	retryAfter = 500 * time.Millisecond // after a first failure that isn't a conflict; twice as long after each further one
	maxRetry   = time.Minute
	maxRound   = 256 // keys decided on one state before the ledger is looked at again
)

// Runner runs one decider.
type Runner struct {
	Decider Decider
	View    *events.View
	Ledger  events.Ledger
	Log     *slog.Logger
	Metrics Metrics // nil is none
}

// Metrics counts what runners do. Implementations are safe for concurrent use.
type Metrics interface {
	// Decided tells of one decision: how long it took and how many events it asked for.
	Decided(service string, took time.Duration, events int)
	// Failed tells of a decision that didn't reach the ledger; conflict when another writer was first.
	Failed(service string, conflict bool)
}

type noMetrics struct{}

func (noMetrics) Decided(string, time.Duration, int) {}
func (noMetrics) Failed(string, bool)                {}

// Run serves until ctx ends, and returns its error.
func (r Runner) Run(ctx context.Context) error {
	if r.Metrics == nil {
		r.Metrics = noMetrics{}
	}
	serving := &run{Runner: r, failures: map[events.Ref]int{}, queue: newQueue(), state: events.NewState(r.View.State().Registry())}
	for {
		err := serving.serve(ctx)
		if !errors.Is(err, events.ErrTooOld) {
			return err
		}
		r.Log.Warn("service fell behind and goes on from the present", "service", r.Decider.Name(), "error", err)
	}
}

// run is a Runner at work.
type run struct {
	Runner
	queue    *queue
	state    *events.State      // what the decider has seen
	appended events.Revision    // own newest event: nothing is decided on a state before it
	failures map[events.Ref]int // of a key since it last succeeded, conflicts left out
}

func (r *run) serve(ctx context.Context) error {
	state, cursor := r.View.Subscribe()
	r.begin(state)
	steps, failed := make(chan step), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { failed <- pump(ctx, cursor, steps) }()
	for {
		timer := r.queue.timer(r.state.Revision() >= r.appended)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case s := <-steps:
			r.see(s.changes, s.state)
		case now := <-timer.C:
			r.queue.due(now)
		}
		timer.Stop()
		if r.state.Revision() >= r.appended {
			r.round(ctx)
		}
	}
}

// step is a run of changes and the state that they lead to.
type step struct {
	changes []events.Change
	state   *events.State
}

func pump(ctx context.Context, cursor *events.Cursor, steps chan<- step) error {
	for {
		changes, state, err := cursor.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case steps <- step{changes, state}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// begin shows the decider how the present differs from what it has seen: at first, everything that exists.
func (r *run) begin(state *events.State) {
	var changes []events.Change
	for _, gr := range r.state.Resources() {
		for old := range r.state.All(gr, "") {
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
			if old, _ := r.state.Get(o.Ref); old == nil || old.Revision() != o.Revision() {
				changes = append(changes, events.Change{Revision: o.Revision(), Event: o.Newest(), Old: old, New: o})
			}
		}
	}
	r.see(changes, state)
}

func (r *run) see(changes []events.Change, state *events.State) {
	folder, folds := r.Decider.(Folder)
	for _, change := range changes {
		if folds {
			folder.Fold(change)
		}
		for _, key := range r.Decider.Keys(change, state) {
			r.queue.add(key, Cause{Revision: change.Event.Revision, Correlation: change.Event.Chain()})
		}
	}
	r.state = state
}

// round decides the keys that wait, on one state, and appends what comes of it.
func (r *run) round(ctx context.Context) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	var each []events.Proposal
	var owners []item
	for range maxRound {
		it, ok := r.queue.take()
		if !ok {
			break
		}
		d, err := r.decide(it, now)
		if err != nil {
			r.fail(it, err)
			continue
		}
		if !d.Again.IsZero() {
			r.queue.later(it.key, it.cause, d.Again)
		}
		for _, group := range d.Together {
			r.appendTogether(ctx, it, group)
		}
		for _, p := range d.Each {
			each, owners = append(each, p), append(owners, it)
		}
	}
	if len(each) == 0 {
		return
	}
	for i, result := range r.Ledger.AppendEach(ctx, each) {
		r.settle(owners[i], result.Revision, result.Err)
	}
}

func (r *run) decide(it item, now time.Time) (d Decision, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the decider panicked: %v", p)
		}
	}()
	began := time.Now()
	d = r.Decider.Decide(Input{State: r.state, Key: it.key, Now: now, Cause: it.cause})
	audit := events.Audit{Actor: "service:" + r.Decider.Name(), Key: it.key.String(), Cause: it.cause.Revision, Correlation: it.cause.Correlation,
		Basis: r.state.Revision(), At: now}
	count := len(d.Each)
	audit.Sign(d.Each)
	for _, group := range d.Together {
		audit.Sign(group)
		count += len(group)
	}
	r.Metrics.Decided(r.Decider.Name(), time.Since(began), count)
	return d, nil
}

func (r *run) appendTogether(ctx context.Context, it item, group []events.Proposal) {
	if len(group) == 0 {
		return
	}
	revision, err := r.Ledger.Append(ctx, group...)
	r.settle(it, revision, err)
}

func (r *run) settle(it item, revision events.Revision, err error) {
	if err != nil {
		r.fail(it, err)
		return
	}
	r.appended = max(r.appended, revision)
	delete(r.failures, it.key)
}

// fail asks for the key again: at once after a conflict, since the state that decides it anew is on its way, ever later after anything else.
func (r *run) fail(it item, err error) {
	conflict := errors.Is(err, events.ErrConflict)
	r.Metrics.Failed(r.Decider.Name(), conflict)
	wait := conflictAfter
	if !conflict {
		wait = min(maxRetry, retryAfter<<min(r.failures[it.key], 7))
		r.failures[it.key]++
		if !errors.Is(err, context.Canceled) {
			r.Log.Error("a decision did not reach the ledger; it is tried again", "service", r.Decider.Name(), "key", it.key, "in", wait, "error", err)
		}
	}
	r.queue.later(it.key, it.cause, time.Now().Add(wait))
}
