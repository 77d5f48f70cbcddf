package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/jetstream"
	"github.com/wakehq/wake/gateway/ledgerapi"
)

// podsWithHistory appends how a number of pods are created, bound, and started and stopped again and again: so many events each.
func podsWithHistory(b *testing.B, c *cluster, pods, each int) {
	b.Helper()
	state := c.view.State()
	var proposals []events.Proposal
	for i := range pods {
		p := pod(fmt.Sprint("pod-", i))
		p.Namespace, p.UID = "default", types.UID(fmt.Sprint("uid-", i))
		proposals = append(proposals, events.Create(state, p, "PodCreated"))
	}
	for round := range each {
		events.Audit{Actor: "service:replication", Cause: 1, Correlation: 1, At: time.Now()}.Sign(proposals)
		last := events.Revision(0)
		for chunk := range slices.Chunk(proposals, events.MaxBatch) {
			for _, result := range c.ledger.AppendEach(b.Context(), chunk) {
				require.NoError(b, result.Err)
				last = max(last, result.Revision)
			}
		}
		require.Eventually(b, func() bool { return c.view.State().Revision() >= last }, time.Minute, time.Millisecond)
		proposals = proposals[:0]
		for o := range c.view.State().All(events.GroupResource{Resource: "pods"}, "") {
			p := o.Typed().DeepCopyObject().(*corev1.Pod)
			p.Status.Phase = corev1.PodRunning
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", RestartCount: int32(round), Image: "demo"}}
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: []corev1.ConditionStatus{"True", "False"}[round%2]}, {Type: corev1.PodInitialized, Status: "True"}}
			proposals = append(proposals, events.Observe(o, p, "PodStarted", "status.phase"))
		}
	}
}

// BenchmarkChanges asks about 10,000 events of 500 pods, at the end of a ledger of twice that.
func BenchmarkChanges(b *testing.B) {
	nats, err := broker.Start(broker.Config{Dir: b.TempDir()})
	require.NoError(b, err)
	b.Cleanup(func() { _ = nats.Close() })
	connection, err := nats.Ledger()
	require.NoError(b, err)
	ledger, err := jetstream.Open(b.Context(), connection, jetstream.Config{})
	require.NoError(b, err)
	c := newClusterOn(b, ledger)
	podsWithHistory(b, c, 500, 40)
	half := c.last(b).Revision - 10_000
	for _, question := range []struct{ name, query string }{
		{"log", fmt.Sprintf("/events?from=%d", half+1)},
		{"log with changes", fmt.Sprintf("/events?from=%d&changes=1", half+1)},
		{"log of a path", fmt.Sprintf("/events?from=%d&path=status.containerStatuses.restartCount", half+1)},
		{"tail with changes", "/events?tail=100&changes=1"},
		{"one object with changes", "/events?ref=pods/default/pod-7&changes=1"},
		{"diff", fmt.Sprintf("/diff?from=%d", half)},
		{"diff with status", fmt.Sprintf("/diff?from=%d&status=1", half)},
		{"blame", "/blame?ref=pods/default/pod-7&status=1"},
		{"why", "/why?ref=pods/default/pod-7"},
		{"impact of the first", "/impact?event=1"},
	} {
		b.Run(question.name, func(b *testing.B) {
			for b.Loop() {
				request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, c.config.Host+ledgerapi.Prefix+question.query, nil)
				require.NoError(b, err)
				response, err := c.http.Do(request)
				require.NoError(b, err)
				n, err := io.Copy(io.Discard, response.Body)
				require.NoError(b, err)
				require.NoError(b, response.Body.Close())
				require.Equal(b, http.StatusOK, response.StatusCode)
				b.ReportMetric(float64(n)/1e6, "MB")
			}
		})
	}
}
