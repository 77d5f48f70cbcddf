package feed

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/events/nodewire"
	"github.com/wakehq/wake/schemas"
)

var kinds = sync.OnceValue(func() *schemas.Registry {
	registry, err := schemas.NewRegistry()
	if err != nil {
		panic(err)
	}
	return registry
})

// world is a feed, a ledger in memory, and a line that ends in the test's hands.
type world struct {
	t      require.TestingT
	ctx    context.Context
	ledger *memory.Ledger
	view   *events.View
	feed   *Feed
	line   *line
}

// newWorld must be called in a synctest bubble; ctx ends it.
func newWorld(ctx context.Context, t require.TestingT) *world {
	w := &world{t: t, ctx: ctx, ledger: memory.New(memory.Faults{}), line: &line{t: t, nodes: map[string]*received{}}}
	view, err := events.OpenView(ctx, w.ledger, kinds())
	require.NoError(t, err)
	w.view = view
	w.begin()
	return w
}

// begin starts a feed, as after a restart.
func (w *world) begin() (stop func()) {
	ctx, cancel := context.WithCancel(w.ctx)
	w.feed = New(Config{View: w.view, Ledger: w.ledger, Line: w.line, Log: slog.New(slog.DiscardHandler)})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.feed.Run(ctx)
	}()
	synctest.Wait()
	return func() {
		cancel()
		<-done
	}
}

// do appends what somebody else does, and waits until all is quiet.
func (w *world) do(proposals ...events.Proposal) events.Revision {
	events.Audit{Actor: "user:tester", At: time.Now()}.Sign(proposals)
	revision, err := w.ledger.Append(w.ctx, proposals...)
	require.NoError(w.t, err)
	synctest.Wait()
	return revision
}

func (w *world) create(obj runtime.Object) {
	m := obj.(metav1.Object)
	if m.GetUID() == "" {
		m.SetUID(types.UID(m.GetName() + "-uid"))
	}
	w.do(events.Create(w.view.State(), obj, "ObjectCreated"))
}

func (w *world) get(name object) *events.Object {
	o, ok := w.view.State().Get(name.ref())
	require.True(w.t, ok, "no %v", name)
	return o
}

func (w *world) bind(pod object, node string) {
	w.do(events.Place(w.get(pod), events.Placement{Node: node}, "PodBound"))
}

// line keeps what is published, checks that it is a chain, and folds it.
type line struct {
	t     require.TestingT
	mu    sync.Mutex
	nodes map[string]*received
}

// received is what a node knows.
type received struct {
	revision  uint64
	objects   map[object]nodewire.Object
	published int
}

func (l *line) Serve(ctx context.Context, _ nodewire.Handler) error {
	<-ctx.Done()
	return ctx.Err()
}

func (l *line) Publish(s nodewire.Slice) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	node := l.nodes[s.Node]
	require.NotNil(l.t, node, "a slice for %s, which never asked", s.Node)
	require.Equal(l.t, node.revision, s.Previous, "the chain of %s", s.Node)
	node.revision = s.Revision
	node.published++
	for _, o := range s.Objects {
		name := object{o.Resource, o.Namespace, o.Name}
		if o.Deleted {
			require.Empty(l.t, o.Data)
			delete(node.objects, name)
		} else {
			node.objects[name] = o
		}
	}
	return nil
}

// attach lets a node ask for everything.
func (w *world) attach(node string) {
	full, err := w.feed.Snapshot(w.ctx, node)
	require.NoError(w.t, err)
	require.True(w.t, full.Full)
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	w.line.nodes[node] = &received{revision: full.Revision, objects: map[object]nodewire.Object{}}
	for _, o := range full.Objects {
		w.line.nodes[node].objects[object{o.Resource, o.Namespace, o.Name}] = o
	}
}

// knows lists what a node knows of.
func (w *world) knows(node string) (names []string) {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	for name := range w.line.nodes[node].objects {
		names = append(names, string(name.resource)+"/"+name.name)
	}
	slices.Sort(names)
	return names
}

func podName(name string) object { return object{nodewire.Pods, "default", name} }

// pod makes a pod that names secrets in its environment.
func pod(name string, secrets ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	for _, secret := range secrets {
		p.Spec.Containers[0].EnvFrom = append(p.Spec.Containers[0].EnvFrom,
			corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}})
	}
	return p
}

func secret(name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string][]byte{"key": []byte(name)}}
}

func service(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

func report(o *events.Object, eventType string, phase corev1.PodPhase) nodewire.PodReport {
	return nodewire.PodReport{Namespace: o.Ref.Namespace, Name: o.Ref.Name, UID: o.UID(), Type: eventType, At: time.Now(), Cause: o.Revision(),
		Status: corev1.PodStatus{Phase: phase}}
}
