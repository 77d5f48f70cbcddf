package replication

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
)

// TestHalfABatchDecidesNothing shows a second process each beginning of each batch, as one sees it that follows the ledger: what it decides then must not be taken, for
// the rest of the batch has been stored already.
func TestHalfABatchDecidesNothing(t *testing.T) {
	w := transcript.NewWorld(transcript.Registry(t), deciders...)
	require.NoError(t, w.Apply(fmt.Appendf(nil, manifest, 4, "{}")))
	require.NoError(t, w.Settle())
	for range 3 {
		pods, err := w.Find("pods/default/*")
		require.NoError(t, err)
		for _, pod := range pods {
			require.NoError(t, w.Bind(pod, "n1"))
			require.NoError(t, w.Report(pod, "Running", true, 0))
		}
		require.NoError(t, w.Vanish(pods[0]))
		require.NoError(t, w.Settle())
	}
	require.NoError(t, w.Patch(web, []byte("spec: {replicas: 2, template: {metadata: {labels: {tier: front}}}}")))
	require.NoError(t, w.Settle())
	require.NoError(t, w.Pass(time.Minute))

	entries := w.Entries()
	shown := 0
	for first := 0; first < len(entries); {
		next := first + 1
		for next < len(entries) && inOne(entries[first].Event, entries[next].Event) {
			next++
		}
		whole := after(t, w, entries[:next])
		for seen := first + 1; seen < next; seen++ {
			shown++
			half := after(t, w, entries[:seen])
			for i, kind := range []events.GroupResource{deploymentKind, replicaSetKind} {
				for o := range half.All(kind, "") {
					if o.Ref.String() != entries[first].Event.Key {
						continue // whatever it decides, it isn't about that batch
					}
					d := deciders[i]().Decide(runner.Input{State: half, Key: o.Ref, Now: entries[first].Event.At})
					for _, group := range d.Together {
						require.True(t, slices.ContainsFunc(group, func(p events.Proposal) bool { return whole.Slot(p.Ref).Expect(p.Facet) != p.Expect }),
							"%s, seen up to %d of %d…%d, decides what the ledger takes: %d events, the first %s", o.Ref, seen, first+1, next, len(group), group[0].Type)
					}
				}
			}
		}
		first = next
	}
	require.Greater(t, shown, 10)
}

// inOne says that two events are of one decision, and so of one batch.
func inOne(a, b *events.Event) bool {
	return a.Actor == "service:replication" && b.Actor == "service:replication" && a.Key == b.Key && a.Basis == b.Basis && a.At.Equal(b.At)
}

func after(t *testing.T, w *transcript.World, entries []transcript.Entry) *events.State {
	state := events.NewState(w.State().Registry())
	for _, e := range entries {
		_, err := state.Apply(*e.Event)
		require.NoError(t, err)
	}
	return state
}
