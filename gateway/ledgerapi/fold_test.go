package ledgerapi

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/events/timetravel"
	"github.com/wakehq/wake/schemas"
)

// happen proposes something that may happen to one of a few pods, late news of an earlier pod of that name included.
func happen(t *rapid.T, state *events.State) events.Proposal {
	ref := events.Ref{Resource: "pods", Namespace: "default", Name: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "pod")}
	o, ok := state.Get(ref)
	if !ok {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name, UID: types.UID(rapid.StringMatching(`[a-z]{12}`).Draw(t, "uid"))}}
		return events.Create(state, p, "PodCreated")
	}
	p := o.Typed().DeepCopyObject().(*corev1.Pod)
	switch rapid.SampledFrom([]string{"change", "place", "observe", "late", "remove"}).Draw(t, "what") {
	case "change":
		p.Labels = map[string]string{"n": rapid.StringMatching(`[a-c]`).Draw(t, "label")}
		return events.Alter(o, p, "PodChanged")
	case "place":
		return events.Place(o, events.Placement{Node: rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node")}, "PodBound")
	case "late":
		late := events.Observe(o, p, "PodStarted")
		late.UID = "of an earlier one"
		return late
	case "remove":
		return events.Remove(o, "PodDeleted")
	}
	p.Status.Phase = rapid.SampledFrom([]corev1.PodPhase{corev1.PodPending, corev1.PodRunning}).Draw(t, "phase")
	return events.Observe(o, p, "PodStarted")
}

// Wherever a fold begins, and whichever events are only noted, it knows of each object what the past knows.
func TestAFoldKnowsWhatThePastKnows(t *testing.T) {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		ledger, state := memory.New(memory.Faults{}), events.NewState(registry)
		past := timetravel.New(ledger, registry)
		api := &API{Ledger: ledger, Registry: registry, Past: past}
		var history []events.Event
		for range rapid.IntRange(1, 30).Draw(t, "events") {
			revision, err := ledger.Append(t.Context(), happen(t, state))
			require.NoError(t, err)
			require.NoError(t, ledger.Read(t.Context(), events.Query{From: revision}, func(e events.Event) bool {
				history = append(history, e)
				_, err := state.Apply(e)
				require.NoError(t, err)
				return true
			}))
		}
		from := rapid.IntRange(1, len(history)).Draw(t, "from")
		fold, drawn := api.foldFrom(events.Revision(from)), pictures{}
		for i := from - 1; i < len(history); i++ {
			e := &history[i]
			if rapid.Bool().Draw(t, "only noted") {
				fold.note(e)
				continue
			}
			before, after, err := fold.step(t.Context(), e)
			require.NoError(t, err)
			sameObject(t, past, e.Ref, e.Revision-1, before)
			sameObject(t, past, e.Ref, e.Revision, after)
			fields, err := drawn.changes(e, before, after)
			require.NoError(t, err)
			again, err := pictures{}.changes(e, before, after)
			require.NoError(t, err)
			require.Equal(t, again, fields, "pictures that are kept say the same")
		}
	})
}

func sameObject(t *rapid.T, past *timetravel.Past, ref events.Ref, revision events.Revision, got *events.Object) {
	want, err := past.ObjectAt(t.Context(), ref, revision)
	require.NoError(t, err)
	require.Equal(t, encoded(t, live(want)), encoded(t, got), "%s at %d", ref, revision)
}

func encoded(t *rapid.T, o *events.Object) string {
	if o == nil {
		return "none"
	}
	text, err := json.Marshal(o.Typed())
	require.NoError(t, err)
	return string(text)
}
