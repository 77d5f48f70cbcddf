package ledgerapi

import (
	"context"
	"slices"

	"github.com/wakehq/wake/events"
)

// teller tells the selected events in order. When something about the objects is asked for it folds those that it tells of, and only those.
type teller struct {
	api       *API
	selection *selection
	out       *lines
	fold      *fold
	pictures  pictures
	leftOut   int // routine events that would have been told
}

// past tells what has happened.
func (t *teller) past(ctx context.Context) error {
	s := t.selection
	if s.tail <= 0 {
		return t.read(ctx, s.query, t.write)
	}
	if s.looksInside() {
		last := &ring{size: s.tail}
		if err := t.read(ctx, s.query, func(e *Event) error { last.add(e); return nil }); err != nil {
			return err
		}
		return last.each(t.write)
	}
	begin, err := t.beginOfTail(ctx)
	if err != nil {
		return err
	}
	query := s.query
	query.From = begin
	last := &ring{size: s.tail}
	if err := t.read(ctx, query, func(e *Event) error { last.add(e); return nil }); err != nil {
		return err
	}
	return last.each(t.write)
}

func (t *teller) write(e *Event) error { return t.out.write(e) }

// read goes through the events of query and gives those that are selected.
func (t *teller) read(ctx context.Context, query events.Query, yield func(*Event) error) error {
	t.fold, t.pictures = t.api.foldFrom(query.From), pictures{}
	var failed error
	err := t.api.Ledger.Read(ctx, query, func(e events.Event) bool {
		failed = t.take(ctx, &e, yield)
		return failed == nil
	})
	if err != nil {
		return err
	}
	return failed
}

// ring keeps the last events.
type ring struct {
	size int
	kept []*Event
}

// add keeps e. Bounded: twice the size at most, cut back to it when full.
func (r *ring) add(e *Event) {
	if r.kept = append(r.kept, e); len(r.kept) >= 2*r.size {
		r.kept = slices.Clone(r.kept[len(r.kept)-r.size:])
	}
}

func (r *ring) each(yield func(*Event) error) error {
	for _, e := range r.kept[max(0, len(r.kept)-r.size):] {
		if err := yield(e); err != nil {
			return err
		}
	}
	return nil
}

// firstWindow is how many revisions are searched for a tail at first; each further window back is four times as long.
const firstWindow = 4096

// beginOfTail returns a revision from which on there are as many selected events as the tail is long, if there are so many.
func (t *teller) beginOfTail(ctx context.Context) (events.Revision, error) {
	s := t.selection
	first := max(s.query.From, 1)
	found := 0
	for end, window := s.query.To, events.Revision(firstWindow); ; window *= 4 {
		query := s.query
		query.From, query.To = first, end
		if end >= first+window {
			query.From = end - window + 1
		}
		err := t.api.Ledger.Read(ctx, query, func(e events.Event) bool {
			if s.matches(&e) && (!s.notable || !routine(&e)) {
				found++
			}
			return true
		})
		if err != nil || found >= s.tail || query.From <= first {
			return query.From, err
		}
		end = query.From - 1
	}
}

// future tells what happens after a revision, as it happens.
func (t *teller) future(ctx context.Context, after events.Revision) error {
	if t.fold == nil {
		t.fold, t.pictures = t.api.foldFrom(after+1), pictures{}
	}
	if err := t.out.flush(); err != nil {
		return err
	}
	err := t.api.Ledger.Follow(ctx, events.Start{After: after}, func(b events.Batch) error {
		told := false
		for i := range b.Events {
			err := t.take(ctx, &b.Events[i], func(e *Event) error {
				told = true
				return t.write(e)
			})
			if err != nil {
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

// take takes the next event in, and gives it to yield if it is selected.
func (t *teller) take(ctx context.Context, e *events.Event, yield func(*Event) error) error {
	s := t.selection
	folds := s.objects || s.changes || s.looksInside()
	switch {
	case !s.reads(e):
		return nil
	case !s.matches(e) || !s.mayTouch(e.Facet) && !e.Tombstone:
		if folds {
			t.fold.note(e)
		}
		return nil
	case s.notable && routine(e):
		if t.leftOut++; folds {
			t.fold.note(e)
		}
		return nil
	case !folds:
		shown := wireEvent(e)
		return yield(&shown)
	}
	before, after, err := t.fold.step(ctx, e)
	if err != nil {
		return err
	}
	return t.show(e, before, after, yield)
}

// show words an event with what it made of its object, if what it changed is asked for.
func (t *teller) show(e *events.Event, before, after *events.Object, yield func(*Event) error) (err error) {
	s := t.selection
	if s.labels != nil && !labelled(s, before) && !labelled(s, after) {
		return nil
	}
	shown := wireEvent(e)
	if s.changes || len(s.paths) > 0 {
		fields, err := t.pictures.changes(e, before, after)
		if err != nil {
			return err
		}
		fields = touching(fields, s.paths)
		if len(s.paths) > 0 && len(fields) == 0 {
			return nil
		}
		if s.changes && !e.Tombstone {
			shown.Fields = fields
		}
	}
	if s.objects {
		if shown.Before, err = wireObject(before); err != nil {
			return err
		}
		if shown.Object, err = wireObject(after); err != nil {
			return err
		}
	}
	return yield(&shown)
}

// changes returns the fields that e changed. An event of an earlier object of that name changes nothing.
func (p pictures) changes(e *events.Event, before, after *events.Object) ([]Field, error) {
	if after != nil && after.Facet(e.Facet) == nil {
		return nil, nil
	}
	was, err := p.draw(before)
	if err != nil {
		return nil, err
	}
	is, err := p.draw(after)
	if err != nil {
		return nil, err
	}
	return changedBy(e.Facet, was, is), nil
}

func labelled(s *selection, o *events.Object) bool {
	return o != nil && s.labels.Matches(labelsOf(o))
}
