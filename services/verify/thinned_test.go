package verify

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/services/runner"
)

// echo has the status of each pod say what its specification does, with a prefix.
type echo struct{ prefix, eventType string }

func (echo) Name() string                                   { return "echo" }
func (echo) Keys(events.Change, *events.State) []events.Ref { return nil }

func (e echo) Decide(in runner.Input) runner.Decision {
	o, ok := in.State.Get(in.Key)
	if !ok {
		return runner.Decision{}
	}
	pod := o.Typed().(*corev1.Pod).DeepCopy()
	pod.Status.Message = e.prefix + pod.Spec.Hostname
	return runner.Decision{Each: []events.Proposal{events.Observe(o, pod, e.eventType, "status.message")}}
}

// A status that an archive thinned can't be compared whole: that is told as such, and as a divergence only if what is left of it isn't decided again.
func TestThinnedRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		key := events.Ref{Resource: "pods", Namespace: "default", Name: "p"}
		at := time.Now()
		for _, hostname := range []string{"first", "second", "third"} { // 1, 3 and 5, by the tester; 2, 4 and 6 by echo
			synctest.Wait()
			state := w.view.State()
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "uid"}, Spec: corev1.PodSpec{Hostname: hostname}}
			p := events.Create(state, pod, "PodCreated")
			if o, ok := state.Get(key); ok {
				p = events.Alter(o, pod, "PodChanged", "spec.hostname")
			}
			basis := w.append(events.Audit{Actor: "user:tester", At: at}, p)
			synctest.Wait()
			decided := echo{"", "PodEchoed"}.Decide(runner.Input{State: w.view.State(), Key: key, Now: at})
			w.append(events.Audit{Actor: "service:echo", Key: key.String(), Basis: basis, At: at}, decided.Each...)
		}
		whole := w.ledger
		w.ledger = memory.New(memory.Faults{})
		require.NoError(t, whole.Read(t.Context(), events.Query{}, func(e events.Event) bool {
			p := events.Proposal{Event: e, Expect: max(e.Revision, 2) - 2}
			if p.Facet == events.Observed && p.Revision == 2 {
				p.Payload = nil
			} else if p.Facet == events.Desired && p.Revision == 1 {
				p.Expect = 0
			}
			_, err := w.ledger.Append(t.Context(), p)
			require.NoError(t, err)
			return true
		}))
		try := func(e echo) Report {
			return w.verify(Config{Deciders: func() []runner.Decider { return []runner.Decider{e} }})
		}

		same := try(echo{"", "PodEchoed"})
		require.Empty(t, same.Divergences)
		require.Equal(t, []Service{{Name: "echo", Decisions: 2, Recorded: 1}}, same.Services)
		require.Equal(t, []NotVerified{{Service: "echo", Reason: NotWhole, Events: 1, First: 4}, {Service: "echo", Reason: Thinned, Events: 1, First: 2}}, same.NotVerified)

		status := try(echo{"other ", "PodEchoed"})
		require.Len(t, status.Divergences, 1)
		require.EqualValues(t, 6, status.Divergences[0].Revision, "2 can't tell any more")

		told := try(echo{"", "PodAnswered"})
		require.Len(t, told.Divergences, 2)
		require.EqualValues(t, 2, told.Divergences[0].Revision)
		require.Equal(t, []Difference{{Path: "event.type", Recorded: "PodEchoed", Now: "PodAnswered"}}, told.Divergences[0].Fields)
	})
}
