package simulation

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/services/simulation"
)

// BenchmarkKilledNode asks what ten minutes without one of its nodes would do to a cluster.
func BenchmarkKilledNode(b *testing.B) {
	for _, size := range []struct{ nodes, pods int }{{100, 1000}, {1000, 10000}, {5000, 10000}} {
		b.Run(fmt.Sprintf("nodes=%d,pods=%d", size.nodes, size.pods), func(b *testing.B) {
			manifests := []string{nodes(size.nodes, "16", false)}
			for i := range size.pods / 50 {
				manifests = append(manifests, deployment(fmt.Sprintf("web%d", i), 50, "100m"))
			}
			state := grow(b, manifests...)
			for b.Loop() {
				r := ask(b, state, simulation.Question{Kill: []string{"n3"}, For: 10 * time.Minute})
				require.NotEmpty(b, r.Evicted)
				require.Len(b, r.Placed, len(r.Evicted))
			}
		})
	}
}
