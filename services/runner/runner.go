package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/wakehq/wake/events"
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
	seat := NewSeat(r.Decider, r.View.State().Registry())
	for {
		err := r.serve(ctx, seat)
		if !errors.Is(err, events.ErrTooOld) {
			return err
		}
		r.Log.Warn("service fell behind and goes on from the present", "service", r.Decider.Name(), "error", err)
	}
}

func (r *Runner) serve(ctx context.Context, seat *Seat) error {
	state, cursor := r.View.Subscribe()
	seat.Begin(state)
	steps, failed := make(chan step), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { failed <- pump(ctx, cursor, steps) }()
	for {
		timer := timerOf(seat)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case s := <-steps:
			seat.See(s.changes, s.state)
		case now := <-timer.C:
			seat.Wake(now)
		}
		timer.Stop()
		if seat.Waits() {
			seat.Round(&world{Runner: r, ctx: ctx})
		}
	}
}

// timerOf fires at once if a key may be decided, else when the next one is due.
func timerOf(seat *Seat) *time.Timer {
	if seat.Waits() {
		return time.NewTimer(0)
	}
	if at, ok := seat.Next(); ok {
		return time.NewTimer(time.Until(at))
	}
	return time.NewTimer(time.Hour)
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

// world is the ledger and the clock.
type world struct {
	*Runner
	ctx context.Context
}

func (w *world) Now() time.Time { return time.Now() }

func (w *world) Append(proposals ...events.Proposal) (events.Revision, error) {
	return w.Ledger.Append(w.ctx, proposals...)
}

func (w *world) AppendEach(proposals []events.Proposal) []events.Result {
	return w.Ledger.AppendEach(w.ctx, proposals)
}

func (w *world) Deciding(_ Turn, decide func() Decision) (d Decision, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the decider panicked: %v", p)
		}
	}()
	began := time.Now()
	d = decide()
	count := len(d.Each)
	for _, group := range d.Together {
		count += len(group)
	}
	w.Metrics.Decided(w.Decider.Name(), time.Since(began), count)
	return d, nil
}

func (w *world) Failed(turn Turn, again time.Duration, err error) {
	conflict := errors.Is(err, events.ErrConflict)
	w.Metrics.Failed(w.Decider.Name(), conflict)
	if !conflict && !errors.Is(err, context.Canceled) {
		w.Log.Error("a decision did not reach the ledger; it is tried again", "service", w.Decider.Name(), "key", turn.Key, "in", again, "error", err)
	}
}
