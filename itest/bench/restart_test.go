package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/jetstream"
	"github.com/wakehq/wake/schemas"
)

// What there is when "wake up" starts again: 100,000 objects in 200,000 facets with a history of 1,000,000 events, and nothing left to decide.
const (
	oldNodes      = 1_000
	oldSets       = 500
	oldPodsPerSet = 100
	oldConfigMaps = 47_500
	oldObjects    = 2*oldNodes + oldSets + oldSets*oldPodsPerSet + oldConfigMaps
	oldEvents     = 1_000_000
)

// BenchmarkRestart starts "wake up" on a ledger of 1,000,000 events and 100,000 objects, half of them running pods: from the start of the process until /readyz says
// yes, and what memory it takes then. The archive has caught up before, as it has on any cluster that didn't begin a minute ago.
func BenchmarkRestart(b *testing.B) {
	p := newProcess(b, "--no-agent")
	p.start()
	p.stop()
	p.fill()
	p.start()
	p.until("the archive has caught up", func() bool { return p.archived() > oldEvents*9/10 })
	p.stop()
	for b.Loop() {
		p.start()
		b.StopTimer()
		require.Equal(b, oldSets*oldPodsPerSet, p.countPods())
		b.ReportMetric(p.memory("VmHWM"), "MiB-peak")
		p.stop()
		b.StartTimer()
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s")
}

// archived is the last revision in the archive.
func (p *process) archived() uint64 {
	body, err := p.client().RESTClient().Get().AbsPath("/apis/ledger.wake.dev/v1/status").DoRaw(p.b.Context())
	require.NoError(p.b, err)
	var status struct{ Archive struct{ Last uint64 } }
	require.NoError(p.b, json.Unmarshal(body, &status))
	return status.Archive.Last
}

func (p *process) countPods() int {
	list, err := p.client().CoreV1().Pods("").List(p.b.Context(), metav1.ListOptions{Limit: 1})
	require.NoError(p.b, err)
	return len(list.Items) + int(*list.RemainingItemCount)
}

// fill writes the objects into the ledger of a cluster that doesn't run.
func (p *process) fill() {
	nats, err := broker.Start(broker.Config{Dir: filepath.Join(p.dir, "ledger")})
	require.NoError(p.b, err)
	conn, err := nats.Ledger()
	require.NoError(p.b, err)
	ledger, err := jetstream.Open(p.b.Context(), conn, jetstream.Config{})
	require.NoError(p.b, err)
	registry, err := schemas.NewRegistry()
	require.NoError(p.b, err)
	w := &writer{b: p.b, ledger: ledger, state: events.NewState(registry), last: map[events.Ref]events.Revision{}}
	for i := range oldNodes {
		w.born(readyNode(fmt.Sprintf("node-%d", i)), "NodeRegistered")
	}
	w.flush()
	w.at = time.Now().Add(24 * time.Hour) // signs of life from tomorrow: nobody is there to send more
	for i := range oldNodes {
		lease := &coordinationv1.Lease{ObjectMeta: meta(fmt.Sprintf("node-%d", i))}
		lease.Namespace = corev1.NamespaceNodeLease
		w.add(events.Create(w.state, lease, "LeaseCreated"))
	}
	w.flush()
	w.at = time.Time{}
	for i := range oldSets {
		w.set(fmt.Sprintf("web-%d", i), i*oldPodsPerSet)
	}
	for i := range oldConfigMaps {
		m := &corev1.ConfigMap{ObjectMeta: meta(fmt.Sprintf("config-%d", i)), Data: map[string]string{"settings": "mode: production\nlevel: info\n"}}
		w.add(events.Create(w.state, m, "ConfigMapCreated"))
	}
	w.flush()
	w.age()
	require.NoError(p.b, ledger.Close())
	conn.Close()
	require.NoError(p.b, nats.Close())
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name, UID: types.UID("uid-of-" + name), CreationTimestamp: metav1.Now(), Generation: 1}
}

func readyNode(name string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: meta(name)}
	n.Namespace = ""
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}}
	return n
}

// writer appends many events.
type writer struct {
	b       *testing.B
	ledger  events.Ledger
	state   *events.State // stays empty: everything is new
	waiting []events.Proposal
	pods    []*corev1.Pod
	written int
	at      time.Time                      // of what is written; zero is now
	last    map[events.Ref]events.Revision // of the pods' statuses
}

func (w *writer) add(proposals ...events.Proposal) {
	if w.waiting = append(w.waiting, proposals...); len(w.waiting) > 10_000 {
		w.flush()
	}
}

func (w *writer) flush() {
	at := w.at
	if at.IsZero() {
		at = time.Now()
	}
	events.Audit{Actor: "user:bench", At: at}.Sign(w.waiting)
	for i, result := range w.ledger.AppendEach(context.Background(), w.waiting) {
		require.NoError(w.b, result.Err)
		if p := &w.waiting[i]; p.Facet == events.Observed {
			w.last[p.Ref] = result.Revision
		}
	}
	w.written += len(w.waiting)
	w.waiting = nil
}

// age has the pods report until the ledger is as long as it should be.
func (w *writer) age() {
	for round := int32(1); w.written < oldEvents; round++ {
		for _, pod := range w.pods {
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web", Ready: true, RestartCount: round}}
			p := events.ObserveNew(w.state, pod, "StatusReported")
			p.Expect, p.Changed = w.last[p.Ref], []string{"status.containerStatuses"}
			w.add(p)
		}
		w.flush()
	}
}

func (w *writer) born(o runtime.Object, eventType string) {
	w.add(events.Create(w.state, o, eventType), events.ObserveNew(w.state, o, "StatusReported"))
}

// set writes a ReplicaSet that has what it wants.
func (w *writer) set(name string, firstPod int) {
	const n = int32(oldPodsPerSet)
	template := podTemplate(map[string]string{"app": name})
	rs := &appsv1.ReplicaSet{ObjectMeta: meta(name), Spec: appsv1.ReplicaSetSpec{Replicas: new(n), Template: template,
		Selector: &metav1.LabelSelector{MatchLabels: template.Labels}}}
	rs.Status = appsv1.ReplicaSetStatus{Replicas: n, FullyLabeledReplicas: n, ReadyReplicas: n, AvailableReplicas: n, TerminatingReplicas: new(int32), ObservedGeneration: 1}
	w.born(rs, "ReplicaSetCreated")
	for i := range oldPodsPerSet {
		pod := &corev1.Pod{ObjectMeta: meta(fmt.Sprintf("%s-%d", name, i)), Spec: template.Spec}
		pod.Labels = template.Labels
		pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1", Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}}
		w.born(pod, "PodCreated")
		w.pods = append(w.pods, pod)
		w.add(w.place(pod, fmt.Sprintf("node-%d", (firstPod+i)%oldNodes)))
	}
}

func (w *writer) place(pod *corev1.Pod, node string) events.Proposal {
	return events.Proposal{Event: events.Event{Facet: events.Assigned, Ref: events.Ref{Resource: "pods", Namespace: pod.Namespace, Name: pod.Name},
		UID: string(pod.UID), Type: "PodBound", Payload: fmt.Appendf(nil, `{"node":%q}`, node)}}
}
