package ledgerapi

import (
	"context"
	"slices"

	"github.com/wakehq/wake/events"
)

// teller tells the selected events in order. When objects are asked for it folds those that it tells of, and only those.
type teller struct {
	api       *API
	selection *selection
	out       *lines
	state     *events.State
	seen      map[events.Ref]events.Revision // up to where state holds an object
}

// past tells what has happened.
func (t *teller) past(ctx context.Context) error {
	selected, failed := []events.Event(nil), error(nil)
	tell := func(e events.Event) bool {
		if !t.selection.matches(&e) {
			return true
		}
		if t.selection.tail > 0 {
			// Bounded: twice the tail at most, cut back to it when full.
			if selected = append(selected, e); len(selected) >= 2*t.selection.tail {
				selected = slices.Clone(selected[len(selected)-t.selection.tail:])
			}
			return true
		}
		failed = t.tell(ctx, e)
		return failed == nil
	}
	if err := t.api.Ledger.Read(ctx, t.selection.query, tell); err != nil {
		return err
	}
	for _, e := range selected[max(0, len(selected)-t.selection.tail):] {
		if failed == nil {
			failed = t.tell(ctx, e)
		}
	}
	return failed
}

// future tells what happens after a revision, as it happens.
func (t *teller) future(ctx context.Context, after events.Revision) error {
	if err := t.out.flush(); err != nil {
		return err
	}
	err := t.api.Ledger.Follow(ctx, events.Start{After: after}, func(b events.Batch) error {
		told := false
		for _, e := range b.Events {
			if !t.selection.matches(&e) {
				continue
			}
			told = true
			if err := t.tell(ctx, e); err != nil {
				return err
			}
		}
		if !told {
			return nil
		}
		return t.out.flush()
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (t *teller) tell(ctx context.Context, e events.Event) error {
	shown := wireEvent(&e)
	if !t.selection.objects {
		return t.out.write(shown)
	}
	if err := t.seed(ctx, e); err != nil {
		return err
	}
	var err error
	if shown.Before, err = wireObject(t.state.Slot(e.Ref)); err != nil {
		return err
	}
	// An event that can't be folded changes nothing, here as in the view.
	_, _ = t.state.Apply(e)
	if shown.Object, err = wireObject(t.state.Slot(e.Ref)); err != nil {
		return err
	}
	return t.out.write(shown)
}

// seed folds what happened to e's object before e, told or not.
func (t *teller) seed(ctx context.Context, e events.Event) error {
	from := t.seen[e.Ref] + 1
	t.seen[e.Ref] = e.Revision
	if from >= e.Revision {
		return nil
	}
	return t.api.Ledger.Read(ctx, events.Query{From: from, To: e.Revision - 1, Ref: &e.Ref, LastPerFacet: true}, func(before events.Event) bool {
		_, _ = t.state.Apply(before)
		return true
	})
}
