package verify

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
	"github.com/wakehq/wake/services/verify"
)

// BenchmarkVerify decides again the history of a cluster of 100 nodes on which 20 Deployments of 40 pods with a Service each come up, roll to a
// new image and are scaled down.
func BenchmarkVerify(b *testing.B) {
	registry, err := newRegistry()
	require.NoError(b, err)
	ledger := rollouts(b)
	var decisions, folded int
	var memory runtime.MemStats
	for b.Loop() {
		report, err := verify.Run(b.Context(), verify.Config{Ledger: ledger, Registry: registry, Deciders: deciders})
		require.NoError(b, err)
		require.Zero(b, report.Diverged)
		require.Empty(b, report.Unrecorded)
		decisions, folded = decisions+report.Decisions(), folded+report.Events
	}
	runtime.ReadMemStats(&memory)
	b.ReportMetric(float64(decisions)/b.Elapsed().Seconds(), "decisions/s")
	b.ReportMetric(float64(folded)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(folded)/float64(b.N), "events/op")
}

// rollouts gives a ledger with such a history.
func rollouts(b *testing.B) *memory.Ledger {
	registry, err := newRegistry()
	require.NoError(b, err)
	var fresh []func() runner.Decider
	for i := range deciders() {
		fresh = append(fresh, func() runner.Decider { return deciders()[i] })
	}
	w := transcript.NewWorld(registry, fresh...)
	apply := func(manifest string, args ...any) { require.NoError(b, w.Apply(fmt.Appendf(nil, manifest, args...))) }
	comeUp := func() {
		for range 60 {
			require.NoError(b, w.Pass(time.Second))
			for _, ref := range w.Pods("", func(pod *corev1.Pod) bool { return pod.DeletionTimestamp != nil }) {
				require.NoError(b, w.Vanish(ref))
			}
			for _, ref := range w.Pods("", func(pod *corev1.Pod) bool { return pod.Spec.NodeName != "" && pod.Status.Phase == corev1.PodPending }) {
				require.NoError(b, w.Report(ref, corev1.PodRunning, true, 0))
			}
		}
	}
	apply(`{apiVersion: v1, kind: Namespace, metadata: {name: default}}`)
	for i := range 100 {
		apply(nodeManifest, fmt.Sprintf("n%d", i), i%3)
		apply(`{apiVersion: v1, kind: Node, metadata: {name: n%d, labels: {wake.dev/agent: "true", topology.kubernetes.io/zone: z%d}}}`, i, i%3)
	}
	deployment := func(i, replicas int) {
		apply(deploymentManifest, fmt.Sprintf("web%d", i), "default", replicas, 10, 100)
	}
	for i := range 20 {
		deployment(i, 40)
		apply(serviceManifest, fmt.Sprintf("web%d", i), "default", "NodePort", fmt.Sprintf("app: web%d", i))
	}
	comeUp()
	for i := range 20 {
		require.NoError(b, w.Patch(events.Ref{Group: "apps", Resource: "deployments", Namespace: "default", Name: fmt.Sprintf("web%d", i)},
			[]byte(`{spec: {template: {metadata: {annotations: {version: "2"}}}}}`)))
	}
	comeUp()
	for i := range 20 {
		deployment(i, 10)
	}
	comeUp()
	return stored(b, w)
}

// stored puts the history of a world into a ledger.
func stored(b *testing.B, w *transcript.World) *memory.Ledger {
	ledger, last := memory.New(memory.Faults{}), map[string]events.Revision{}
	for _, entry := range w.Entries() {
		p := events.Proposal{Event: *entry.Event}
		subject := events.Subject(p.Facet, p.Ref)
		p.Expect = last[subject]
		revision, err := ledger.Append(b.Context(), p)
		require.NoError(b, err)
		require.Equal(b, entry.Event.Revision, revision)
		last[subject] = revision
	}
	return ledger
}
