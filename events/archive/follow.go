package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/segment"
)

// followBatch is how many events are delivered at once.
const followBatch = 1024

// Follow implements events.Ledger. The present is loaded from the newest snapshot and what came after it.
func (l *Ledger) Follow(ctx context.Context, start events.Start, deliver func(events.Batch) error) error {
	end, _, err := l.Last(ctx)
	if err != nil {
		return err
	}
	if !start.Present && start.After > end {
		return fmt.Errorf("following after revision %d, the ledger ends at %d: is it another ledger, or one restored from a backup?", start.After, end)
	}
	f := &follower{ledger: l, deliver: deliver, at: start.After, end: end}
	if start.Present {
		if err := f.present(ctx); err != nil {
			return err
		}
	}
	for attempt := 1; ; attempt++ {
		begin := f.at
		if err := f.archived(ctx); err != nil {
			return err
		}
		err := f.follow(ctx)
		if !errors.Is(err, errOvertaken) {
			return err
		}
		if f.at > begin {
			attempt = 1
		}
		if err := l.overtaken(ctx, f.at+1, attempt); err != nil {
			return err
		}
	}
}

// follower is one Follow under way.
type follower struct {
	ledger  *Ledger
	deliver func(events.Batch) error
	at      events.Revision // delivered up to here
	end     events.Revision // the ledger's end when Follow began
	loaded  bool
}

func (f *follower) give(b events.Batch) error {
	f.at = max(f.at, b.Revision)
	f.loaded = f.loaded || f.at >= f.end
	b.Revision, b.Loaded = f.at, f.loaded
	return f.deliver(b)
}

// archived delivers what segments have after f.at.
func (f *follower) archived(ctx context.Context) error {
	_, last := f.ledger.archive.Bounds()
	return f.ledger.archive.each(ctx, f.at+1, last, func(r *segment.Reader) (bool, error) {
		var failed error
		err := r.Batches(f.at+1, last, func(b events.Batch) bool {
			failed = cmp.Or(ctx.Err(), f.give(b))
			return failed == nil
		})
		return true, cmp.Or(failed, err)
	})
}

// follow delivers what the stream has after f.at, until the keeper is quicker.
func (f *follower) follow(ctx context.Context) error {
	err := f.ledger.stream.Follow(ctx, events.Start{After: f.at}, func(b events.Batch) error {
		given := events.Revision(len(b.Events) + len(b.SetAside))
		if b.Revision > f.at+given && f.ledger.lost(ctx, f.at+1) {
			return errOvertaken
		}
		if given == 0 && f.loaded && b.Revision <= f.at {
			return nil // the stream's own word that it has no more
		}
		return f.give(b)
	})
	if errors.Is(err, events.ErrTooOld) {
		return errOvertaken
	}
	return err
}

// present delivers the last event of every facet as of f.end.
func (f *follower) present(ctx context.Context) error {
	if f.end == 0 {
		return f.give(events.Batch{})
	}
	for attempt := 1; ; attempt++ {
		batch, err := f.ledger.present(ctx, f.end)
		if !errors.Is(err, errOvertaken) {
			return cmp.Or(err, f.deliverSorted(ctx, batch))
		}
		if err := f.ledger.overtaken(ctx, 1, attempt); err != nil {
			return err
		}
	}
}

// deliverSorted delivers b in pieces, ordered by revision, and what was set aside at the end.
func (f *follower) deliverSorted(ctx context.Context, b events.Batch) error {
	order := sorted(b.Events)
	for len(order) > followBatch {
		piece := take(b.Events, order[:followBatch])
		order = order[followBatch:]
		if err := cmp.Or(ctx.Err(), f.give(events.Batch{Events: piece, Revision: piece[followBatch-1].Revision})); err != nil {
			return err
		}
	}
	slices.SortFunc(b.SetAside, func(a, b events.SetAside) int { return cmp.Compare(a.Revision, b.Revision) })
	return f.give(events.Batch{Events: take(b.Events, order), SetAside: b.SetAside, Revision: max(f.end, b.Revision)})
}

// sorted returns the places of list in the order of revisions. Events are large, they aren't moved about.
func sorted(list []events.Event) []int {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(list[a].Revision, list[b].Revision) })
	return order
}

func take(list []events.Event, places []int) []events.Event {
	out := make([]events.Event, 0, len(places))
	for _, i := range places {
		out = append(out, list[i])
	}
	return out
}

// present returns the last event on every subject as of end, in any order.
func (l *Ledger) present(ctx context.Context, end events.Revision) (out events.Batch, _ error) {
	_, archived := l.archive.Bounds()
	if archived == 0 {
		return l.presentInStream(ctx)
	}
	base := min(archived, end)
	later := map[string]events.Raw{}
	if base < end {
		err := l.ReadRaw(ctx, base+1, end, func(r events.Raw) bool {
			later[r.Subject] = r
			return true
		})
		if err != nil {
			return out, err
		}
	}
	out, err := l.archive.lasts(ctx, nil, base, func(subject string) bool { _, superseded := later[subject]; return superseded })
	for _, raw := range later {
		segment.AddTo(&out, &raw)
	}
	return out, err
}

// presentInStream loads the present from the stream alone: nothing is archived.
func (l *Ledger) presentInStream(ctx context.Context) (out events.Batch, _ error) {
	err := l.stream.Follow(ctx, events.Start{Present: true}, func(b events.Batch) error {
		out.Events, out.SetAside = append(out.Events, b.Events...), append(out.SetAside, b.SetAside...)
		if out.Revision = b.Revision; b.Loaded {
			return errLoaded
		}
		return nil
	})
	switch {
	case !errors.Is(err, errLoaded):
		return out, err
	case l.lost(ctx, 1):
		return events.Batch{}, errOvertaken
	}
	return out, nil
}

var errLoaded = errors.New("loaded")
