package timetravel_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
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
			append1(rt, ledger, state, step(rt, state))
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

// One object is what the whole state says of it, at every revision.
func TestOneObjectIsWhatTheStateSays(t *testing.T) {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	rapid.Check(t, func(rt *rapid.T) {
		ledger, state := memory.New(memory.Faults{}), events.NewState(registry)
		steps := rapid.IntRange(1, 20).Draw(rt, "steps")
		for range steps {
			append1(rt, ledger, state, step(rt, state))
		}
		past := timetravel.New(ledger, registry)
		for revision := range events.Revision(steps + 1) {
			for _, name := range []string{"a", "b", "c"} {
				ref := events.Ref{Resource: "pods", Namespace: "default", Name: name}
				one, err := past.ObjectAt(t.Context(), ref, revision)
				require.NoError(rt, err)
				then, err := timetravel.Fold(t.Context(), ledger, registry, revision)
				require.NoError(rt, err)
				whole := then.Slot(ref)
				require.Equal(rt, whole == nil, one == nil)
				if whole != nil {
					require.Equal(rt, whole.Live(), one.Live())
					require.Equal(rt, whole.Typed(), one.Typed(), "%s at %d", ref, revision)
				}
			}
		}
	})
}

// append1 appends a proposal and folds it into state.
func append1(t require.TestingT, ledger events.Ledger, state *events.State, p events.Proposal) events.Revision {
	proposals := []events.Proposal{p}
	events.Audit{Actor: "test", At: time.Unix(0, 0)}.Sign(proposals)
	revision, err := ledger.Append(context.Background(), proposals...)
	require.NoError(t, err)
	require.NoError(t, ledger.Read(context.Background(), events.Query{From: revision}, func(e events.Event) bool {
		_, err := state.Apply(e)
		require.NoError(t, err)
		return true
	}))
	return revision
}

func TestNotesAreThoseOfThen(t *testing.T) {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	ledger, state := memory.New(memory.Faults{}), events.NewState(registry)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "u"}}
	append1(t, ledger, state, events.Create(state, pod, "PodCreated"))
	for _, message := range []string{"first", "second", "third"} {
		o, ok := state.Get(events.Ref{Resource: "pods", Namespace: "default", Name: "a"})
		require.True(t, ok)
		append1(t, ledger, state, events.Observe(o, pod, "PodStatusChanged").With(events.Note{Reason: "Told", Message: message}))
	}
	told := func(at *events.State) (out []string) {
		for o := range at.All(events.EventsResource, "") {
			out = append(out, o.Typed().(*corev1.Event).Message)
		}
		slices.Sort(out)
		return out
	}
	// In either order: the second look goes on from a state that is held, or begins anew.
	for _, order := range [][]events.Revision{{3, 4}, {4, 3}} {
		past := timetravel.New(ledger, registry)
		for _, revision := range order {
			then, err := past.StateAt(t.Context(), revision)
			require.NoError(t, err)
			require.Equal(t, []string{"first", "second", "third"}[:revision-1], told(then))
		}
	}
}

// slowLedger lets reads begin only when it is told to, and counts them.
type slowLedger struct {
	events.Ledger
	reads atomic.Int32
	begin chan struct{}
}

func (l *slowLedger) Read(ctx context.Context, q events.Query, yield func(events.Event) bool) error {
	if q.LastPerFacet {
		l.reads.Add(1)
	}
	select {
	case <-l.begin:
		return l.Ledger.Read(ctx, q, yield)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestManyWaitForOneFold(t *testing.T) {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		ledger, state := &slowLedger{Ledger: memory.New(memory.Faults{}), begin: make(chan struct{})}, events.NewState(registry)
		append1(t, ledger.Ledger, state, events.Create(state, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "u"}}, "PodCreated"))
		past := timetravel.New(ledger, registry)
		impatient, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				ctx := t.Context()
				if i == 0 {
					ctx = impatient
				}
				then, err := past.StateAt(ctx, 1)
				if i == 0 {
					assert.ErrorIs(t, err, context.Canceled)
					return
				}
				assert.NoError(t, err)
				assert.Equal(t, state.Hash(), then.Hash())
			})
		}
		synctest.Wait()
		leave() // whoever goes doesn't take the fold from the others
		synctest.Wait()
		close(ledger.begin)
		all.Wait()
		require.EqualValues(t, 1, ledger.reads.Load())
	})
}

func TestAFoldThatNobodyWaitsForEnds(t *testing.T) {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		ledger := &slowLedger{Ledger: memory.New(memory.Faults{}), begin: make(chan struct{})}
		past := timetravel.New(ledger, registry)
		ctx, leave := context.WithCancel(t.Context())
		leave()
		_, err := past.StateAt(ctx, 1)
		require.ErrorIs(t, err, context.Canceled)
		synctest.Wait() // the test fails if a goroutine is left
	})
}
