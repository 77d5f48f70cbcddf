package garbage

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
)

func fresh() runner.Decider { return New() }

func TestTranscripts(t *testing.T) {
	transcript.Test(t, transcript.Registry(t), "testdata/*.txt", fresh)
}

func configMap(name string) events.Ref {
	return events.Ref{Resource: "configmaps", Namespace: "default", Name: name}
}

func pod(name string) events.Ref {
	return events.Ref{Resource: "pods", Namespace: "default", Name: name}
}

// apply creates an object with the given owners, each of which blocks.
func apply(t require.TestingT, w *transcript.World, ref events.Ref, finalizers string, owners ...events.Ref) {
	var references string
	for _, owner := range owners {
		o, ok := w.State().Get(owner)
		require.True(t, ok, "no owner %s", owner)
		references += fmt.Sprintf("{apiVersion: %s, kind: %s, name: %s, uid: %s, blockOwnerDeletion: true},", o.Kind.GroupVersion, o.Kind.KindName, owner.Name, o.UID())
	}
	kind, spec := "ConfigMap", ""
	if ref.Resource == "pods" {
		kind, spec = "Pod", ", spec: {containers: [{name: c, image: i}]}"
	}
	require.NoError(t, w.Apply(fmt.Appendf(nil, "{apiVersion: v1, kind: %s, metadata: {name: %s, finalizers: [%s], ownerReferences: [%s]}%s}", kind, ref.Name, finalizers, references, spec)))
}

// ask asks for a deletion with a propagation policy, as a client does.
func ask(t require.TestingT, w *transcript.World, ref events.Ref, policy metav1.DeletionPropagation) {
	o, ok := w.State().Get(ref)
	require.True(t, ok)
	deletion, err := o.Kind.PrepareDelete(&schemas.Write{Namespace: ref.Namespace, Name: ref.Name, Now: w.Now()}, o.Typed(), &metav1.DeleteOptions{PropagationPolicy: &policy})
	require.NoError(t, err)
	switch {
	case deletion.Remove:
		require.NoError(t, w.Vanish(ref))
	case deletion.Changed:
		require.NoError(t, w.Do(transcript.User, events.Alter(o, deletion.Object, o.Kind.KindName+"DeletionRequested")))
	}
}

// names lists what exists of the given objects.
func names(w *transcript.World, refs ...events.Ref) (out []string) {
	state := w.State()
	for _, ref := range refs {
		if o, ok := state.Get(ref); ok {
			mark := ""
			if o.Meta().GetDeletionTimestamp() != nil {
				mark = " (going)"
			}
			out = append(out, ref.Name+mark)
		}
	}
	return out
}

func TestBackground(t *testing.T) {
	w := transcript.NewWorld(transcript.Registry(t), fresh)
	require.NoError(t, w.Apply([]byte("{apiVersion: v1, kind: Node, metadata: {name: n1}}")))
	apply(t, w, configMap("top"), "")
	apply(t, w, configMap("other"), "")
	apply(t, w, configMap("middle"), "", configMap("top"))
	apply(t, w, configMap("shared"), "", configMap("top"), configMap("other"))
	apply(t, w, pod("leaf"), "", configMap("middle"))
	require.NoError(t, w.Bind(pod("leaf"), "n1"))
	ask(t, w, configMap("top"), metav1.DeletePropagationBackground)
	require.NoError(t, w.Settle())
	require.Equal(t, []string{"other", "shared", "leaf (going)"}, names(w, configMap("top"), configMap("middle"), configMap("other"), configMap("shared"), pod("leaf")))
	shared, _ := w.State().Get(configMap("shared"))
	require.Len(t, shared.Meta().GetOwnerReferences(), 1, "the absent owner is forgotten")

	// The pod's end is caused by its owner's, and that by the user's request.
	leaf, _ := w.State().Get(pod("leaf"))
	cause := w.Entries()[leaf.Facet(events.Desired).Cause-1].Event
	require.Equal(t, configMap("middle"), cause.Ref)
	require.True(t, cause.Tombstone)
	require.Equal(t, transcript.User, w.Entries()[cause.Cause-1].Event.Actor)
}

func TestForeground(t *testing.T) {
	w := transcript.NewWorld(transcript.Registry(t), fresh)
	require.NoError(t, w.Apply([]byte("{apiVersion: v1, kind: Node, metadata: {name: n1}}")))
	apply(t, w, configMap("top"), "")
	apply(t, w, configMap("middle"), "", configMap("top"))
	apply(t, w, pod("leaf"), "", configMap("middle"))
	require.NoError(t, w.Bind(pod("leaf"), "n1"))
	ask(t, w, configMap("top"), metav1.DeletePropagationForeground)
	require.NoError(t, w.Settle())
	all := []events.Ref{configMap("top"), configMap("middle"), pod("leaf")}
	require.Equal(t, []string{"top (going)", "middle (going)", "leaf (going)"}, names(w, all...), "owners wait for what blocks them")
	require.NoError(t, w.Vanish(pod("leaf")))
	require.NoError(t, w.Settle())
	require.Empty(t, names(w, all...))
}

func TestOrphan(t *testing.T) {
	w := transcript.NewWorld(transcript.Registry(t), fresh)
	apply(t, w, configMap("top"), "")
	apply(t, w, configMap("child"), "", configMap("top"))
	ask(t, w, configMap("top"), metav1.DeletePropagationOrphan)
	require.NoError(t, w.Settle())
	require.Equal(t, []string{"child"}, names(w, configMap("top"), configMap("child")))
	child, _ := w.State().Get(configMap("child"))
	require.Empty(t, child.Meta().GetOwnerReferences())
}

func TestForeignFinalizerHolds(t *testing.T) {
	w := transcript.NewWorld(transcript.Registry(t), fresh)
	apply(t, w, configMap("top"), "")
	apply(t, w, configMap("child"), "example.com/mine", configMap("top"))
	ask(t, w, configMap("top"), metav1.DeletePropagationBackground)
	require.NoError(t, w.Settle())
	require.Equal(t, []string{"child (going)"}, names(w, configMap("top"), configMap("child")))
}

func TestPodsWithoutNode(t *testing.T) {
	w := transcript.NewWorld(transcript.Registry(t), fresh)
	node := events.Ref{Resource: "nodes", Name: "n1"}
	require.NoError(t, w.Apply([]byte("{apiVersion: v1, kind: Node, metadata: {name: n1}}")))
	apply(t, w, pod("left"), "")
	require.NoError(t, w.Bind(pod("left"), "n1"))
	require.NoError(t, w.Pass(time.Hour))
	require.NoError(t, w.Vanish(node))
	require.NoError(t, w.Pass(nodeGrace-time.Second))
	require.Equal(t, []string{"left"}, names(w, pod("left")))
	require.NoError(t, w.Pass(time.Second))
	require.Empty(t, names(w, pod("left")))
}

func TestFinishedPods(t *testing.T) {
	w := transcript.NewWorld(transcript.Registry(t), func() runner.Decider {
		g := New()
		g.maxFinished = 2
		return g
	})
	require.NoError(t, w.Apply([]byte("{apiVersion: v1, kind: Node, metadata: {name: n1}}")))
	for _, name := range []string{"d", "c", "b", "a"} {
		apply(t, w, pod(name), "")
		require.NoError(t, w.Bind(pod(name), "n1"))
		require.NoError(t, w.Report(pod(name), "Succeeded", false, 0))
		require.NoError(t, w.Pass(time.Second))
	}
	require.Equal(t, []string{"a", "b"}, names(w, pod("a"), pod("b"), pod("c"), pod("d")), "the newest stay")
}

// TestNothingWithoutOwner builds random graphs of owners, deletes with random policies under racing deciders, and looks for objects
// that lack what they depend on.
func TestNothingWithoutOwner(t *testing.T) {
	kinds := transcript.Registry(t)
	rapid.Check(t, func(t *rapid.T) {
		w := transcript.NewWorld(kinds, fresh, fresh)
		count := 0
		existing := func() (refs []events.Ref) {
			for o := range w.State().All(events.GroupResource{Resource: "configmaps"}, "") {
				refs = append(refs, o.Ref)
			}
			return refs
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				var owners []events.Ref
				if known := existing(); len(known) > 0 {
					owners = rapid.SliceOfNDistinct(rapid.SampledFrom(known), 0, 2, rapid.ID).Draw(t, "owners")
				}
				count++
				apply(t, w, configMap(fmt.Sprintf("c%d", count)), "", owners...)
			},
			"delete": func(t *rapid.T) {
				if known := existing(); len(known) > 0 {
					ask(t, w, rapid.SampledFrom(known).Draw(t, "ref"), rapid.SampledFrom([]metav1.DeletionPropagation{
						metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan}).Draw(t, "policy"))
				}
			},
			"turn": func(t *rapid.T) {
				seat := rapid.SampledFrom(w.Seats()).Draw(t, "seat")
				if rapid.Bool().Draw(t, "look") {
					seat.Look()
				} else {
					require.NoError(t, seat.Decide())
				}
			},
		})
		require.NoError(t, w.Settle())
		state := w.State()
		for o := range state.All(events.GroupResource{Resource: "configmaps"}, "") {
			require.Nil(t, o.Meta().GetDeletionTimestamp(), "%s waits for ever", o.Ref)
			for _, owner := range o.Meta().GetOwnerReferences() {
				found, ok := state.Get(configMap(owner.Name))
				require.True(t, ok && found.UID() == string(owner.UID), "%s lacks its owner %s", o.Ref, owner.Name)
			}
		}
	})
}
