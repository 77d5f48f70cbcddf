package bench

import (
	"context"
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/jetstream"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/scheduler"
)

const (
	schedulerNodes = 5_000
	schedulerPods  = 10_000
)

// BenchmarkScheduler places 10,000 pods on 5,000 nodes through a JetStream ledger on disk: from the moment that the scheduler starts on a ledger in
// which they wait, and from the moment that the first is created while it runs, until the view shows the last one bound. The processor time, of
// broker, view and scheduler together, is told beside the rate, as it means something on a machine that others use too.
func BenchmarkScheduler(b *testing.B) {
	b.Run("waiting", func(b *testing.B) {
		measure(b, func(c *cluster, pods []events.Proposal) (timed func()) {
			c.append(pods)
			return c.schedule
		})
	})
	b.Run("arriving", func(b *testing.B) {
		measure(b, func(c *cluster, pods []events.Proposal) (timed func()) {
			c.schedule()
			return func() { c.append(pods) }
		})
	})
}

func measure(b *testing.B, prepare func(c *cluster, pods []events.Proposal) (timed func())) {
	used := time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		c := startCluster(b)
		c.append(nodesToRegister(c))
		timed := prepare(c, podsToPlace(c))
		bound, before := c.bound(), processorTime(b)
		b.StartTimer()
		timed()
		<-bound
		b.StopTimer()
		used += processorTime(b) - before
		c.stop()
		b.StartTimer()
	}
	pods := float64(schedulerPods * b.N)
	b.ReportMetric(pods/b.Elapsed().Seconds(), "pods/s")
	b.ReportMetric(float64(used.Microseconds())/pods, "cpu-µs/pod")
}

// processorTime is what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// cluster is a ledger and the view of it.
type cluster struct {
	b      *testing.B
	ctx    context.Context
	ledger events.Ledger
	view   *events.View
	ended  chan struct{} // closed when the scheduler has ended
	stop   func()
}

func startCluster(b *testing.B) *cluster {
	registry, err := schemas.NewRegistry()
	require.NoError(b, err)
	nats, err := broker.Start(broker.Config{Dir: b.TempDir()})
	require.NoError(b, err)
	conn, err := nats.Ledger()
	require.NoError(b, err)
	ledger, err := jetstream.Open(b.Context(), conn, jetstream.Config{})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	view, err := events.OpenView(ctx, ledger, registry)
	require.NoError(b, err)
	c := &cluster{b: b, ctx: ctx, ledger: ledger, view: view, ended: make(chan struct{})}
	c.stop = func() {
		cancel()
		<-c.ended
		require.NoError(b, ledger.Close())
		conn.Close()
		require.NoError(b, nats.Close())
	}
	return c
}

// schedule starts the scheduler.
func (c *cluster) schedule() {
	go func() {
		defer close(c.ended)
		_ = runner.Runner{Decider: scheduler.New(), View: c.view, Ledger: c.ledger, Log: slog.New(slog.DiscardHandler)}.Run(c.ctx)
	}()
}

// append appends proposals and waits until the view holds them.
func (c *cluster) append(proposals []events.Proposal) {
	last := events.Revision(0)
	for _, result := range c.ledger.AppendEach(c.ctx, proposals) {
		require.NoError(c.b, result.Err)
		last = max(last, result.Revision)
	}
	_, err := c.view.WaitFor(c.ctx, last)
	require.NoError(c.b, err)
}

// bound closes its channel when all pods are bound.
func (c *cluster) bound() <-chan struct{} {
	done := make(chan struct{})
	_, cursor := c.view.Subscribe()
	go func() {
		defer close(done)
		for missing := schedulerPods; missing > 0; {
			changes, _, err := cursor.Next(c.ctx)
			if err != nil {
				c.b.Errorf("waiting for %d pods to be bound: %v", missing, err)
				return
			}
			for _, change := range changes {
				if change.Event.Type == scheduler.PodBound && change.Ref().Resource == "pods" {
					missing--
				}
			}
		}
	}()
	return done
}

func nodesToRegister(c *cluster) []events.Proposal {
	var proposals []events.Proposal
	for i := range schedulerNodes {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i), UID: types.UID(fmt.Sprintf("node-uid-%d", i)),
			Labels: map[string]string{corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i%3)}}}
		n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("128Gi"),
			corev1.ResourcePods: resource.MustParse("110")}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		proposals = append(proposals, c.born(n, "NodeRegistered")...)
	}
	return proposals
}

// podsToPlace are those of ten workloads, mixed.
func podsToPlace(c *cluster) []events.Proposal {
	var proposals []events.Proposal
	yes := true
	for i := range schedulerPods {
		owner := fmt.Sprintf("app-%d", i%10)
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("%s-%d", owner, i), UID: types.UID(fmt.Sprintf("pod-uid-%d", i)),
			Labels:          map[string]string{"app": owner},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: owner, UID: types.UID(owner), Controller: &yes}}}}
		p.Spec.SchedulerName = corev1.DefaultSchedulerName
		p.Spec.Containers = []corev1.Container{{Name: "main", Image: "demo", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")}}}}
		proposals = append(proposals, c.born(p, "PodCreated")[0])
	}
	return proposals
}

// born words an object's creation and its first status.
func (c *cluster) born(o runtime.Object, eventType string) []events.Proposal {
	state := c.view.State()
	proposals := []events.Proposal{events.Create(state, o, eventType), events.ObserveNew(state, o, "StatusReported")}
	events.Audit{Actor: "user:bench", At: time.Now()}.Sign(proposals)
	return proposals
}
