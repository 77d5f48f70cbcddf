package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wakehq/wake/events"
)

// recoverWithin is how long Follow tries to take up a lost thread again before it fails.
const recoverWithin = 15 * time.Second

var everything = []string{events.SubjectPrefix + ".>"}

// Follow implements events.Ledger.
func (l *Ledger) Follow(ctx context.Context, start events.Start, deliver func(events.Batch) error) error {
	state, err := l.state(ctx)
	switch {
	case err != nil:
		return err
	case start.Present:
	case start.After+1 < state.FirstSeq:
		return fmt.Errorf("following after revision %d, the oldest held is %d: %w", start.After, state.FirstSeq, events.ErrTooOld)
	case start.After > state.LastSeq:
		return fmt.Errorf("following after revision %d, the ledger ends at %d: is it another ledger, or one restored from a backup?", start.After, state.LastSeq)
	}
	f := &follower{ledger: l, deliver: deliver, end: state.LastSeq, revision: start.After}
	if state.FirstSeq > state.LastSeq {
		f.end = min(f.end, f.revision) // all was trimmed: nothing is to come
	}
	c, err := l.consume(ctx, from{present: start.Present, sequence: start.After + 1, filters: everything, whole: true})
	for err == nil {
		err = f.drain(ctx, c, start.Present)
		c.close()
		if errors.Is(err, errLost) {
			c, err = f.again(ctx, start.Present)
		}
	}
	return err
}

// follower is one Follow under way.
type follower struct {
	ledger   *Ledger
	deliver  func(events.Batch) error
	end      events.Revision // the ledger's end when Follow began
	revision events.Revision // delivered
	loaded   bool
	held     []events.Batch // of the present, until it is all there
}

// drain delivers what c brings until c is lost, ctx ends or deliver fails.
func (f *follower) drain(ctx context.Context, c *consumer, present bool) error {
	f.held = nil
	if f.isThrough(c.pending, f.revision) && !f.loaded {
		if err := f.give([]events.Batch{{Revision: f.end}}, true); err != nil {
			return err
		}
	}
	lag := progress{}
	for left := c.pending; ; {
		d, err := c.take(ctx)
		if err != nil {
			return err
		}
		if f.ledger.replicated && !f.loaded && lag.note(d.reached) != nil {
			return errLost // another broker may have it
		}
		// Only once all is through that was there when the consumer was made does every event follow: the present leaves out what was superseded.
		left -= min(left, d.count)
		stuck := c.stuck(d)
		if stuck {
			left = 0 // the rest can't be read
		}
		through := f.isThrough(left, d.reached)
		if present && f.ledger.replicated && !f.loaded {
			d.batches = f.hold(d.batches, through)
		}
		if len(d.batches) > 0 {
			err = f.give(d.batches, through)
		} else if through && d.alive && !f.loaded {
			err = f.give([]events.Batch{{Revision: f.end}}, true)
		}
		if err != nil {
			return err
		}
		c.taken(d)
	}
}

// isThrough says that all has come that there was when f began: left messages are missing of those that the consumer's broker had when it was made, and it has come
// up to a sequence. Of several brokers that one may have lagged behind, so that its count alone says nothing.
func (f *follower) isThrough(left, reached uint64) bool {
	return left == 0 && (!f.ledger.replicated || reached >= f.end)
}

// hold keeps what has come of the present until all of it has, and then gives it without what was superseded: a broker that lags behind gives all events of the time since.
func (f *follower) hold(more []events.Batch, through bool) (given []events.Batch) {
	f.held = append(f.held, more...)
	if !through {
		return nil
	}
	seen := map[string]bool{}
	later := func(subject string) bool {
		before := seen[subject]
		seen[subject] = true
		return before
	}
	for i := len(f.held) - 1; i >= 0; i-- {
		b := &f.held[i]
		for k := len(b.Events) - 1; k >= 0; k-- {
			if later(events.Subject(b.Events[k].Facet, b.Events[k].Ref)) {
				b.Events = slices.Delete(b.Events, k, k+1)
			}
		}
		for k := len(b.SetAside) - 1; k >= 0; k-- {
			if later(b.SetAside[k].Subject) {
				b.SetAside = slices.Delete(b.SetAside, k, k+1)
			}
		}
	}
	given, f.held = f.held, nil
	return given
}

// give delivers batches; loaded says that with the last of them all that there was has been delivered.
func (f *follower) give(batches []events.Batch, loaded bool) error {
	loaded = loaded || f.loaded
	for i, b := range batches {
		b.Loaded = f.loaded
		if i == len(batches)-1 {
			if loaded && !f.loaded {
				b.Revision = max(b.Revision, f.end) // what lies between was superseded or is held no more
			}
			b.Loaded = loaded
		}
		if err := f.hand(b); err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) hand(b events.Batch) error {
	// A broker that lags behind begins where it is, which may be before what was delivered.
	b.Events = slices.DeleteFunc(b.Events, func(e events.Event) bool { return e.Revision <= f.revision })
	b.SetAside = slices.DeleteFunc(b.SetAside, func(a events.SetAside) bool { return a.Revision <= f.revision })
	f.revision = max(f.revision, b.Revision)
	b.Revision = f.revision
	f.loaded = b.Loaded
	return f.deliver(b)
}

// again makes a consumer that goes on where the lost one ended.
func (f *follower) again(ctx context.Context, present bool) (*consumer, error) {
	start := from{sequence: f.revision + 1, filters: everything, whole: true, present: present && f.revision == 0}
	for began := time.Now(); ; {
		c, err := f.ledger.consume(ctx, start)
		switch {
		case err == nil:
			return c, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, nats.ErrConnectionClosed) || time.Since(began) > recoverWithin:
			return nil, err
		}
		pause(ctx)
	}
}
