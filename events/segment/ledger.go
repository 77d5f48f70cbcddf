package segment

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/wakehq/wake/events"
)

// Ledger is a file read as a ledger. What lies before the file's first event is held as the state at Base alone: the present and the last events per facet
// include it, other reads begin at the first event, and following from before is events.ErrTooOld.
type Ledger struct{ r *Reader }

var (
	_ events.Ledger    = (*Ledger)(nil)
	_ events.RawReader = (*Ledger)(nil)
)

// NewLedger returns r as a ledger.
func NewLedger(r *Reader) *Ledger { return &Ledger{r: r} }

// Reader returns what the ledger reads.
func (l *Ledger) Reader() *Reader { return l.r }

// Append implements events.Ledger: it is refused.
func (l *Ledger) Append(context.Context, ...events.Proposal) (events.Revision, error) {
	return 0, fmt.Errorf("%s: %w", l.r.name, events.ErrReadOnly)
}

// AppendEach implements events.Ledger: it is refused.
func (l *Ledger) AppendEach(_ context.Context, proposals []events.Proposal) []events.Result {
	results := make([]events.Result, len(proposals))
	for i := range results {
		results[i].Err = fmt.Errorf("%s: %w", l.r.name, events.ErrReadOnly)
	}
	return results
}

// followBatch is how many events Follow delivers at once.
const followBatch = 1024

// Follow implements events.Ledger. After the last event it waits for ctx to end: a recording goes nowhere.
func (l *Ledger) Follow(ctx context.Context, start events.Start, deliver func(events.Batch) error) error {
	end := l.r.footer.Last
	var b events.Batch
	var failed error
	give := func(e events.Raw) bool {
		AddTo(&b, &e)
		if len(b.Events)+len(b.SetAside) >= followBatch && b.Revision < end {
			failed = cmp.Or(deliver(b), ctx.Err())
			b = events.Batch{Revision: b.Revision}
		}
		return failed == nil
	}
	var err error
	switch {
	case start.Present:
		err = l.last(nil, events.Query{}, give)
	case start.After < l.r.header.Base:
		return fmt.Errorf("following after revision %d, %s begins after %d: %w", start.After, l.r.name, l.r.header.Base, events.ErrTooOld)
	case start.After > end:
		return fmt.Errorf("following after revision %d, %s ends at %d", start.After, l.r.name, end)
	default:
		err = l.r.Events(start.After+1, 0, give)
	}
	if err = cmp.Or(err, failed); err != nil {
		return err
	}
	b.Revision, b.Loaded = end, true
	if err := deliver(b); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// AddTo adds r to a batch, as an event or set aside.
func AddTo(b *events.Batch, r *events.Raw) {
	b.Revision = max(b.Revision, r.Revision)
	if e, err := r.Event(); err != nil {
		b.SetAside = append(b.SetAside, events.SetAside{Revision: r.Revision, Subject: r.Subject, Reason: err.Error()})
	} else {
		b.Events = append(b.Events, e)
	}
}

// last gives the last event on each subject that one of patterns matches up to q.To, ascending.
func (l *Ledger) last(patterns []string, q events.Query, yield func(events.Raw) bool) error {
	at := q.To
	if at == 0 || at > l.r.footer.Last {
		at = l.r.footer.Last
	}
	if at < l.r.header.Base {
		return fmt.Errorf("reading as of revision %d, %s begins after %d: %w", at, l.r.name, l.r.header.Base, events.ErrTooOld)
	}
	found, err := l.r.LastOf(patterns, at)
	if err != nil {
		return err
	}
	for _, e := range found {
		if e.Revision >= q.From && !yield(e) {
			return nil
		}
	}
	return nil
}

// Read implements events.Ledger.
func (l *Ledger) Read(ctx context.Context, q events.Query, yield func(events.Event) bool) error {
	var failed error
	give := func(r events.Raw) bool {
		if failed = ctx.Err(); failed != nil {
			return false
		}
		e, err := r.Event()
		return err != nil || yield(e)
	}
	var err error
	if q.LastPerFacet {
		err = l.last(Patterns(q), q, give)
	} else {
		err = l.r.Select(q, give)
	}
	return cmp.Or(err, failed)
}

// Last implements events.Ledger.
func (l *Ledger) Last(context.Context) (events.Revision, time.Time, error) {
	return l.r.footer.Last, l.r.footer.LastTime, nil
}

// RevisionAt implements events.Ledger. A time before the first event gives Base.
func (l *Ledger) RevisionAt(_ context.Context, t time.Time) (events.Revision, error) {
	return l.r.RevisionAt(t)
}

// ReadRaw implements events.RawReader.
func (l *Ledger) ReadRaw(ctx context.Context, from, to events.Revision, yield func(events.Raw) bool) error {
	if from = max(from, 1); from <= l.r.header.Base {
		return fmt.Errorf("reading from revision %d, %s begins after %d: %w", from, l.r.name, l.r.header.Base, events.ErrTooOld)
	}
	err := l.r.Events(from, to, func(r events.Raw) bool { return ctx.Err() == nil && yield(r) })
	return cmp.Or(err, ctx.Err())
}

// Bounds implements events.RawReader.
func (l *Ledger) Bounds(context.Context) (first, last events.Revision, _ error) {
	if l.r.footer.Last == 0 {
		return 0, 0, nil
	}
	return l.r.header.Base + 1, l.r.footer.Last, nil
}

// Close implements events.Ledger.
func (l *Ledger) Close() error { return l.r.Close() }
