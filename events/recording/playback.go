package recording

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/wakehq/wake/events"
)

// Playback is a recording as a ledger that is written again before one's eyes: whoever follows it is given each event when its time has come, and what was not
// given yet can't be read. Nothing can be appended. It has one follower, and any number of readers.
type Playback struct {
	events.Ledger
	play Player

	mu     sync.Mutex
	at     events.Revision
	stored time.Time
}

// Player shows each of the events when its time has come, in order, until one of them, show or ctx gives an error.
type Player func(ctx context.Context, all iter.Seq2[events.Event, error], show func(events.Event) error) error

// NewPlayback plays a recording that begins after base.
func NewPlayback(recorded events.Ledger, base events.Revision, baseTime time.Time, play Player) *Playback {
	return &Playback{Ledger: recorded, play: play, at: base, stored: baseTime}
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
	err := p.play(ctx, p.after(ctx, from), func(e events.Event) error {
		p.move(e.Revision, e.Stored)
		return deliver(events.Batch{Events: []events.Event{e}, Revision: e.Revision, Loaded: true})
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// after gives the recorded events after a revision.
func (p *Playback) after(ctx context.Context, revision events.Revision) iter.Seq2[events.Event, error] {
	return func(yield func(events.Event, error) bool) {
		end, _, err := p.Ledger.Last(ctx)
		more := true
		if err == nil && revision < end {
			err = p.Ledger.Read(ctx, events.Query{From: revision + 1}, func(e events.Event) bool {
				more = yield(e, nil)
				return more
			})
		}
		if err != nil && more {
			yield(events.Event{}, err)
		}
	}
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
