package replication

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/wakehq/wake/services/runner/owned"
	"github.com/wakehq/wake/services/runner/transcript"
)

// scaled returns a world in which a Deployment has been given that many replicas.
func scaled(t testing.TB, replicas int) *transcript.World {
	w := transcript.NewWorld(transcript.Registry(t), deciders...)
	require.NoError(t, w.Apply(fmt.Appendf(nil, manifest, 0, "{type: RollingUpdate}")))
	require.NoError(t, w.Settle())
	require.NoError(t, w.Patch(web, fmt.Appendf(nil, "spec: {replicas: %d}", replicas)))
	require.NoError(t, w.Settle())
	return w
}

func TestManyReplicasComeInFewBatches(t *testing.T) {
	w := scaled(t, 1200)
	perDecision := map[uint64]int{}
	for _, entry := range w.Entries() {
		if entry.Event.Type == "PodCreated" {
			perDecision[entry.Event.Basis]++
		}
	}
	require.Len(t, perDecision, 2)
	for _, pods := range perDecision {
		require.LessOrEqual(t, pods, maxGroup)
	}
	for o := range w.State().All(podKind, "") {
		require.NoError(t, w.Bind(o.Ref, "n1"))
		require.NoError(t, w.Report(o.Ref, "Running", true, 0))
	}
	require.NoError(t, w.Pass(time.Second))
	o, _ := w.State().Get(web)
	require.EqualValues(t, 1200, o.Typed().(*appsv1.Deployment).Status.AvailableReplicas)
	require.NoError(t, w.Patch(web, []byte("spec: {replicas: 0}")))
	require.NoError(t, w.Pass(time.Second))
	h := history{World: w}
	require.Empty(t, h.pods(owned.Active))
}

// One operation is a Deployment scaled from nothing to b's number of replicas: deciding and folding, without a ledger.
func BenchmarkScale(b *testing.B) {
	for _, replicas := range []int{500, 5000} {
		b.Run(fmt.Sprint(replicas), func(b *testing.B) {
			for b.Loop() {
				scaled(b, replicas)
			}
			b.ReportMetric(float64(replicas)*float64(b.N)/b.Elapsed().Seconds(), "pods/s")
		})
	}
}
