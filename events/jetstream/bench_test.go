package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/jetstream"
	"github.com/wakehq/wake/schemas"
)

// The benchmarks compare with the raw broker in the same run: absolute rates are one machine's, ratios travel.

// chunk is how many events one round of a benchmark appends.
const chunk = 10_000

func typicalPod(i int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("web-5d4f8c7b9-%d", i), UID: types.UID(fmt.Sprintf("7a0c6f1e-2b1d-8c3e-9f00-%012d", i)),
			Labels:          map[string]string{"app": "web", "pod-template-hash": "5d4f8c7b9", "tier": "front"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-5d4f8c7b9", UID: "11111111-2222-8333-9444-555555555555"}}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "registry.example/team/web:1.2.3", Command: []string{"/bin/web", "--port=8080"},
			Env:       []corev1.EnvVar{{Name: "MODE", Value: "production"}, {Name: "LOG_LEVEL", Value: "info"}},
			Ports:     []corev1.ContainerPort{{ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("128Mi")}}}},
			RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst, SchedulerName: "default-scheduler", TerminationGracePeriodSeconds: new(int64)},
	}
}

// proposers make number i of a type of event.
func proposers(tb testing.TB) map[string]func(i int) events.Proposal {
	registry, err := schemas.NewRegistry()
	require.NoError(tb, err)
	kind, ok := registry.ByStorage("", "pods")
	require.True(tb, ok)
	sign := func(p events.Proposal) events.Proposal {
		signed := []events.Proposal{p}
		events.Audit{Actor: "service:replication", Key: "replicasets.apps/default/web-5d4f8c7b9", Cause: 1234567, Correlation: 1234560, Basis: 1234569, At: time.Now()}.Sign(signed)
		return signed[0]
	}
	return map[string]func(i int) events.Proposal{
		"PodCreated": func(i int) events.Proposal {
			pod := typicalPod(i)
			payload, err := kind.EncodeDesired(pod)
			require.NoError(tb, err)
			return sign(events.Proposal{Event: events.Event{Ref: events.Ref{Resource: "pods", Namespace: "default", Name: pod.Name}, UID: string(pod.UID), Type: "PodCreated", Payload: payload}})
		},
		"PodStarted": func(i int) events.Proposal {
			pod := typicalPod(i)
			started := metav1.NewTime(time.Unix(1_800_000_000, 0))
			pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, HostIP: "10.0.0.7", PodIP: "10.244.3.9", PodIPs: []corev1.PodIP{{IP: "10.244.3.9"}}, StartTime: &started, QOSClass: corev1.PodQOSBurstable,
				Conditions: []corev1.PodCondition{{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: started}, {Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: started},
					{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: started}},
				ContainerStatuses: []corev1.ContainerStatus{{Name: "web", Ready: true, Image: "registry.example/team/web:1.2.3", ImageID: "sha256:0f1e2d3c", ContainerID: fmt.Sprintf("docker://%064d", i),
					Started: new(true), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}}}}
			payload, err := kind.EncodeStatus(pod)
			require.NoError(tb, err)
			return sign(events.Proposal{Event: events.Event{Facet: events.Observed, Ref: events.Ref{Resource: "pods", Namespace: "default", Name: pod.Name}, UID: string(pod.UID), Type: "PodStarted",
				Payload: payload, Changed: []string{"phase", "conditions", "containerStatuses[web]"}}})
		},
		"PodBound": func(i int) events.Proposal {
			pod := typicalPod(i)
			return sign(events.Proposal{Event: events.Event{Facet: events.Assigned, Ref: events.Ref{Resource: "pods", Namespace: "default", Name: pod.Name}, UID: string(pod.UID),
				Type: "PodBound", Payload: []byte(`{"node":"node-0123"}`)}})
		},
	}
}

// BenchmarkAppend tells how AppendEach compares with guarded asynchronous publishing of the same subjects and payloads by nats.go.
func BenchmarkAppend(b *testing.B) {
	for name, propose := range proposers(b) {
		b.Run(name, func(b *testing.B) {
			own, raw := fresh(b), fresh(b)
			js, err := natsjs.New(raw.conn, natsjs.WithPublishAsyncMaxPending(2048))
			require.NoError(b, err)
			var ownTime, rawTime time.Duration
			n := 0
			for b.Loop() {
				proposals := make([]events.Proposal, chunk)
				for i := range proposals {
					proposals[i] = propose(n)
					n++
				}
				rawTime += timed(func() { publishRaw(b, js, proposals) })
				ownTime += timed(func() {
					for _, r := range own.AppendEach(b.Context(), proposals) {
						require.NoError(b, r.Err)
					}
				})
			}
			report(b, n, ownTime, rawTime)
		})
	}
}

func publishRaw(b *testing.B, js natsjs.JetStream, proposals []events.Proposal) {
	for i := range proposals {
		p := &proposals[i]
		_, err := js.PublishMsgAsync(&nats.Msg{Subject: events.Subject(p.Facet, p.Ref), Data: p.Payload}, natsjs.WithExpectLastSequencePerSubject(0))
		require.NoError(b, err)
	}
	<-js.PublishAsyncComplete()
}

func timed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

func report(b *testing.B, n int, own, raw time.Duration) {
	b.ReportMetric(float64(n)/own.Seconds(), "events/s")
	b.ReportMetric(float64(n)/raw.Seconds(), "raw/s")
	b.ReportMetric(raw.Seconds()/own.Seconds(), "of-raw")
	b.ReportMetric(0, "ns/op")
}

func fill(tb testing.TB, l events.Ledger, n int, propose func(i int) events.Proposal) {
	for at := 0; at < n; at += chunk {
		proposals := make([]events.Proposal, min(chunk, n-at))
		for i := range proposals {
			proposals[i] = propose(at + i)
		}
		for _, r := range l.AppendEach(context.Background(), proposals) {
			require.NoError(tb, r.Err)
		}
	}
}

var errEnd = errors.New("the end")

// BenchmarkFollow tells how following (decoding, and folding too) compares with a raw ordered push consumer that counts messages. The ledger holds pods that are
// created, then bound, then started; each is followed from there on, onto the state before.
//
//	decode  events are taken, nothing is done with them
//	fold    they are applied one by one, as by a view
//	hash    they are applied, and the state's hash is asked for after each
//	lazily  they are loaded without decoding objects, as when going through the past
//
// Garbage is collected as seldom as "wake up" has it collected.
func BenchmarkFollow(b *testing.B) {
	const n = 50_000
	percent := debug.SetGCPercent(200)
	defer debug.SetGCPercent(percent)
	registry, err := schemas.NewRegistry()
	require.NoError(b, err)
	l := fresh(b)
	of := proposers(b)
	base := events.NewState(registry)
	for _, name := range []string{"PodCreated", "PodBound", "PodStarted"} {
		fill(b, l, n, of[name])
		before, after := base.Fork(), base.Revision()
		followTo(b, l, base, after, after+n, "fold")
		for _, mode := range []string{"decode", "fold", "hash", "lazily"} {
			b.Run(name+"/"+mode, func(b *testing.B) {
				var own, raw []cost
				for b.Loop() {
					state := before.Fork()
					if mode == "hash" {
						state.Hash()
					}
					raw = append(raw, measured(func() { consumeRaw(b, l.conn, after+1, n) }))
					own = append(own, measured(func() { followTo(b, l, state, after, after+n, mode) }))
					require.True(b, mode == "decode" || state.Revision() == after+n)
				}
				reportMedians(b, n, own, raw)
			})
		}
		require.Equal(b, n, base.Count(events.GroupResource{Resource: "pods"}))
	}
}

// cost is what something took.
type cost struct{ time, processor time.Duration }

func measured(f func()) cost {
	processor := func() time.Duration {
		var usage syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	runtime.GC()
	began := processor()
	return cost{timed(f), processor() - began}
}

// reportMedians compares rounds of n events each with what the raw consumer took in the same round. What else runs on the machine distorts processor time less.
func reportMedians(b *testing.B, n int, own, raw []cost) {
	median := func(of func(i int) float64) float64 {
		values := make([]float64, len(own))
		for i := range values {
			values[i] = of(i)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	b.ReportMetric(median(func(i int) float64 { return float64(n) / own[i].time.Seconds() }), "events/s")
	b.ReportMetric(median(func(i int) float64 { return float64(n) / raw[i].time.Seconds() }), "raw/s")
	b.ReportMetric(median(func(i int) float64 { return raw[i].time.Seconds() / own[i].time.Seconds() }), "of-raw")
	b.ReportMetric(median(func(i int) float64 { return raw[i].processor.Seconds() / own[i].processor.Seconds() }), "processor-of-raw")
	b.ReportMetric(0, "ns/op")
}

// followTo follows l from one revision to another.
func followTo(b *testing.B, l events.Ledger, state *events.State, after, end events.Revision, mode string) {
	err := l.Follow(b.Context(), events.Start{After: after}, func(batch events.Batch) error {
		pointers := make([]*events.Event, 0, len(batch.Events))
		for i := range batch.Events {
			switch mode {
			case "fold", "hash":
				if _, err := state.Apply(batch.Events[i]); err != nil {
					return err
				}
				if mode == "hash" {
					state.Hash()
				}
			case "lazily":
				pointers = append(pointers, &batch.Events[i])
			}
		}
		if mode == "lazily" {
			if aside := state.LoadLazily(pointers, events.Recent{}); len(aside) > 0 {
				return errors.New(aside[0].Reason)
			}
		}
		if batch.Revision == end {
			return errEnd
		}
		return nil
	})
	require.ErrorIs(b, err, errEnd)
}

func consumeRaw(b testing.TB, conn *nats.Conn, first events.Revision, n int64) {
	js, err := conn.JetStream()
	require.NoError(b, err)
	var seen atomic.Int64
	var done sync.WaitGroup
	done.Add(1)
	sub, err := js.Subscribe("ledger.>", func(*nats.Msg) {
		if seen.Add(1) == n {
			done.Done()
		}
	}, nats.OrderedConsumer(), nats.StartSequence(first), nats.BindStream(jetstream.StreamName))
	require.NoError(b, err)
	require.NoError(b, sub.SetPendingLimits(-1, -1))
	done.Wait()
	require.NoError(b, sub.Unsubscribe())
}

// BenchmarkRestart tells how long it takes from nothing to a loaded view of 100,000 pods, half of them bound.
func BenchmarkRestart(b *testing.B) {
	const pods = 100_000
	registry, err := schemas.NewRegistry()
	require.NoError(b, err)
	dir := b.TempDir()
	of := proposers(b)
	func() {
		br, err := broker.Start(broker.Config{Dir: dir})
		require.NoError(b, err)
		conn, err := br.Ledger()
		require.NoError(b, err)
		l := openLedger(b, conn)
		fill(b, l, pods, of["PodCreated"])
		fill(b, l, pods/2, of["PodBound"])
		require.NoError(b, l.Close())
		conn.Close()
		require.NoError(b, br.Close())
	}()
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		br, err := broker.Start(broker.Config{Dir: dir})
		require.NoError(b, err)
		conn, err := br.Ledger()
		require.NoError(b, err)
		l, err := jetstream.Open(ctx, conn, jetstream.Config{})
		require.NoError(b, err)
		view, err := events.OpenView(ctx, l, registry)
		require.NoError(b, err)
		b.StopTimer()
		require.Equal(b, pods, view.State().Count(events.GroupResource{Resource: "pods"}))
		cancel()
		conn.Close()
		require.NoError(b, br.Close())
		b.StartTimer()
	}
}
