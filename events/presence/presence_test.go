package presence_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/presence"
)

const keys = 100

// member joins a group that runs until leave is called, or the test ends.
func member(t *testing.T, b *broker.Broker, id string) (g *presence.Group, leave func()) {
	t.Helper()
	conn, err := b.Ledger()
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	g = presence.Join(conn, "kind", presence.Member{ID: id})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		_ = g.Run(ctx)
		close(done)
	}()
	leave = func() { cancel(); <-done }
	t.Cleanup(leave)
	return g, leave
}

// owned counts a group's keys.
func owned(groups ...*presence.Group) (counts []int) {
	for _, g := range groups {
		n := 0
		for i := range keys {
			if g.Owns(fmt.Sprint("key-", i)) {
				n++
			}
		}
		counts = append(counts, n)
	}
	return counts
}

// moved waits until a group's view has changed so that check holds.
func moved(t *testing.T, g *presence.Group, what string, check func() bool) {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		next := g.Moved()
		if check() {
			return
		}
		select {
		case <-next:
		case <-late:
			require.Fail(t, what)
		}
	}
}

// Whoever begins owns nothing before it knows the others, and until then what they own stays theirs: no key is nobody's meanwhile.
func TestAKeyIsNobodysNeverWhileAMemberComes(t *testing.T) {
	b, err := broker.Start(broker.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	first, _ := member(t, b, "first")
	moved(t, first, "the first never owned anything", func() bool { return owned(first)[0] == keys })

	second, leave := member(t, b, "second")
	moved(t, first, "the first never heard of the second", func() bool { members, _ := first.Members(); return len(members) == 2 })
	counts := owned(first, second)
	if _, settled := second.Members(); !settled { // else this came too late to see it
		require.Equal(t, []int{keys, 0}, counts)
	}
	moved(t, second, "the second never owned anything", func() bool { return owned(second)[0] > 0 })
	moved(t, first, "the first never left the second its part", func() bool { return owned(first)[0] < keys })
	shared := owned(first, second)
	require.Equal(t, keys, shared[0]+shared[1], "each key is one's: %v", shared)
	require.InDelta(t, keys/2, shared[0], keys/4)

	leave()
	moved(t, first, "the first didn't take over from one that left", func() bool { return owned(first)[0] == keys })
}
