package feed

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/jetstream"
	"github.com/wakehq/wake/events/nodewire"
)

// overABroker starts a broker, a ledger in it, a feed, and the client of a registered node called node.one.
func overABroker(ctx context.Context, t *testing.T) (*events.View, events.Ledger, *nodewire.Client) {
	ctx, cancel := context.WithCancel(ctx)
	b, err := broker.Start(broker.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	toLedger, err := b.Ledger()
	require.NoError(t, err)
	ledger, err := jetstream.Open(ctx, toLedger, jetstream.Config{})
	require.NoError(t, err)
	view, err := events.OpenView(ctx, ledger, kinds())
	require.NoError(t, err)
	toNodes, err := b.Nodes()
	require.NoError(t, err)
	var feed sync.WaitGroup
	feed.Go(func() {
		assert.ErrorIs(t, New(Config{View: view, Ledger: ledger, Line: nodewire.NewServer(toNodes), Log: slog.Default()}).Run(ctx), context.Canceled)
	})
	t.Cleanup(func() {
		cancel()
		feed.Wait()
		_ = ledger.Close()
	})
	toFeed, err := b.Nodes()
	require.NoError(t, err)
	client := nodewire.NewClient(toFeed, "node.one")
	require.Eventually(t, func() bool {
		answer, err := client.ReportNode(ctx, nodeReport(corev1.ConditionTrue))
		return err == nil && answer.Error == ""
	}, 30*time.Second, 10*time.Millisecond)
	return view, ledger, client
}

// TestOverABroker walks a pod's life from binding to tombstone with a real node at the other end of a real line.
func TestOverABroker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	view, ledger, client := overABroker(ctx, t)
	incoming, err := client.Slices(ctx)
	require.NoError(t, err)
	full := <-incoming
	require.True(t, full.Full)
	if len(full.Objects) == 0 {
		full = <-incoming // the feed had not seen the node yet when it was asked
	}
	require.Len(t, full.Objects, 1, "the node itself")

	do := func(proposals ...events.Proposal) *events.State {
		events.Audit{Actor: "user:tester", At: time.Now()}.Sign(proposals)
		revision, err := ledger.Append(ctx, proposals...)
		require.NoError(t, err)
		state, err := view.WaitFor(ctx, revision)
		require.NoError(t, err)
		return state
	}
	settled := func() *events.State {
		last, _, err := ledger.Last(ctx)
		require.NoError(t, err)
		state, err := view.WaitFor(ctx, last)
		require.NoError(t, err)
		return state
	}
	await := func(resource nodewire.Resource) nodewire.Object {
		for slice := range incoming {
			for _, o := range slice.Objects {
				if o.Resource == resource {
					return o
				}
			}
		}
		t.Fatal("the line ended")
		return nodewire.Object{}
	}
	web := pod("web")
	web.UID = "web-uid"
	state := do(events.Create(view.State(), web, "PodCreated"))
	o, _ := state.Get(podName("web").ref())
	do(events.Place(o, events.Placement{Node: "node.one"}, "PodBound"))
	arrived := await(nodewire.Pods)
	require.Equal(t, "web-uid", arrived.UID)

	answer, err := client.ReportPod(ctx, nodewire.PodReport{Namespace: "default", Name: "web", UID: arrived.UID, Cause: arrived.Cause, Type: "ContainerStarted",
		At: time.Now(), Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.1.0.2"}})
	require.NoError(t, err)
	require.Empty(t, answer.Error)
	o, _ = settled().Get(podName("web").ref())
	require.Equal(t, "10.1.0.2", o.Typed().(*corev1.Pod).Status.PodIP)
	require.Equal(t, arrived.Cause, o.Facet(events.Observed).Cause)
	require.NoError(t, client.Heartbeat(ctx))

	ending := o.Typed().(*corev1.Pod).DeepCopy()
	now := metav1.Now()
	ending.DeletionTimestamp = &now
	do(events.Alter(o, ending, "PodDeletionRequested"))
	asked := await(nodewire.Pods)
	answer, err = client.ReportPod(ctx, nodewire.PodReport{Namespace: "default", Name: "web", UID: asked.UID, Cause: asked.Cause, Type: "PodStopped",
		At: time.Now(), Status: corev1.PodStatus{Phase: corev1.PodSucceeded}, Removed: true})
	require.NoError(t, err)
	require.Empty(t, answer.Error)
	require.True(t, await(nodewire.Pods).Deleted)
	_, exists := settled().Get(podName("web").ref())
	require.False(t, exists)
}
