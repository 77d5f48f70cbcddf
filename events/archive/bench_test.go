package archive_test

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
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
	"github.com/wakehq/wake/events/archive"
	"github.com/wakehq/wake/events/jetstream"
	"github.com/wakehq/wake/events/segment"
	"github.com/wakehq/wake/events/timetravel"
	"github.com/wakehq/wake/schemas"
)

// The benchmarks' history: pods are made, bound, and report what becomes of them.
const (
	eventsPerPod = 10
	chunk        = 10_000
)

// benchEvents is how many events the history has; WAKE_BENCH_EVENTS says otherwise than a million.
func benchEvents() int {
	if n, err := strconv.Atoi(os.Getenv("WAKE_BENCH_EVENTS")); err == nil {
		return n
	}
	return 1_000_000
}

// writer appends the history.
type writer struct {
	b      *testing.B
	kind   *schemas.Kind
	random *rand.Rand
	pods   int
	stage  []int // of each pod
	last   [][3]events.Revision
}

func benchPod(i int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprint("team-", i%20), Name: fmt.Sprintf("web-5d4f8c7b9-%d", i), UID: types.UID(fmt.Sprintf("7a0c6f1e-2b1d-8c3e-9f00-%012d", i)),
			Labels:          map[string]string{"app": "web", "pod-template-hash": "5d4f8c7b9", "tier": "front"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-5d4f8c7b9", UID: "11111111-2222-8333-9444-555555555555"}}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "registry.example/team/web:1.2.3", Command: []string{"/bin/web", "--port=8080"},
			Env:       []corev1.EnvVar{{Name: "MODE", Value: "production"}, {Name: "LOG_LEVEL", Value: "info"}},
			Ports:     []corev1.ContainerPort{{ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("128Mi")}}}},
			RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst, SchedulerName: "default-scheduler"},
	}
}

func (w *writer) status(i, stage int) *corev1.Pod {
	at := metav1.NewTime(time.Unix(1_700_000_000+int64(w.random.IntN(1e6)), 0))
	pod := benchPod(i)
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.%d.%d.%d", w.random.IntN(256), w.random.IntN(256), w.random.IntN(256)), StartTime: &at,
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: at}, {Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: at}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "web", Ready: true, RestartCount: int32(stage), Image: "registry.example/team/web:1.2.3",
			ContainerID: fmt.Sprintf("docker://%016x%016x%016x%016x", w.random.Uint64(), w.random.Uint64(), w.random.Uint64(), w.random.Uint64()),
			State:       corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}}}}}
	return pod
}

// next makes an event of a random pod.
func (w *writer) next() (events.Proposal, int) {
	i := w.random.IntN(w.pods)
	stage := w.stage[i]
	w.stage[i]++
	p := events.Proposal{Event: events.Event{Ref: events.Ref{Resource: "pods", Namespace: fmt.Sprint("team-", i%20), Name: fmt.Sprintf("web-5d4f8c7b9-%d", i)}, UID: string(benchPod(i).UID)}}
	var err error
	switch stage {
	case 0:
		p.Type = "PodCreated"
		p.Payload, err = w.kind.EncodeDesired(benchPod(i))
	case 1:
		p.Facet, p.Type, p.Payload = events.Assigned, "PodBound", []byte(fmt.Sprintf(`{"node":"node-%04d"}`, w.random.IntN(5000)))
	default:
		p.Facet, p.Type, p.Changed = events.Observed, "PodStatusChanged", []string{"status.containerStatuses[web].restartCount"}
		p.Payload, err = w.kind.EncodeStatus(w.status(i, stage))
		if stage%3 == 0 {
			p.Note = &events.Note{Reason: "Started", Message: "Started container web"}
		}
	}
	require.NoError(w.b, err)
	p.Expect = w.last[i][p.Facet]
	signed := []events.Proposal{p}
	events.Audit{Actor: "service:replication", Key: "replicasets.apps/default/web-5d4f8c7b9", Cause: 1234567, Correlation: 1234560, Basis: 1234569, At: time.Now()}.Sign(signed)
	return signed[0], i
}

// write appends n events. No pod is twice in one chunk, so that they go out without waiting.
func (w *writer) write(l events.Ledger, n int) {
	for n > 0 {
		var proposals []events.Proposal
		var pods []int
		taken := map[int]bool{}
		for len(proposals) < min(chunk, n) {
			p, i := w.next()
			if taken[i] && w.pods > chunk {
				w.stage[i]--
				continue
			}
			taken[i] = true
			proposals, pods = append(proposals, p), append(pods, i)
			w.last[i][p.Facet] = 0
		}
		for k, r := range l.AppendEach(context.Background(), proposals) {
			require.NoError(w.b, r.Err)
			w.last[pods[k]][proposals[k].Facet] = r.Revision
		}
		n -= len(proposals)
	}
}

func size(tb testing.TB, dir string) (bytes int64) {
	require.NoError(tb, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return nil
	}))
	return bytes
}

// eventBytes tells what the segments would take without their states.
func eventBytes(b *testing.B, a *archive.Archive) float64 {
	var out discard
	l, err := segment.NewWriter(&out, segment.Header{})
	require.NoError(b, err)
	require.NoError(b, a.Each(b.Context(), func(r *segment.Reader) error {
		return r.Events(0, 0, func(e events.Raw) bool { return l.Event(e) == nil })
	}))
	_, err = l.Close()
	require.NoError(b, err)
	return float64(out)
}

type discard int64

func (d *discard) Write(data []byte) (int, error) {
	*d += discard(len(data))
	return len(data), nil
}

func report(b *testing.B, durations []time.Duration) {
	slices.Sort(durations)
	b.ReportMetric(float64(durations[len(durations)/2].Microseconds())/1000, "median-ms")
	b.ReportMetric(float64(durations[len(durations)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

func timed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// BenchmarkHistory tells what reading a long history through the archive costs.
func BenchmarkHistory(b *testing.B) {
	n := benchEvents()
	registry, err := schemas.NewRegistry()
	require.NoError(b, err)
	kind, ok := registry.ByStorage("", "pods")
	require.True(b, ok)
	w := &writer{b: b, kind: kind, random: rand.New(rand.NewPCG(1, 1)), pods: n / eventsPerPod}
	w.stage, w.last = make([]int, w.pods), make([][3]events.Revision, w.pods)
	dir, archiveDir := b.TempDir(), b.TempDir()
	s := openBroker(b, dir)
	w.write(s, n)
	a := openDir(b, archiveDir, archive.Config{Cluster: "bench"})
	l, err := archive.NewLedger(b.Context(), s, a)
	require.NoError(b, err)
	keeper := archive.NewKeeper(a, s)
	took := timed(func() { require.NoError(b, keeper.Step(b.Context())) })
	status, err := a.Status(b.Context())
	require.NoError(b, err)
	b.Run("archiving", func(b *testing.B) {
		for b.Loop() { // it is done once only
		}
		b.ReportMetric(float64(status.Last)/took.Seconds(), "events/s")
		b.ReportMetric(status.BytesPerEvent, "segment-bytes/event")
		b.ReportMetric(float64(size(b, dir))/float64(n), "stream-bytes/event")
		b.ReportMetric(float64(status.Segments), "segments")
		b.ReportMetric(eventBytes(b, a)/float64(status.Last), "events-alone-bytes/event")
		b.ReportMetric(0, "ns/op")
	})
	archived := int(status.Last)

	lookups(b, w, l, n)
	folds(b, w, l, registry, n)
	presents(b, l, s)
	replays(b, l, s, archived)
	b.Run("compressed stream", func(b *testing.B) {
		for b.Loop() {
			compressed(b, s, dir, min(n, 200_000))
		}
	})
}

// median runs read again and again.
func median(b *testing.B, name string, read func(b *testing.B)) {
	b.Run(name, func(b *testing.B) {
		var durations []time.Duration
		for b.Loop() {
			durations = append(durations, timed(func() { read(b) }))
		}
		report(b, durations)
	})
}

func lookups(b *testing.B, w *writer, l *archive.Ledger, n int) {
	read := func(b *testing.B, q events.Query) {
		require.NoError(b, l.Read(b.Context(), q, func(events.Event) bool { return true }))
	}
	ref := func() *events.Ref {
		pod := benchPod(w.random.IntN(w.pods))
		return &events.Ref{Resource: "pods", Namespace: pod.Namespace, Name: pod.Name}
	}
	at := func() events.Revision { return events.Revision(1 + w.random.IntN(n)) }
	median(b, "object at a revision", func(b *testing.B) { read(b, events.Query{Ref: ref(), To: at(), LastPerFacet: true}) })
	median(b, "history of an object", func(b *testing.B) { read(b, events.Query{Ref: ref()}) })
	median(b, "state at a revision", func(b *testing.B) { read(b, events.Query{To: at(), LastPerFacet: true}) })
}

// folds are lookups with what is made of the events.
func folds(b *testing.B, w *writer, l *archive.Ledger, registry *schemas.Registry, n int) {
	median(b, "state folded at a revision", func(b *testing.B) {
		_, err := timetravel.New(l, registry).StateAt(b.Context(), events.Revision(1+w.random.IntN(n)))
		require.NoError(b, err)
	})
}

func presents(b *testing.B, l *archive.Ledger, s onBroker) {
	for name, ledger := range map[string]events.Ledger{"present": l, "present from the stream": s} {
		median(b, name, func(b *testing.B) {
			require.ErrorIs(b, ledger.Follow(b.Context(), events.Start{Present: true}, untilLoaded), errDone)
		})
	}
}

var errDone = fmt.Errorf("done")

func untilLoaded(batch events.Batch) error {
	if batch.Loaded {
		return errDone
	}
	return nil
}

// replays compares reading everything with a raw consumer.
func replays(b *testing.B, l *archive.Ledger, s onBroker, n int) {
	for name, replay := range map[string]func(){
		"raw consumer": func() { consumeRaw(b, s.conn, int64(n)) },
		"archive, raw": func() {
			require.NoError(b, l.ReadRaw(b.Context(), 1, events.Revision(n), func(events.Raw) bool { return true }))
		},
		"archive, decoded": func() {
			require.ErrorIs(b, l.Follow(b.Context(), events.Start{}, func(batch events.Batch) error {
				if batch.Revision >= events.Revision(n) {
					return errDone
				}
				return nil
			}), errDone)
		},
		"stream, decoded": func() {
			require.ErrorIs(b, s.Follow(b.Context(), events.Start{}, func(batch events.Batch) error {
				if batch.Revision >= events.Revision(n) {
					return errDone
				}
				return nil
			}), errDone)
		},
	} {
		b.Run("replay/"+name, func(b *testing.B) {
			var durations []time.Duration
			for b.Loop() {
				durations = append(durations, timed(replay))
			}
			slices.Sort(durations)
			b.ReportMetric(float64(n)/durations[len(durations)/2].Seconds(), "events/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func consumeRaw(b testing.TB, conn *nats.Conn, n int64) {
	js, err := conn.JetStream()
	require.NoError(b, err)
	var seen atomic.Int64
	done := make(chan struct{})
	sub, err := js.Subscribe("ledger.>", func(*nats.Msg) {
		if seen.Add(1) == n {
			close(done)
		}
	}, nats.OrderedConsumer(), nats.BindStream(jetstream.StreamName))
	require.NoError(b, err)
	require.NoError(b, sub.SetPendingLimits(-1, -1))
	<-done
	require.NoError(b, sub.Unsubscribe())
}

// compressed tells what the same events take in a stream compressed by the broker.
func compressed(b *testing.B, s onBroker, dir string, n int) {
	js, err := natsjs.New(s.conn, natsjs.WithPublishAsyncMaxPending(1024), natsjs.WithPublishAsyncTimeout(time.Minute))
	require.NoError(b, err)
	stream, err := js.CreateStream(b.Context(), natsjs.StreamConfig{Name: "COPY", Subjects: []string{"copy.>"}, Compression: natsjs.S2Compression})
	require.NoError(b, err)
	require.NoError(b, s.ReadRaw(b.Context(), 1, events.Revision(n), func(r events.Raw) bool {
		msg := nats.NewMsg("copy." + r.Subject)
		msg.Data = r.Payload
		for _, field := range r.Header {
			msg.Header[field.Name] = []string{field.Value}
		}
		_, err := js.PublishMsgAsync(msg, natsjs.WithStallWait(time.Minute))
		return err == nil
	}))
	<-js.PublishAsyncComplete()
	files := 0
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error {
		if filepath.Base(path) == "COPY" && files == 0 {
			files = int(size(b, path))
		}
		return nil
	})
	info, err := stream.Info(b.Context())
	require.NoError(b, err)
	b.ReportMetric(float64(files)/float64(info.State.Msgs), "bytes/event")
	b.ReportMetric(float64(info.State.Msgs), "events")
	b.ReportMetric(0, "ns/op")
	require.NoError(b, js.DeleteStream(b.Context(), stream.CachedInfo().Config.Name))
}
