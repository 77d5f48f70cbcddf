package fabric

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Only timeouts of requests that were under way while the client was stopped are no failures.
func TestStarvedRequestsAreNoFailures(t *testing.T) {
	began := time.Now()
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	late := Failure{At: at(500), Err: context.DeadlineExceeded}
	refused := Failure{At: at(500), Err: errors.New("connection refused")}
	before, after := Failure{At: at(0), Err: context.DeadlineExceeded}, Failure{At: at(2100), Err: context.DeadlineExceeded}
	c := &Counting{client: Client{Timeout: time.Second}, stalls: []stall{{at(1200), at(2000)}},
		tally: Tally{Total: 4, Failures: []Failure{before, late, refused, after}}}
	told := c.telling()
	require.Equal(t, []Failure{before, refused, after}, told.Failures)
	require.Equal(t, 1, told.Starved)
	require.Len(t, c.tally.Failures, 4)
	require.Contains(t, told.String(), "3 failed of 4, longest gap 0s (1 timed out while")
}

func TestAClientOnTimeIsNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := &Counting{}
		c.done.Go(func() { c.watch(ctx) })
		time.Sleep(time.Minute)
		c.mu.Lock()
		require.Empty(t, c.stalls)
		c.mu.Unlock()
		cancel()
		c.done.Wait()
	})
}
