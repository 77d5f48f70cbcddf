package events_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

var registry = sync.OnceValue(func() *schemas.Registry {
	r, err := schemas.NewRegistry()
	if err != nil {
		panic(err)
	}
	return r
})

var pods = events.GroupResource{Resource: "pods"}

func aPod(name, uid string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(uid)}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
}

func podRef(name string) events.Ref {
	return events.Ref{Resource: "pods", Namespace: "default", Name: name}
}

// teller folds proposals as a ledger would take them.
type teller struct {
	t     *testing.T
	state *events.State
}

func newTeller(t *testing.T) *teller { return &teller{t, events.NewState(registry())} }

func (w *teller) tell(p events.Proposal) []events.Change {
	w.t.Helper()
	e := p.Event
	e.Revision, e.Stored, e.Actor = w.state.Revision()+1, time.Unix(int64(w.state.Revision()), 0), "user:test"
	changes, err := w.state.Apply(e)
	require.NoError(w.t, err)
	return changes
}

func (w *teller) get(name string) *events.Object {
	w.t.Helper()
	o, ok := w.state.Get(podRef(name))
	require.True(w.t, ok, name)
	return o
}

func namesIn(s *events.State) []string {
	out := []string{}
	for o := range s.All(pods, "") {
		out = append(out, o.Ref.Name)
	}
	return out
}

func TestFacetsMakeAnObject(t *testing.T) {
	w := newTeller(t)
	changes := w.tell(events.Create(w.state, aPod("a", "1"), "PodCreated"))
	require.Len(t, changes, 1)
	require.Nil(t, changes[0].Old)
	require.Equal(t, "1", w.get("a").Meta().GetResourceVersion())
	require.Equal(t, corev1.PodPending, w.get("a").Typed().(*corev1.Pod).Status.Phase, "the status is not part of the desired facet")

	w.tell(events.Place(w.get("a"), events.Placement{Node: "n1"}, "PodBound"))
	changes = w.tell(events.Observe(w.get("a"), aPod("a", "1"), "ContainerStarted"))
	pod := w.get("a").Typed().(*corev1.Pod)
	require.Equal(t, "n1", pod.Spec.NodeName)
	require.Equal(t, corev1.PodRunning, pod.Status.Phase)
	require.Equal(t, "3", pod.ResourceVersion)
	require.Equal(t, events.Revision(2), changes[0].Old.Revision())
	require.Equal(t, "ContainerStarted", w.get("a").Newest().Type)
	for facet, want := range []events.Revision{1, 2, 3} {
		require.Equal(t, want, w.get("a").Expect(events.Facet(facet)))
	}
}

func TestTombstoneAndReCreation(t *testing.T) {
	w := newTeller(t)
	w.tell(events.Create(w.state, aPod("a", "1"), "PodCreated"))
	w.tell(events.Place(w.get("a"), events.Placement{Node: "n1"}, "PodBound"))
	w.tell(events.Observe(w.get("a"), aPod("a", "1"), "ContainerStarted"))
	changes := w.tell(events.Remove(w.get("a"), "PodDeleted"))
	require.Nil(t, changes[0].New)
	require.Equal(t, "1", changes[0].Old.UID())
	_, live := w.state.Get(podRef("a"))
	require.False(t, live)
	require.Zero(t, w.state.Count(pods))
	gone := w.state.Slot(podRef("a"))
	require.False(t, gone.Live())
	require.Equal(t, "1", gone.UID())
	require.Empty(t, slices.Collect(w.state.Indexed(events.ByNode, "n1")))

	p := events.Create(w.state, aPod("a", "2"), "PodCreated")
	require.Equal(t, events.Revision(4), p.Expect, "the tombstone is what comes before")
	w.tell(p)
	pod := w.get("a").Typed().(*corev1.Pod)
	require.Empty(t, pod.Spec.NodeName, "the placement was the earlier pod's")
	require.Equal(t, corev1.PodPending, pod.Status.Phase, "the status was the earlier pod's")
	require.Nil(t, w.get("a").Facet(events.Assigned))
	require.Equal(t, events.Revision(2), w.get("a").Expect(events.Assigned), "but it must be expected")

	late := w.tell(events.Observe(gone, aPod("a", "1"), "LateReport"))
	require.Empty(t, late, "a late word on the earlier pod changes nothing")
	require.Equal(t, corev1.PodPending, w.get("a").Typed().(*corev1.Pod).Status.Phase)
	require.Equal(t, events.Revision(6), w.get("a").Expect(events.Observed))
	require.Equal(t, "5", w.get("a").Meta().GetResourceVersion())
}

func TestFacetBeforeItsObject(t *testing.T) {
	w := newTeller(t)
	p := events.ObserveNew(w.state, aPod("a", "1"), "PodSeen")
	require.Empty(t, w.tell(p))
	require.Zero(t, w.state.Count(pods))
	w.tell(events.Create(w.state, aPod("a", "1"), "PodCreated"))
	require.Equal(t, corev1.PodRunning, w.get("a").Typed().(*corev1.Pod).Status.Phase)
}

func TestForksAreIndependent(t *testing.T) {
	w := newTeller(t)
	hashes := map[*events.State]string{}
	for i := range 60 {
		name := fmt.Sprintf("p%d", i%20)
		if o, live := w.state.Get(podRef(name)); !live {
			w.tell(events.Create(w.state, aPod(name, fmt.Sprint(i)), "PodCreated").With(events.Note{Reason: "Created", Message: fmt.Sprint(i)}))
		} else if i%3 == 0 {
			w.tell(events.Remove(o, "PodDeleted"))
		} else {
			w.tell(events.Place(o, events.Placement{Node: fmt.Sprint("n", i%4)}, "PodBound"))
		}
		fork := w.state.Fork()
		hashes[fork] = fork.Hash()
	}
	for fork, want := range hashes {
		other := &teller{t, fork.Fork()}
		other.tell(events.Create(fork, aPod("other", "x"), "PodCreated").With(events.Note{Reason: "Other"}))
		require.Equal(t, want, fork.Hash(), "at %d", fork.Revision())
		require.NotEqual(t, want, other.state.Hash())
		_, seen := w.state.Get(podRef("other"))
		require.False(t, seen)
	}
}

// TestForksInParallel is for the race detector: readers and writers of forks of one state.
func TestForksInParallel(t *testing.T) {
	w := newTeller(t)
	for i := range 100 {
		w.tell(events.Create(w.state, aPod(fmt.Sprint("p", i), fmt.Sprint(i)), "PodCreated").With(events.Note{Reason: "Created", Message: fmt.Sprint(i)}))
	}
	shared := w.state.Fork()
	var all sync.WaitGroup
	for range 4 {
		mine := &teller{t, shared.Fork()}
		all.Go(func() {
			for i := range 50 {
				mine.tell(events.Create(mine.state, aPod(fmt.Sprint("q", i), "x"), "PodCreated").With(events.Note{Reason: "Created", Message: fmt.Sprint("q", i)}))
			}
			if mine.state.Count(pods) != 150 {
				t.Error("a fork lacks pods")
			}
		})
		all.Go(func() {
			if len(namesIn(shared)) != 100 || shared.Count(pods) != 100 {
				t.Error("the shared state has changed")
			}
		})
	}
	for i := range 50 {
		w.tell(events.Remove(w.get(fmt.Sprint("p", i)), "PodDeleted"))
	}
	all.Wait()
	require.Equal(t, 50, w.state.Count(pods))
}

func TestListAndIndexes(t *testing.T) {
	w := newTeller(t)
	for _, name := range []string{"c", "a", "b", "a.b"} {
		pod := aPod(name, "uid-"+name)
		pod.OwnerReferences = []metav1.OwnerReference{{UID: "owner"}}
		w.tell(events.Create(w.state, pod, "PodCreated"))
	}
	other := aPod("z", "uid-z")
	other.Namespace = "default2"
	w.tell(events.Create(w.state, other, "PodCreated"))
	require.Equal(t, []string{"a", "a.b", "b", "c", "z"}, namesIn(w.state))
	var after []string
	for o := range w.state.List(pods, "default", "default", "a") {
		after = append(after, o.Ref.Name)
	}
	require.Equal(t, []string{"a.b", "b", "c"}, after)
	require.Len(t, slices.Collect(w.state.Indexed(events.ByOwner, "owner")), 4)
	require.Len(t, slices.Collect(w.state.Indexed(events.ByNode, "")), 5)
	w.tell(events.Place(w.get("a"), events.Placement{Node: "n1"}, "PodBound"))
	require.Len(t, slices.Collect(w.state.Indexed(events.ByNode, "")), 4)
	require.Len(t, slices.Collect(w.state.Indexed(events.ByNode, "n1")), 1)
	require.Equal(t, []events.GroupResource{pods}, w.state.Resources())
}

func TestApplyRefuses(t *testing.T) {
	w := newTeller(t)
	w.tell(events.Create(w.state, aPod("a", "1"), "PodCreated"))
	before := w.state.Hash()
	_, err := w.state.Apply(events.Event{Revision: 2, Ref: events.Ref{Resource: "wishes", Name: "x"}, UID: "u", Type: "Wished"})
	require.ErrorContains(t, err, "wishes")
	_, err = w.state.Apply(events.Event{Revision: 3, Ref: podRef("a"), UID: "1", Type: "PodChanged", Payload: []byte("not protobuf")})
	require.ErrorContains(t, err, "pods/default/a")
	_, err = w.state.Apply(events.Event{Revision: 4, Facet: events.Assigned, Ref: podRef("a"), UID: "1", Type: "PodBound", Payload: []byte("{")})
	require.ErrorContains(t, err, "placement")
	require.Equal(t, before, w.state.Hash())
	require.Equal(t, events.Revision(4), w.state.Revision())
}

func TestHash(t *testing.T) {
	a, b := newTeller(t), newTeller(t)
	for _, w := range []*teller{a, b} {
		w.tell(events.Create(w.state, aPod("a", "1"), "PodCreated").With(events.Note{Reason: "Created", Message: fmt.Sprintf("%p", w)}))
	}
	require.Equal(t, a.state.Hash(), b.state.Hash(), "notes are not part of it")
	a.tell(events.Place(a.get("a"), events.Placement{Node: "n1"}, "PodBound"))
	b.tell(events.Place(b.get("a"), events.Placement{Node: "n2"}, "PodBound"))
	require.NotEqual(t, a.state.Hash(), b.state.Hash())
}

func TestNotes(t *testing.T) {
	w := newTeller(t)
	w.tell(events.Create(w.state, aPod("a", "1"), "PodCreated").With(events.Note{Reason: "Created", Message: "hello"}))
	shown := func() []*corev1.Event {
		var out []*corev1.Event
		for o := range w.state.All(events.EventsResource, "") {
			out = append(out, o.Typed().(*corev1.Event))
		}
		return out
	}
	require.Len(t, shown(), 1)
	require.Equal(t, "Pod", shown()[0].InvolvedObject.Kind)
	require.Equal(t, types.UID("1"), shown()[0].InvolvedObject.UID)
	require.Equal(t, "test", shown()[0].Source.Component)
	uid := shown()[0].UID
	for range 2 {
		changes := w.tell(events.Observe(w.get("a"), aPod("a", "1"), "BackOff").With(events.Note{Reason: "BackOff", Message: "again", Warning: true}))
		require.Len(t, changes, 2, "the pod's and the note's")
	}
	require.Len(t, shown(), 2)
	i := slices.IndexFunc(shown(), func(e *corev1.Event) bool { return e.Reason == "BackOff" })
	require.Equal(t, int32(2), shown()[i].Count, "the same note again is counted")
	require.Equal(t, corev1.EventTypeWarning, shown()[i].Type)
	require.Equal(t, uid, shown()[1-i].UID)

	node := events.Ref{Resource: "nodes", Name: "n1"}
	w.tell(events.Place(w.get("a"), events.Placement{Node: "n1"}, "PodBound").With(events.Note{Reason: "Got", Message: "a pod", About: &node, AboutID: "node-uid"}))
	i = slices.IndexFunc(shown(), func(e *corev1.Event) bool { return e.Reason == "Got" })
	require.Equal(t, "Node", shown()[i].InvolvedObject.Kind)
	require.Equal(t, metav1.NamespaceDefault, shown()[i].Namespace)
	_, err := json.Marshal(shown())
	require.NoError(t, err)
}
