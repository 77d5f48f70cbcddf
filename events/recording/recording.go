// Package recording takes a stretch of a ledger out of its cluster, as one portable file in the format of package segment. It guarantees:
//
//   - A recording says all by itself: the state before its first event, every event as it was stored, who the cluster is and how its deciders were set up.
//   - Secrets are in it as sealed as in the ledger, or not at all. Either way each event keeps its digest, so that the hash chain can be checked.
//   - The same stretch of the same ledger gives the same bytes.
package recording

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/seal"
	"github.com/wakehq/wake/events/segment"
)

// Source is a ledger beneath its seal.
type Source interface {
	events.Ledger
	events.RawReader
}

// Options says what is recorded.
type Options struct {
	Cluster     string            // the cluster's ID
	Deciders    map[string]string // how its deciders are set up
	From, To    events.Revision   // inclusive. From 0 is from the first event held; To 0 up to the last. From = To+1 records the state at To alone
	DropSecrets bool              // leave out what Secrets hold, sealed or not
}

// Write records source on out. Error: events.ErrTooOld if From is not held any more; segment.ErrGap if an event is missing; that of out.
func Write(ctx context.Context, out io.Writer, source Source, o Options) (segment.Footer, error) {
	first, last, err := source.Bounds(ctx)
	if err != nil {
		return segment.Footer{}, err
	}
	o.From, o.To = cmp.Or(o.From, max(first, 1)), cmp.Or(o.To, last)
	switch {
	case o.To > last:
		return segment.Footer{}, fmt.Errorf("recording up to revision %d: the ledger ends at %d", o.To, last)
	case o.From > o.To+1:
		return segment.Footer{}, fmt.Errorf("recording from revision %d to %d: the end comes before the beginning", o.From, o.To)
	case o.From < first:
		return segment.Footer{}, fmt.Errorf("recording from revision %d, the oldest held is %d: %w", o.From, first, events.ErrTooOld)
	}
	header := segment.Header{Cluster: o.Cluster, Deciders: o.Deciders, Base: o.From - 1}
	state, err := stateAt(ctx, source, header.Base)
	if err != nil {
		return segment.Footer{}, err
	}
	for _, r := range state {
		if r.Stored.After(header.BaseTime) {
			header.BaseTime = r.Stored
		}
	}
	w, err := segment.NewWriter(out, header)
	if err != nil {
		return segment.Footer{}, err
	}
	for _, r := range state {
		if err := w.State(o.dropped(r)); err != nil {
			return segment.Footer{}, err
		}
	}
	if err := o.copyEvents(ctx, w, source); err != nil {
		return segment.Footer{}, err
	}
	return w.Close()
}

func (o *Options) copyEvents(ctx context.Context, w *segment.Writer, source Source) error {
	if o.From > o.To {
		return nil
	}
	var failed error
	next := o.From
	err := source.ReadRaw(ctx, o.From, o.To, func(r events.Raw) bool {
		if r.Revision != next {
			return false
		}
		next++
		failed = w.Event(o.dropped(r))
		return failed == nil
	})
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return err
	case next <= o.To:
		return fmt.Errorf("recording up to revision %d: the ledger does not give revision %d: %w", o.To, next, segment.ErrGap)
	}
	return nil
}

func (o *Options) dropped(r events.Raw) events.Raw {
	if o.DropSecrets {
		return seal.Redact(r)
	}
	return r
}

// stateAt returns the last event of every facet as of a revision, by subject.
func stateAt(ctx context.Context, source Source, revision events.Revision) ([]events.Raw, error) {
	var state []events.Raw
	if revision == 0 {
		return nil, nil
	}
	err := source.Read(ctx, events.Query{To: revision, LastPerFacet: true}, func(e events.Event) bool {
		state = append(state, events.RawOf(&e))
		return true
	})
	slices.SortFunc(state, func(a, b events.Raw) int { return cmp.Compare(a.Subject, b.Subject) })
	return state, err
}
