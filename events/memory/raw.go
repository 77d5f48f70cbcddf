package memory

import (
	"context"
	"fmt"

	"github.com/wakehq/wake/events"
)

var (
	_ events.RawReader = (*Ledger)(nil)
	_ events.Trimmer   = (*Ledger)(nil)
)

// Bounds implements events.RawReader.
func (l *Ledger) Bounds(context.Context) (first, last events.Revision, _ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end() == 0 {
		return 0, 0, nil
	}
	return l.trimmed + 1, l.end(), nil
}

// ReadRaw implements events.RawReader.
func (l *Ledger) ReadRaw(ctx context.Context, from, to events.Revision, yield func(events.Raw) bool) error {
	from = max(from, 1)
	l.mu.Lock()
	trimmed := l.trimmed
	if to == 0 {
		to = l.end()
	}
	records := l.after(from-1, to)
	l.mu.Unlock()
	if from <= trimmed {
		return fmt.Errorf("reading from revision %d, the oldest held is %d: %w", from, trimmed+1, events.ErrTooOld)
	}
	for _, r := range records {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !yield(r.raw) {
			return nil
		}
	}
	return nil
}

// Trim implements events.Trimmer.
func (l *Ledger) Trim(_ context.Context, revision events.Revision) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if revision > l.end() {
		return fmt.Errorf("trimming the ledger up to revision %d: it ends at %d", revision, l.end())
	}
	if revision <= l.trimmed {
		return nil
	}
	l.log = l.log[revision-l.trimmed:]
	l.trimmed = revision
	for s, last := range l.last {
		if last <= revision {
			delete(l.last, s)
		}
	}
	return nil
}
