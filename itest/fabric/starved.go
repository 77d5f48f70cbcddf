package fabric

import (
	"context"
	"slices"
	"time"
)

// starved is how late a client's clock may be. If it is later, the client was stopped, as all of its machine may have been.
const starved = 300 * time.Millisecond

// stall is a time in which a client was stopped.
type stall struct{ from, to time.Time }

// watch notes when the client was stopped, until ctx ends.
func (c *Counting) watch(ctx context.Context) {
	tick := time.NewTicker(starved / 10)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		if now.Sub(last) > starved {
			c.mu.Lock()
			c.stalls = append(c.stalls, stall{last, now})
			c.mu.Unlock()
		}
		last = now
	}
}

// telling returns the tally, without the failures that say nothing of what was asked. c.mu is held.
func (c *Counting) telling() Tally {
	t := c.tally
	t.Failures = slices.DeleteFunc(slices.Clone(t.Failures), func(f Failure) bool {
		return plain(f.Err) == timedOut && slices.ContainsFunc(c.stalls, func(s stall) bool {
			return s.from.Before(f.At.Add(c.client.Timeout)) && s.to.After(f.At)
		})
	})
	t.Starved = len(c.tally.Failures) - len(t.Failures)
	return t
}
