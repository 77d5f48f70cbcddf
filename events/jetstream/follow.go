package jetstream

import (
	"context"
	"errors"
	"fmt"
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
	c, err := l.consume(ctx, from{present: start.Present, sequence: start.After + 1, filters: everything})
	for err == nil {
		err = f.drain(ctx, c)
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
}

// drain delivers what c brings until c is lost, ctx ends or deliver fails.
func (f *follower) drain(ctx context.Context, c *consumer) error {
	if c.pending == 0 && !f.loaded {
		if err := f.give([]events.Batch{{Revision: f.end}}, true); err != nil {
			return err
		}
	}
	for left := c.pending; ; {
		d, err := c.take(ctx)
		if err != nil {
			return err
		}
		// Only once all is through that was there when the consumer was made does every event follow: the present leaves out what was superseded.
		left -= min(left, d.count)
		stuck := c.stuck(d)
		if d.count > 0 {
			err = f.give(d.batches, left == 0)
		} else if stuck && !f.loaded {
			err = f.give([]events.Batch{{Revision: f.end}}, true)
		}
		if err != nil {
			return err
		}
		c.taken(d)
	}
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
	f.revision = max(f.revision, b.Revision)
	b.Revision = f.revision
	f.loaded = b.Loaded
	return f.deliver(b)
}

// again makes a consumer that goes on where the lost one ended.
func (f *follower) again(ctx context.Context, present bool) (*consumer, error) {
	start := from{sequence: f.revision + 1, filters: everything, present: present && f.revision == 0}
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
		pause(ctx, retryAfter)
	}
}
