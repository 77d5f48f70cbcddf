package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wakehq/wake/events"
)

// Where there are several brokers, a consumer is served by any of them, and that one may lag behind: for milliseconds as a rule, for as long as it takes when it was away. What it
// counts when a consumer is made says nothing then. So a reader asks the stream's leader where the ledger ends, and has read all once its broker has come as far: by a
// message, or by a heartbeat, which says how far it has looked.

const (
	// readBeats is how often a reader's broker says how far it has looked.
	readBeats = 200 * time.Millisecond
	// lagsFor is how long a broker may not come nearer until another one is tried.
	lagsFor = 5 * time.Second
)

// errLags says that a broker does not have what its leader has.
var errLags = errors.New("the broker lags behind")

// readReplicated is readRange on a ledger of several brokers.
func (l *Ledger) readReplicated(ctx context.Context, start from, to events.Revision, yield func(events.Event) bool) error {
	state, err := l.state(ctx)
	if err != nil {
		return err
	}
	if to == 0 || to > state.LastSeq {
		to = state.LastSeq
	}
	if state.FirstSeq > to || start.sequence > to {
		return nil
	}
	start.beats = readBeats
	for began := time.Now(); ; {
		var last events.Revision
		if start.present {
			err = l.readPresent(ctx, start, to, yield)
		} else {
			last, err = l.readOn(ctx, start, to, yield)
		}
		if err == nil || !errors.Is(err, errLost) && !errors.Is(err, errLags) || time.Since(began) > recoverWithin {
			return err
		}
		start.sequence = max(start.sequence, last+1)
		pause(ctx)
	}
}

// readOn yields messages up to a revision, and returns the last one.
func (l *Ledger) readOn(ctx context.Context, start from, to events.Revision, yield func(events.Event) bool) (last events.Revision, _ error) {
	c, err := l.consume(ctx, start)
	if err != nil {
		return 0, err
	}
	defer c.close()
	progress := progress{}
	for {
		d, err := c.take(ctx)
		if err != nil {
			return last, err
		}
		for i := range d.batches {
			for _, e := range d.batches[i].Events {
				if e.Revision < start.sequence {
					continue // a broker that lags behind begins where it is
				}
				if e.Revision > to || !yield(e) {
					return last, nil
				}
				last = e.Revision
			}
		}
		if d.reached >= to {
			return last, nil
		}
		if err := progress.note(d.reached); err != nil {
			return last, err
		}
		c.taken(d)
	}
}

// readPresent yields the last message of each subject, all that there were at a revision or later. Nothing is yielded of a broker that lags behind.
func (l *Ledger) readPresent(ctx context.Context, start from, to events.Revision, yield func(events.Event) bool) error {
	c, err := l.consume(ctx, start)
	if err != nil {
		return err
	}
	defer c.close()
	var all []events.Event
	for left, reached := c.pending, uint64(0); left > 0 || reached == 0; {
		d, err := c.take(ctx)
		if err != nil {
			return err
		}
		for i := range d.batches {
			all = append(all, d.batches[i].Events...)
		}
		if reached = max(reached, d.reached); left <= d.count && reached < to && !d.alive {
			reached = 0 // only a heartbeat tells how far it has looked beyond what it has sent
		}
		if left -= min(left, d.count); left == 0 && reached > 0 && reached < to {
			return errLags
		}
		if c.stuck(d) {
			break
		}
		c.taken(d)
	}
	for _, e := range all {
		if !yield(e) {
			return nil
		}
	}
	return nil
}

// progress notices when a broker comes no further.
type progress struct {
	reached uint64
	at      time.Time
}

func (p *progress) note(reached uint64) error {
	now := time.Now()
	if reached > p.reached || p.at.IsZero() {
		p.reached, p.at = max(reached, p.reached), now
	}
	if now.Sub(p.at) > lagsFor {
		return fmt.Errorf("it comes no further than revision %d: %w", p.reached, errLags)
	}
	return nil
}

// beats is how often a reader's broker is to say how far it has looked; 0 is the usual.
func (l *Ledger) beats() time.Duration {
	if l.replicated {
		return readBeats
	}
	return 0
}

// sentinel returns the subject of the message that a past state ends with: the answer of a broker that does not have that one lacks others, too. Empty if there is none.
func (l *Ledger) sentinel(ctx context.Context, revision events.Revision) (string, error) {
	if !l.replicated {
		return "", nil
	}
	found, err := l.message(ctx, map[string]any{"seq": revision, "no_hdr": true})
	return found.Subject, err
}
