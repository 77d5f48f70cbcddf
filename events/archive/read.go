package archive

import (
	"cmp"
	"context"
	"errors"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/segment"
)

// chunkEvents is how many revisions are read off the stream before it is checked that none was trimmed meanwhile.
const chunkEvents = 16_384

// Read implements events.Ledger. An event that was thinned is given without its payload; as the last of its facet stands the last one that is whole.
func (l *Ledger) Read(ctx context.Context, q events.Query, yield func(events.Event) bool) error {
	last, _, err := l.Last(ctx)
	if err != nil || last == 0 {
		return err
	}
	if q.To == 0 || q.To > last {
		q.To = last
	}
	if q.From > q.To {
		return nil
	}
	if !q.LastPerFacet {
		return l.readAll(ctx, q, yield)
	}
	found, err := l.lastPerFacet(ctx, q)
	for _, i := range sorted(found) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if found[i].Revision >= q.From && !yield(found[i]) {
			return nil
		}
	}
	return err
}

// readAll gives the events from q.From to q.To.
func (l *Ledger) readAll(ctx context.Context, q events.Query, yield func(events.Event) bool) error {
	q.From = max(q.From, 1)
	more := true
	give := func(e events.Event) bool {
		more = yield(e)
		return more
	}
	for attempt := 1; q.From <= q.To && more; attempt++ {
		if err := l.archive.read(ctx, &q, give); err != nil {
			return err
		}
		if !more || q.From > q.To {
			return nil
		}
		begin := q.From
		err := l.readChunks(ctx, &q, give)
		if !errors.Is(err, errOvertaken) {
			return err
		}
		if q.From > begin {
			attempt = 1
		}
		if err := l.overtaken(ctx, q.From, attempt); err != nil {
			return err
		}
	}
	return nil
}

// read gives what q selects in segments, and moves q.From after the last of them.
func (a *Archive) read(ctx context.Context, q *events.Query, yield func(events.Event) bool) error {
	return a.each(ctx, q.From, q.To, func(r *segment.Reader) (bool, error) {
		more := true
		err := r.Select(*q, func(raw events.Raw) bool {
			if e, err := raw.Event(); err == nil {
				more = yield(e)
			}
			return more && ctx.Err() == nil
		})
		q.From = r.Footer().Last + 1
		return more, cmp.Or(err, ctx.Err())
	})
}

// readChunks gives what q selects in the stream, chunk by chunk, and moves q.From after each.
func (l *Ledger) readChunks(ctx context.Context, q *events.Query, yield func(events.Event) bool) error {
	var chunk []events.Event
	for q.From <= q.To {
		part := *q
		part.To = min(q.To, q.From+chunkEvents-1)
		chunk = chunk[:0]
		err := l.stream.Read(ctx, part, func(e events.Event) bool {
			chunk = append(chunk, e)
			return true
		})
		if err != nil {
			return err
		}
		first, _, err := l.stream.Bounds(ctx)
		switch {
		case err != nil:
			return err
		case first > q.From:
			return errOvertaken
		}
		q.From = part.To + 1
		for _, e := range chunk {
			if !yield(e) {
				return nil
			}
		}
	}
	return nil
}

// lastPerFacet returns the last event of each facet that q selects as of q.To, in no order.
func (l *Ledger) lastPerFacet(ctx context.Context, q events.Query) ([]events.Event, error) {
	_, archived := l.archive.Bounds()
	if archived == 0 {
		if found, err := l.lastInStream(ctx, q); !errors.Is(err, errOvertaken) {
			return found, err
		}
		if err := l.overtaken(ctx, 1, 1); err != nil {
			return nil, err
		}
		_, archived = l.archive.Bounds()
	}
	later := map[string]events.Event{}
	if q.To > archived {
		// What came after is read from the stream, or from segments that were cut meanwhile.
		after := q
		after.From, after.LastPerFacet = archived+1, false
		err := l.readAll(ctx, after, func(e events.Event) bool {
			later[events.Subject(e.Facet, e.Ref)] = e
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	skip := func(subject string) bool { _, superseded := later[subject]; return superseded }
	found, err := l.archive.lasts(ctx, segment.Patterns(q), min(q.To, archived), skip)
	for _, e := range later {
		found.Events = append(found.Events, e)
	}
	return found.Events, err
}

// lastInStream asks the stream alone: nothing is archived.
func (l *Ledger) lastInStream(ctx context.Context, q events.Query) (found []events.Event, _ error) {
	err := l.stream.Read(ctx, q, func(e events.Event) bool {
		found = append(found, e)
		return true
	})
	if err == nil && l.lost(ctx, 1) {
		return nil, errOvertaken
	}
	return found, err
}

// Notes implements events.Noter. Up to the state that is the nearest before, notes are read from there and not from the segments.
func (l *Ledger) Notes(ctx context.Context, at events.Revision) (events.Recent, error) {
	recent := events.Recent{First: 1, Last: at}
	if at == 0 {
		return events.Recent{}, nil
	}
	_, archived := l.archive.Bounds()
	from := events.Revision(1)
	if archived > 0 {
		r, err := l.archive.state(ctx, min(at, archived))
		if err != nil {
			return events.Recent{}, err
		}
		err = r.Notes(func(raw events.Raw) bool {
			if e, err := raw.Event(); err == nil {
				recent.Noted = append(recent.Noted, e)
			}
			return true
		})
		if err != nil {
			return events.Recent{}, err
		}
		from = r.Header().Base + 1
	}
	err := l.readAll(ctx, events.Query{From: from, To: at}, func(e events.Event) bool {
		if e.Note != nil {
			e.Payload = nil
			recent.Noted = append(recent.Noted, e)
		}
		return true
	})
	recent.Noted = recent.Noted[max(0, len(recent.Noted)-maxNotes):]
	return recent, err
}
