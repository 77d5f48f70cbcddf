package timetravel_test

import (
	"fmt"
	"testing"
	"time"

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

// step proposes something that may happen to one of a few pods.
func step(t *rapid.T, state *events.State) events.Proposal {
	ref := events.Ref{Resource: "pods", Namespace: "default", Name: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")}
	o, ok := state.Get(ref)
	if !ok {
		return events.Create(state, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name,
			UID: types.UID(fmt.Sprint(ref.Name, "-", state.Revision()))}}, "PodCreated")
	}
	changed := o.Typed().DeepCopyObject().(*corev1.Pod)
	switch rapid.SampledFrom([]string{"relabel", "place", "report", "remove"}).Draw(t, "step") {
	case "place":
		return events.Place(o, events.Placement{Node: rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node")}, "PodBound")
	case "report":
		changed.Status.Phase = corev1.PodRunning
		return events.Observe(o, changed, "PodStatusChanged")
	case "remove":
		return events.Remove(o, "PodDeleted")
	}
	changed.Labels = map[string]string{"at": fmt.Sprint(state.Revision())}
	return events.Alter(o, changed, "PodChanged")
}

// Whatever has happened, the past folds to what the view held then.
func TestThePastIsWhatItWas(t *testing.T) {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	rapid.Check(t, func(rt *rapid.T) {
		ledger := memory.New(memory.Faults{})
		state := events.NewState(registry)
		hashes := []string{state.Hash()}
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			proposals := []events.Proposal{step(rt, state)}
			events.Audit{Actor: "test", At: time.Unix(0, 0)}.Sign(proposals)
			revision, err := ledger.Append(t.Context(), proposals...)
			require.NoError(rt, err)
			require.NoError(rt, ledger.Read(t.Context(), events.Query{From: revision}, func(e events.Event) bool {
				_, err := state.Apply(e)
				require.NoError(rt, err)
				return true
			}))
			hashes = append(hashes, state.Hash())
		}
		past := timetravel.New(ledger, registry)
		for revision, want := range hashes {
			then, err := past.StateAt(t.Context(), events.Revision(revision))
			require.NoError(rt, err)
			require.Equal(rt, want, then.Hash(), "revision %d", revision)
			require.Equal(rt, events.Revision(revision), then.Revision())
		}
	})
}

func TestResolve(t *testing.T) {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	ledger := memory.New(memory.Faults{})
	state := events.NewState(registry)
	proposals := []events.Proposal{events.Create(state, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "u"}}, "PodCreated")}
	events.Audit{Actor: "test", At: time.Unix(0, 0)}.Sign(proposals)
	_, err = ledger.Append(t.Context(), proposals...)
	require.NoError(t, err)
	past := timetravel.New(ledger, registry)
	now := time.Now().Add(time.Minute)
	for moment, want := range map[string]events.Revision{"0": 0, "1": 1, "-10s": 1, "-1h": 0, now.Format(time.RFC3339): 1, "1970-01-01T00:00:00Z": 0} {
		got, err := past.Resolve(t.Context(), moment, now)
		require.NoError(t, err, moment)
		require.Equal(t, want, got, moment)
	}
	for _, moment := range []string{"2", "yesterday", "", "-1", now.Add(time.Hour).Format(time.RFC3339)} {
		_, err := past.Resolve(t.Context(), moment, now)
		var bad *timetravel.MomentError
		require.ErrorAs(t, err, &bad, moment)
	}
}
