package trust_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/jetstream"
	"github.com/wakehq/wake/events/trust"
)

const benchmarkEvents = 100_000

func rate(b *testing.B) {
	b.ReportMetric(benchmarkEvents*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkCheck is what the comparison itself costs.
func BenchmarkCheck(b *testing.B) {
	ledger := &book{}
	ledger.write(strings.Repeat("x", 500), benchmarkEvents)
	d := newDesk(b, ledger)
	d.witness()
	for b.Loop() {
		require.Empty(b, d.check().Findings)
	}
	rate(b)
}

// BenchmarkStored is what reading through a broker adds: 100,000 events of 1 KiB.
func BenchmarkStored(b *testing.B) {
	dir := b.TempDir()
	p := place{filepath.Join(dir, "wake"), filepath.Join(dir, "wake.trust")}
	p.run(b, func(l *jetstream.Ledger) {
		var proposals []events.Proposal
		for i := range benchmarkEvents {
			name := fmt.Sprintf("c%06d", i)
			proposals = append(proposals, events.Proposal{Event: events.Event{Ref: events.Ref{Resource: "configmaps", Namespace: "default", Name: name}, UID: "u-" + name,
				Type: "ConfigMapCreated", Actor: "user:test", Payload: []byte(strings.Repeat("y", 1<<10)), ID: "id-" + name}})
		}
		for _, r := range l.AppendEach(b.Context(), proposals) {
			require.NoError(b, r.Err)
		}
		b.Run("raw", func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, l.ReadRaw(b.Context(), 1, 0, func(events.Raw) bool { return true }))
			}
			rate(b)
		})
		b.Run("witness", func(b *testing.B) {
			for b.Loop() {
				root := b.TempDir()
				place{filepath.Join(root, "data"), filepath.Join(root, "trust")}.witness(b, l)
			}
			rate(b)
		})
		p.witness(b, l)
		b.Run("check", func(b *testing.B) {
			for b.Loop() {
				r, err := trust.Check(b.Context(), l, trust.Options{Dir: p.trust})
				require.NoError(b, err)
				require.EqualValues(b, benchmarkEvents, r.Proven)
			}
			rate(b)
		})
	})
}
