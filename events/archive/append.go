package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/wakehq/wake/events"
)

// askEvery is how often, at most, it is asked where the stream begins before an append: the keeper may be another process.
const askEvery = time.Second

// asked is when that was.
type asked struct {
	mu sync.Mutex
	at time.Time
}

// Append implements events.Ledger. A facet whose last event has left the stream is guarded by 0 there; that it is still its last is known from the proposal's
// basis, or else looked up.
func (l *Ledger) Append(ctx context.Context, proposals ...events.Proposal) (events.Revision, error) {
	if err := events.CheckBatch(proposals); err != nil {
		return 0, err
	}
	if err := l.ask(ctx); err != nil {
		return 0, err
	}
	l.archive.appends.RLock()
	defer l.archive.appends.RUnlock()
	horizon := l.archive.horizon.Load()
	for i := range proposals {
		switch repeated, err := l.check(ctx, &proposals[i], horizon); {
		case err != nil:
			return 0, err
		case repeated != 0:
			return repeated + events.Revision(len(proposals)-1-i), nil // with the others of its batch
		}
	}
	sent, asked := horizon, false
	for attempt := 1; ; attempt++ {
		revision, err := l.stream.Append(ctx, guarded(proposals, sent)...)
		if !errors.Is(err, events.ErrConflict) || attempt == maxAttempts {
			return revision, err
		}
		// It may be that the stream began elsewhere than was thought.
		actual, boundsErr := l.trimmed(ctx)
		switch {
		case boundsErr != nil:
			return 0, boundsErr
		case !depends(proposals, 0, max(sent, actual)), asked && !depends(proposals, sent, actual):
			return revision, err
		}
		sent, asked = actual, true
	}
}

// trimmed returns up to where the stream is trimmed.
func (l *Ledger) trimmed(ctx context.Context) (events.Revision, error) {
	first, _, err := l.stream.Bounds(ctx)
	return max(first, 1) - 1, err
}

// AppendEach implements events.Ledger.
func (l *Ledger) AppendEach(ctx context.Context, proposals []events.Proposal) []events.Result {
	results := make([]events.Result, len(proposals))
	if err := l.ask(ctx); err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	var again []int // what is appended one by one
	func() {
		l.archive.appends.RLock()
		defer l.archive.appends.RUnlock()
		horizon := l.archive.horizon.Load()
		var sent []events.Proposal
		var index []int
		for i := range proposals {
			repeated, err := l.check(ctx, &proposals[i], horizon)
			results[i] = events.Result{Revision: repeated, Err: err}
			if repeated == 0 && err == nil {
				sent, index = append(sent, proposals[i]), append(index, i)
			}
		}
		if len(sent) == 0 {
			return
		}
		for k, r := range l.stream.AppendEach(ctx, guarded(sent, horizon)) {
			if results[index[k]] = r; errors.Is(r.Err, events.ErrConflict) {
				again = append(again, index[k])
			}
		}
		actual, err := l.trimmed(ctx)
		again = slices.DeleteFunc(again, func(i int) bool { return err != nil || !depends(proposals[i:i+1], 0, max(horizon, actual)) })
	}()
	for _, i := range again {
		results[i].Revision, results[i].Err = l.Append(ctx, proposals[i])
	}
	return results
}

// ask finds out where the stream begins, if that was a while ago.
func (l *Ledger) ask(ctx context.Context) error {
	l.asked.mu.Lock()
	defer l.asked.mu.Unlock()
	if time.Since(l.asked.at) < askEvery {
		return nil
	}
	trimmed, err := l.trimmed(ctx)
	if err != nil {
		return err
	}
	l.archive.raise(trimmed)
	l.asked.at = time.Now()
	return nil
}

// check says whether p's guard holds as far as the stream can't tell: up to horizon. It returns p's revision if it was appended before.
func (l *Ledger) check(ctx context.Context, p *events.Proposal, horizon events.Revision) (repeated events.Revision, _ error) {
	if p.Expect > horizon || p.Basis >= horizon {
		return 0, nil // the stream has what it tells of; or it was decided in the knowledge of all that the stream has not
	}
	subject := events.Subject(p.Facet, p.Ref)
	found, _, err := l.archive.lastOf(ctx, subject, horizon)
	if err != nil {
		return 0, fmt.Errorf("finding out whether %s %s may be appended: %w", p.Type, p.Ref, err)
	}
	if found.Revision == p.Expect {
		return 0, nil
	}
	if p.ID != "" {
		if repeated, err = l.archive.next(ctx, subject, p.Expect, p.ID); repeated != 0 || err != nil {
			return repeated, err
		}
	}
	return 0, fmt.Errorf("%s %s (%s, expected revision %d, found %d): %w", p.Type, p.Ref, p.Facet, p.Expect, found.Revision, events.ErrConflict)
}

// guarded returns proposals as the stream must be given them if it was trimmed up to horizon.
func guarded(proposals []events.Proposal, horizon events.Revision) []events.Proposal {
	out := make([]events.Proposal, len(proposals))
	for i, p := range proposals {
		if p.Expect <= horizon {
			p.Expect = 0
		}
		out[i] = p
	}
	return out
}

// depends says that some guard is another for a stream that is trimmed up to one revision than for one up to another.
func depends(proposals []events.Proposal, a, b events.Revision) bool {
	return slices.ContainsFunc(proposals, func(p events.Proposal) bool { return p.Expect != 0 && (p.Expect <= a) != (p.Expect <= b) })
}
