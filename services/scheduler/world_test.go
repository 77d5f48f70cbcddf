package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/runner"
)

// fataler is a *testing.T, *testing.B or *rapid.T.
type fataler interface {
	require.TestingT
	Helper()
}

// world is a cluster without a ledger: a state, a scheduler that follows it, and a clock.
type world struct {
	t         fataler
	state     *events.State
	scheduler *scheduler
	now       time.Time
	asked     bool      // a change asked for a decision
	again     time.Time // when the last decision wants to look again
	decisions int
}

var kinds = func() *schemas.Registry {
	registry, err := schemas.NewRegistry()
	if err != nil {
		panic(err)
	}
	return registry
}()

func newWorld(t fataler) *world {
	return &world{t: t, state: events.NewState(kinds), scheduler: New().(*scheduler), now: time.Date(2026, 3, 1, 3, 12, 0, 0, time.UTC)}
}

// append folds a proposal as a ledger would take it, guard and all.
func (w *world) append(p events.Proposal) events.Event {
	w.t.Helper()
	e := p.Event
	require.Equal(w.t, p.Expect, w.state.Slot(e.Ref).Expect(e.Facet), "guard of %s of %s", e.Type, e.Ref)
	e.Actor = "service:scheduler"
	e.Revision, e.At, e.Stored = w.state.Revision()+1, w.now, w.now
	changes, err := w.state.Apply(e)
	require.NoError(w.t, err)
	for _, change := range changes {
		w.scheduler.Fold(change)
		w.asked = w.asked || len(w.scheduler.Keys(change, w.state)) > 0
	}
	return e
}

// create brings objects into being, with their status.
func (w *world) create(objects ...metav1.Object) {
	w.t.Helper()
	for _, o := range objects {
		if o.GetUID() == "" {
			o.SetUID(types.UID(fmt.Sprintf("uid-%d", w.state.Revision()+1)))
		}
		o.SetCreationTimestamp(metav1.NewTime(w.now))
		w.append(events.Create(w.state, o.(runtime.Object), "Created"))
		w.append(events.ObserveNew(w.state, o.(runtime.Object), "Reported"))
	}
}

func (w *world) get(resource, name string) *events.Object {
	w.t.Helper()
	namespace := "default"
	if resource == "nodes" || resource == "namespaces" {
		namespace = ""
	}
	o, ok := w.state.Get(events.Ref{Resource: resource, Namespace: namespace, Name: name})
	require.True(w.t, ok, "%s/%s", resource, name)
	return o
}

func (w *world) remove(resource, name string) {
	w.append(events.Remove(w.get(resource, name), "Deleted"))
}

// report changes an object's status, alter the rest.
func report[T runtime.Object](w *world, resource, name string, change func(T)) {
	o := w.get(resource, name)
	updated := o.Typed().DeepCopyObject().(T)
	change(updated)
	w.append(events.Observe(o, updated, "Reported"))
}

func alter[T runtime.Object](w *world, resource, name string, change func(T)) {
	o := w.get(resource, name)
	updated := o.Typed().DeepCopyObject().(T)
	change(updated)
	w.append(events.Alter(o, updated, "Changed"))
}

func (w *world) decide() runner.Decision {
	w.decisions++
	return w.scheduler.Decide(runner.Input{State: w.state, Key: everything, Now: w.now})
}

// settle decides until nothing asks for more, and returns what was decided.
func (w *world) settle() []events.Event {
	w.t.Helper()
	var decided []events.Event
	for rounds := 0; w.asked || !w.again.IsZero() && !w.again.After(w.now); rounds++ {
		require.Less(w.t, rounds, 100, "the scheduler does not come to rest")
		w.asked = false
		d := w.decide()
		w.again = d.Again
		for _, p := range d.Each {
			decided = append(decided, w.append(p))
		}
	}
	return decided
}

// wait lets time pass.
func (w *world) wait(d time.Duration) { w.now = w.now.Add(d) }

// nodeOf returns where a pod is, "" for nowhere.
func (w *world) nodeOf(name string) string {
	w.t.Helper()
	return w.get("pods", name).Typed().(*corev1.Pod).Spec.NodeName
}

// reason returns why a pod waits.
func (w *world) reason(name string) string {
	w.t.Helper()
	for _, c := range w.get("pods", name).Typed().(*corev1.Pod).Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Reason + ": " + c.Message
		}
	}
	return ""
}

func quantities(list string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, field := range strings.Fields(list) {
		name, value, _ := strings.Cut(field, "=")
		out[corev1.ResourceName(name)] = resource.MustParse(value)
	}
	return out
}

// aNode is a node with resources ("cpu=4 memory=8Gi pods=110") and labels.
func aNode(name, allocatable string, labels ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	maps.Copy(n.Labels, pairs(labels))
	n.Status.Allocatable = quantities(allocatable)
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	return n
}

// aPod is a pod with requests and labels.
func aPod(name, requests string, labels ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: pairs(labels)}}
	p.Spec.SchedulerName = corev1.DefaultSchedulerName
	p.Spec.Containers = []corev1.Container{{Name: "main", Image: "app", Resources: corev1.ResourceRequirements{Requests: quantities(requests)}}}
	return p
}

func pairs(labels []string) map[string]string {
	m := map[string]string{}
	for pair := range slices.Chunk(labels, 2) {
		m[pair[0]] = pair[1]
	}
	return m
}

func ownedBy(p *corev1.Pod, uid string) *corev1.Pod {
	yes := true
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: uid, UID: types.UID(uid), Controller: &yes}}
	return p
}
