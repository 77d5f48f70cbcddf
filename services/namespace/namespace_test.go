package namespace

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
)

func fresh() runner.Decider { return New("PEM") }

func TestTranscripts(t *testing.T) {
	transcript.Test(t, transcript.Registry(t), "testdata/*.txt", fresh)
}

var team = events.Ref{Resource: "namespaces", Name: "team"}

// TestLarge holds that a namespace is emptied in steps that a ledger takes.
func TestLarge(t *testing.T) {
	w := transcript.NewWorld(transcript.Registry(t), fresh)
	require.NoError(t, w.Apply([]byte("{apiVersion: v1, kind: Namespace, metadata: {name: team}}")))
	for i := range 3 * maxGroup {
		require.NoError(t, w.Apply(fmt.Appendf(nil, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c%d, namespace: team}}", i)))
	}
	require.NoError(t, w.Settle())
	require.NoError(t, w.Delete(team))
	require.NoError(t, w.Pass(time.Second))
	require.Zero(t, w.State().Count(events.GroupResource{Resource: "configmaps"}))
	require.Zero(t, w.State().Count(namespaces))
}

// TestEndsEmpty deletes a namespace into which others write on, under racing deciders.
func TestEndsEmpty(t *testing.T) {
	kinds := transcript.Registry(t)
	rapid.Check(t, func(t *rapid.T) {
		w := transcript.NewWorld(kinds, fresh, fresh)
		require.NoError(t, w.Apply([]byte("{apiVersion: v1, kind: Namespace, metadata: {name: team}}")))
		count := 0
		pods := func(do func(events.Ref) error) {
			for o := range w.State().All(events.GroupResource{Resource: "pods"}, "team") {
				require.NoError(t, do(o.Ref))
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				count++
				kind := rapid.SampledFrom([]string{"kind: ConfigMap", "kind: Pod, spec: {containers: [{name: c, image: i}]}"}).Draw(t, "kind")
				require.NoError(t, w.Apply(fmt.Appendf(nil, "{apiVersion: v1, metadata: {name: o%d, namespace: team}, %s}", count, kind)))
			},
			"bind":   func(*rapid.T) { pods(func(ref events.Ref) error { return w.Bind(ref, "n1") }) },
			"delete": func(*rapid.T) { _ = w.Delete(team) },
			"turn": func(t *rapid.T) {
				seat := rapid.SampledFrom(w.Seats()).Draw(t, "seat")
				if rapid.Bool().Draw(t, "look") {
					seat.Look()
				} else {
					require.NoError(t, seat.Decide())
				}
			},
		})
		_ = w.Delete(team)
		require.NoError(t, w.Settle())
		pods(w.Vanish) // the nodes have done their part
		require.NoError(t, w.Pass(time.Minute))
		state := w.State()
		for _, gr := range state.Resources() {
			for o := range state.All(gr, "team") {
				t.Fatalf("%s is left", o.Ref)
			}
		}
		_, exists := state.Get(team)
		require.False(t, exists)
	})
}
