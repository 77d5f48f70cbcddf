package segment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/wakehq/wake/events"
)

// ErrRecording says that nothing can be appended.
var ErrRecording = errors.New("this is a recording: nothing can be appended to it")

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
	return 0, fmt.Errorf("%s: %w", l.r.name, ErrRecording)
}

// AppendEach implements events.Ledger: it is refused.
func (l *Ledger) AppendEach(_ context.Context, proposals []events.Proposal) []events.Result {
	results := make([]events.Result, len(proposals))
	for i := range results {
		results[i].Err = fmt.Errorf("%s: %w", l.r.name, ErrRecording)
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

// narrow says that q selects by more than revisions.
func narrow(q *events.Query) bool {
	return q.Ref != nil || q.Facet != nil || q.Group != nil || q.Resource != "" || q.Namespace != ""
}

// Select gives the events that q selects (LastPerFacet aside) of those that the file has, in order.
func (r *Reader) Select(q events.Query, yield func(events.Raw) bool) error {
	if !narrow(&q) {
		return r.Events(q.From, q.To, yield)
	}
	revisions, err := r.Revisions(Patterns(q), q.From, q.To)
	if err != nil {
		return err
	}
	return r.Pick(revisions, yield)
}

// LastOf returns the last event on each subject that one of patterns matches, as of a revision that isn't before Base, ordered by revision. One that was thinned is
// passed over: the one before it that is whole stands for it.
func (r *Reader) LastOf(patterns []string, at events.Revision) ([]events.Raw, error) {
	last, err := r.LastRevisions(patterns, at)
	if err != nil {
		return nil, err
	}
	keep := func(e events.Raw) events.Raw { return e }
	if len(last) < followBatch {
		keep = own
	}
	var out []events.Raw
	thinned := map[string]bool{}
	err = r.Pick(slices.Sorted(maps.Values(last)), func(e events.Raw) bool {
		if thin(&e) {
			thinned[e.Subject] = true
		} else {
			out = append(out, keep(e))
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	if len(thinned) > 0 {
		whole, err := r.lastWhole(patterns, at, thinned)
		if err != nil {
			return nil, err
		}
		out = append(out, whole...)
	}
	err = r.StateOf(patterns, func(e events.Raw) bool {
		if _, superseded := last[e.Subject]; !superseded || thinned[e.Subject] {
			out = append(out, keep(e))
		}
		return true
	})
	slices.SortFunc(out, func(a, b events.Raw) int { return cmp.Compare(a.Revision, b.Revision) })
	return out, err
}

// lastWhole returns the last events up to at of subjects that weren't thinned, and takes those off subjects of which there is one.
func (r *Reader) lastWhole(patterns []string, at events.Revision, subjects map[string]bool) ([]events.Raw, error) {
	var revisions []events.Revision
	err := r.eachPosting(patterns, 0, at, func(subject string, all []events.Revision) {
		if subjects[subject] {
			revisions = append(revisions, all...)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(revisions)
	last := map[string]events.Raw{}
	err = r.Pick(revisions, func(e events.Raw) bool {
		if !thin(&e) {
			last[e.Subject] = own(e)
			delete(subjects, e.Subject)
		}
		return true
	})
	return slices.Collect(maps.Values(last)), err
}

// thin says that an archive dropped the payload of e.
func thin(e *events.Raw) bool { return e.Kept != nil && len(e.Payload) == 0 }
