package verify

import (
	"flag"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/jetstream"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/verify"
)

var runs = flag.Int("runs", 100, "how many random histories are verified; -short verifies a tenth")

// verified verifies all of a cluster's history.
func (c *cluster) verified(deciders func() []runner.Decider) verify.Report {
	report, err := verify.Run(c.Context(), verify.Config{Ledger: c.ledger, Registry: c.registry, Deciders: deciders})
	require.NoError(c, err)
	return report
}

// On unchanged code every decision comes out as it was recorded, whatever happened to those who made it.
func TestRandomHistoriesAreVerified(t *testing.T) {
	decisions, n := map[string]int{}, *runs
	if testing.Short() {
		n = max(1, n/10)
	}
	for seed := range uint64(n) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			size, faults := small, everythingWrong
			if seed%25 == 24 {
				size = large
			}
			if seed%2 == 1 {
				faults = withDelays
			}
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, seed, size, faults)
				c.day(3 * time.Minute)
				report := c.verified(deciders)
				for i := range report.Divergences {
					t.Error(report.Divergences[i].String())
				}
				require.Zero(t, report.Diverged)
				require.Empty(t, report.NotVerified)
				require.Zero(t, report.SetAside, report.Aside)
				state, err := c.view.WaitFor(t.Context(), report.Revision)
				require.NoError(t, err)
				require.Equal(t, state.Hash(), report.Hash)
				for _, s := range report.Services {
					decisions[s.Name] += s.Decisions
				}
				require.Equal(t, c.countDecided(), recorded(&report))
				t.Logf("%d events, %d decisions again in %s; unrecorded: %+v", report.Events, report.Decisions(), report.Took, report.Unrecorded)
			})
		})
	}
	for _, decider := range deciders() {
		require.NotZero(t, decisions[decider.Name()], "%s decided nothing in all these histories", decider.Name())
	}
}

func recorded(r *verify.Report) (n int) {
	for _, s := range r.Services {
		n += s.Recorded
	}
	return n
}

// countDecided counts the events that name a decision.
func (c *cluster) countDecided() (n int) {
	require.NoError(c, c.ledger.Read(c.Context(), events.Query{}, func(e events.Event) bool {
		if e.Key != "" {
			n++
		}
		return true
	}))
	return n
}

// On the real ledger, in real time.
func TestAHistoryInJetStreamIsVerified(t *testing.T) {
	server, err := broker.Start(broker.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	conn, err := server.Ledger()
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	ledger, err := jetstream.Open(t.Context(), conn, jetstream.Config{})
	require.NoError(t, err)
	c := newClusterOn(t, 7, size{nodes: 5, replicas: 20, users: 3}, ledger)
	c.day(6 * time.Second)
	for c.countDecided() < 150 { // the machine is busy
		c.day(2 * time.Second)
	}
	report := c.verified(deciders)
	require.Zero(t, report.Diverged, report.Divergences)
	require.Greater(t, report.Decisions(), 20)
	require.Equal(t, c.countDecided(), recorded(&report))
	state, err := c.view.WaitFor(t.Context(), report.Revision)
	require.NoError(t, err)
	require.Equal(t, state.Hash(), report.Hash)
	t.Logf("%d events, %d decisions again in %s; unrecorded: %+v", report.Events, report.Decisions(), report.Took, report.Unrecorded)
}
