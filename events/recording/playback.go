package recording

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/wakehq/wake/events"
)

// Playback is a recording as a ledger that is written again before one's eyes: whoever follows it is given each event when wait lets it pass, and what was not
// given yet can't be read. Nothing can be appended. It has one follower, and any number of readers.
type Playback struct {
	events.Ledger
	base events.Revision
	wait func(ctx context.Context, stored time.Time) error

	mu     sync.Mutex
	at     events.Revision
	stored time.Time
}

// NewPlayback plays a recording that begins after base. wait returns when the event that was stored at a time may pass, or with an error to end.
func NewPlayback(recorded events.Ledger, base events.Revision, baseTime time.Time, wait func(ctx context.Context, stored time.Time) error) *Playback {
	return &Playback{Ledger: recorded, base: base, wait: wait, at: base, stored: baseTime}
}

// Follow plays the recording to deliver: first the state before it, then event by event. After the last it waits for ctx to end.
func (p *Playback) Follow(ctx context.Context, start events.Start, deliver func(events.Batch) error) error {
	from := start.After
	if start.Present {
		from, _ = p.position()
		if err := p.present(ctx, from, deliver); err != nil {
			return err
		}
	}
	end, _, err := p.Ledger.Last(ctx)
	if err != nil {
		return err
	}
	if from < end {
		var failed error
		err = p.Ledger.Read(ctx, events.Query{From: from + 1}, func(e events.Event) bool {
			if failed = p.wait(ctx, e.Stored); failed == nil {
				p.move(e.Revision, e.Stored)
				failed = deliver(events.Batch{Events: []events.Event{e}, Revision: e.Revision, Loaded: true})
			}
			return failed == nil
		})
		if err = cmp.Or(failed, err); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// present delivers the state at a revision.
func (p *Playback) present(ctx context.Context, at events.Revision, deliver func(events.Batch) error) error {
	b := events.Batch{Revision: at, Loaded: true}
	if at > 0 {
		if err := p.Ledger.Read(ctx, events.Query{To: at, LastPerFacet: true}, func(e events.Event) bool {
			b.Events = append(b.Events, e)
			return true
		}); err != nil {
			return fmt.Errorf("reading what the recording begins with: %w", err)
		}
	}
	return deliver(b)
}

func (p *Playback) position() (events.Revision, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at, p.stored
}

func (p *Playback) move(at events.Revision, stored time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at, p.stored = max(p.at, at), stored
}

// Read reads up to where the playback is.
func (p *Playback) Read(ctx context.Context, q events.Query, yield func(events.Event) bool) error {
	at, _ := p.position()
	if at == 0 || q.From > at {
		return nil
	}
	if q.To == 0 || q.To > at {
		q.To = at
	}
	return p.Ledger.Read(ctx, q, yield)
}

// Last returns where the playback is.
func (p *Playback) Last(context.Context) (events.Revision, time.Time, error) {
	at, stored := p.position()
	return at, stored, nil
}

// RevisionAt looks up to where the playback is.
func (p *Playback) RevisionAt(ctx context.Context, t time.Time) (events.Revision, error) {
	found, err := p.Ledger.RevisionAt(ctx, t)
	at, _ := p.position()
	return min(found, at), err
}
