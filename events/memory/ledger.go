package memory

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/wakehq/wake/events"
)

// maxBatchEvents bounds what Follow delivers at once, unless more was appended together.
const maxBatchEvents = 256

// Ledger implements events.Ledger. Its zero value is not ready for use: see New.
type Ledger struct {
	ids    *events.IDs
	faults *dice

	mu      sync.Mutex
	log     []record        // of revision trimmed+i+1
	trimmed events.Revision // the last that isn't held any more
	last    map[slot]events.Revision
	moved   chan struct{} // closed at the next append
	closed  bool
}

// record is an event, or what was set aside.
type record struct {
	event events.Event
	aside *events.SetAside
	raw   events.Raw
	more  bool // the next one was appended with it
}

// end returns the last revision. The caller holds l.mu.
func (l *Ledger) end() events.Revision { return l.trimmed + events.Revision(len(l.log)) }

// after returns the records after a revision, at most up to another. The caller holds l.mu.
func (l *Ledger) after(revision, to events.Revision) []record {
	from := max(revision, l.trimmed)
	if to = min(to, l.end()); to <= from {
		return nil
	}
	return l.log[from-l.trimmed : to-l.trimmed]
}

// wholeAfter returns some records after a revision, and all that were appended with the last of them. The caller holds l.mu.
func (l *Ledger) wholeAfter(revision events.Revision) []record {
	to := revision + maxBatchEvents
	records := l.after(revision, to)
	for len(records) > 0 && records[len(records)-1].more {
		to++
		records = l.after(revision, to)
	}
	return records
}

// slot is a facet of an object.
type slot struct {
	facet events.Facet
	ref   events.Ref
}

var _ events.Ledger = (*Ledger)(nil)

// New returns an empty ledger. The zero Faults injects none.
func New(faults Faults) *Ledger {
	return &Ledger{ids: events.NewIDs("memory"), faults: newDice(faults), last: map[slot]events.Revision{}, moved: make(chan struct{})}
}

// Append implements events.Ledger.
func (l *Ledger) Append(ctx context.Context, proposals ...events.Proposal) (events.Revision, error) {
	if err := events.CheckBatch(proposals); err != nil {
		return 0, err
	}
	return l.append(ctx, l.ids.Identify(proposals))
}

// AppendEach implements events.Ledger.
func (l *Ledger) AppendEach(ctx context.Context, proposals []events.Proposal) []events.Result {
	results := make([]events.Result, len(proposals))
	for i, p := range l.ids.Identify(proposals) {
		r := &results[i]
		if r.Err = p.Check(); r.Err == nil {
			r.Revision, r.Err = l.append(ctx, []events.Proposal{p})
		}
	}
	return results
}

func (l *Ledger) append(ctx context.Context, proposals []events.Proposal) (events.Revision, error) {
	l.faults.delay(ctx)
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("appending %s %s: %w", proposals[0].Type, proposals[0].Ref, err)
	}
	fault := l.faults.forAppend()
	switch fault {
	case lostRequest:
		return 0, errLost
	case spuriousConflict:
		return 0, fmt.Errorf("%s %s: %w", proposals[0].Type, proposals[0].Ref, events.ErrConflict)
	case duplicate:
		if _, err := l.store(proposals); err != nil {
			return 0, err
		}
	}
	revision, err := l.store(proposals)
	if err == nil && fault == lostAcknowledgement {
		return 0, errLost
	}
	return revision, err
}

// store appends proposals if their guards hold, or finds that it has done so before.
func (l *Ledger) store(proposals []events.Proposal) (events.Revision, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, fmt.Errorf("appending %s %s: the ledger is closed", proposals[0].Type, proposals[0].Ref)
	}
	for i := range proposals {
		p := &proposals[i]
		if last := l.last[slot{p.Facet, p.Ref}]; last != p.Expect {
			if revision := l.appended(proposals); revision != 0 {
				return revision, nil
			}
			return 0, fmt.Errorf("%s %s (%s, expected revision %d, found %d): %w", p.Type, p.Ref, p.Facet, p.Expect, last, events.ErrConflict)
		}
	}
	for i := range proposals {
		e := &proposals[i].Event
		header := map[string]string{}
		events.EachHeader(e, func(name, value string) { header[name] = value })
		l.add(events.Subject(e.Facet, e.Ref), header, slices.Clone(e.Payload))
		l.log[len(l.log)-1].more = i < len(proposals)-1
	}
	return l.end(), nil
}

// appended returns the revision of the last proposal if it is in the ledger: the event after the one that it expects is it.
func (l *Ledger) appended(proposals []events.Proposal) events.Revision {
	p := &proposals[len(proposals)-1]
	for _, r := range l.after(p.Expect, l.end()) {
		if r.aside == nil && r.event.Facet == p.Facet && r.event.Ref == p.Ref {
			if r.event.ID == p.ID {
				return r.event.Revision
			}
			return 0
		}
	}
	return 0
}

func (l *Ledger) add(subject string, header map[string]string, payload []byte) {
	revision := l.end() + 1
	r := record{raw: events.Raw{Revision: revision, Stored: time.Now().UTC(), Subject: subject, Payload: payload}}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		r.raw.Header = append(r.raw.Header, events.HeaderField{Name: name, Value: header[name]})
	}
	var err error
	if r.event, err = r.raw.Event(); err != nil {
		r.aside = &events.SetAside{Revision: revision, Subject: subject, Reason: err.Error()}
	}
	if facet, ref, err := events.ParseSubject(subject); err == nil {
		l.last[slot{facet, ref}] = revision
	}
	l.log = append(l.log, r)
	close(l.moved)
	l.moved = make(chan struct{})
}

// Raw appends a message as it is, well formed or not, as a foreign writer could.
func (l *Ledger) Raw(subject string, header map[string]string, payload []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(subject, header, payload)
	return nil
}

// Follow implements events.Ledger.
func (l *Ledger) Follow(ctx context.Context, start events.Start, deliver func(events.Batch) error) error {
	l.mu.Lock()
	end, trimmed := l.end(), l.trimmed
	l.mu.Unlock()
	if start.After < trimmed && !start.Present {
		return fmt.Errorf("following after revision %d, the oldest held is %d: %w", start.After, trimmed+1, events.ErrTooOld)
	}
	if start.After > end && !start.Present {
		return fmt.Errorf("following after revision %d, the ledger ends at %d: is it another ledger?", start.After, end)
	}
	at := start.After
	if start.Present {
		if err := deliver(l.present(end)); err != nil {
			return err
		}
		at = end
	} else if at == end {
		if err := deliver(events.Batch{Revision: end, Loaded: true}); err != nil {
			return err
		}
	}
	for {
		l.faults.stall(ctx)
		l.mu.Lock()
		at = max(at, l.trimmed) // as the broker does: who is overtaken by a trim misses what it took
		records, moved := l.wholeAfter(at), l.moved
		l.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(records) == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-moved:
			}
			continue
		}
		at += events.Revision(len(records))
		b := batch(records)
		b.Revision, b.Loaded = at, at >= end
		if err := deliver(b); err != nil {
			return err
		}
	}
}

func batch(records []record) (b events.Batch) {
	for _, r := range records {
		if r.aside != nil {
			b.SetAside = append(b.SetAside, *r.aside)
		} else {
			b.Events = append(b.Events, r.event)
		}
	}
	return b
}

func (l *Ledger) present(end events.Revision) events.Batch {
	l.mu.Lock()
	records := l.after(0, end)
	l.mu.Unlock()
	b := batch(lastPerFacet(records))
	b.Revision, b.Loaded = end, true
	return b
}

// lastPerFacet drops the records that a later one supersedes.
func lastPerFacet(records []record) []record {
	seen := map[string]bool{}
	var out []record
	for _, r := range slices.Backward(records) {
		if !seen[r.raw.Subject] {
			seen[r.raw.Subject] = true
			out = append(out, r)
		}
	}
	slices.Reverse(out)
	return out
}

// Read implements events.Ledger.
func (l *Ledger) Read(ctx context.Context, q events.Query, yield func(events.Event) bool) error {
	to := q.To
	if to == 0 {
		to = math.MaxUint64
	}
	l.mu.Lock()
	records := l.after(0, to)
	l.mu.Unlock()
	if q.LastPerFacet {
		records = lastPerFacet(records)
	}
	for _, r := range records {
		if r.aside != nil || r.event.Revision < q.From || !q.Selects(r.event.Facet, r.event.Ref) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !yield(r.event) {
			return nil
		}
	}
	return nil
}

// Last implements events.Ledger.
func (l *Ledger) Last(context.Context) (events.Revision, time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.log) == 0 {
		return l.trimmed, time.Time{}, nil
	}
	return l.end(), l.log[len(l.log)-1].raw.Stored, nil
}

// RevisionAt implements events.Ledger.
func (l *Ledger) RevisionAt(_ context.Context, t time.Time) (events.Revision, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trimmed + events.Revision(sort.Search(len(l.log), func(i int) bool { return l.log[i].raw.Stored.After(t) })), nil
}

// Close implements events.Ledger: what is in the ledger can still be read.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return nil
}
