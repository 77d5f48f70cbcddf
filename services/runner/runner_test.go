package runner_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/runner"
)

var newRegistry = sync.OnceValues(schemas.NewRegistry)

// stamper decides that each ConfigMap's "stamp" annotation be its data's "text", not before the time in its data's "after". It falls over
// once on a ConfigMap whose text is "panic".
type stamper struct{ panicked bool }

func (s *stamper) Name() string { return "stamper" }

func (s *stamper) Keys(c events.Change, _ *events.State) []events.Ref {
	if c.Ref().Resource != "configmaps" {
		return nil
	}
	return []events.Ref{c.Ref()}
}

func (s *stamper) Decide(in runner.Input) runner.Decision {
	o, ok := in.State.Get(in.Key)
	if !ok {
		return runner.Decision{}
	}
	config := o.Typed().(*corev1.ConfigMap).DeepCopy()
	if config.Data["text"] == "panic" && !s.panicked {
		s.panicked = true
		panic("as asked")
	}
	if after, err := time.Parse(time.RFC3339, config.Data["after"]); err == nil && in.Now.Before(after) {
		return runner.Decision{Again: after}
	}
	if config.Annotations["stamp"] == config.Data["text"] {
		return runner.Decision{}
	}
	metav1.SetMetaDataAnnotation(&config.ObjectMeta, "stamp", config.Data["text"])
	p := events.Alter(o, config, "ConfigMapStamped", "metadata.annotations")
	if config.Data["text"] == "alone" {
		return runner.Decision{Each: []events.Proposal{p}}
	}
	return runner.Decision{Together: [][]events.Proposal{{p}}}
}

// counts is what runners tell of themselves.
type counts struct{ decided, conflicts, failures atomic.Int64 }

func (c *counts) Decided(string, time.Duration, int) { c.decided.Add(1) }

func (c *counts) Failed(_ string, conflict bool) {
	if conflict {
		c.conflicts.Add(1)
	} else {
		c.failures.Add(1)
	}
}

// world is a ledger in memory and a view of it.
type world struct {
	*testing.T
	ledger *memory.Ledger
	view   *events.View
	counts counts
}

func newWorld(t *testing.T, faults memory.Faults) *world {
	registry, err := newRegistry()
	require.NoError(t, err)
	w := &world{T: t, ledger: memory.New(faults)}
	w.view, err = events.OpenView(t.Context(), w.ledger, registry)
	require.NoError(t, err)
	return w
}

// run starts a runner and returns what kills it.
func (w *world) run() (kill func()) {
	ctx, cancel := context.WithCancel(w.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := runner.Runner{Decider: &stamper{}, View: w.view, Ledger: w.ledger, Log: slog.New(slog.DiscardHandler), Metrics: &w.counts}
		_ = r.Run(ctx)
	}()
	return func() { cancel(); <-done }
}

// write creates a ConfigMap or changes its data, whatever goes wrong on the way.
func (w *world) write(name string, data map[string]string) events.Revision {
	for {
		state := w.view.State()
		config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-of-" + name)}, Data: data}
		p := events.Create(state, config, "ConfigMapCreated")
		if o, ok := state.Get(p.Ref); ok {
			config.Annotations = o.Meta().GetAnnotations()
			p = events.Alter(o, config, "ConfigMapChanged", "data")
		}
		proposals := []events.Proposal{p}
		events.Audit{Actor: "user:tester", At: time.Now()}.Sign(proposals)
		if revision, err := w.ledger.Append(w.Context(), proposals...); err == nil {
			_, err = w.view.WaitFor(w.Context(), revision)
			require.NoError(w, err)
			return revision
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *world) stamp(name string) string {
	o, ok := w.view.State().Get(events.Ref{Resource: "configmaps", Namespace: "default", Name: name})
	require.True(w, ok)
	return o.Meta().GetAnnotations()["stamp"]
}

// stamped returns the events that runners wrote.
func (w *world) stamped() (stamped []events.Event) {
	require.NoError(w, w.ledger.Read(w.Context(), events.Query{}, func(e events.Event) bool {
		if e.Type == "ConfigMapStamped" {
			stamped = append(stamped, e)
		}
		return true
	}))
	return stamped
}

func text(s string) map[string]string { return map[string]string{"text": s} }

func TestRunnerDecidesWhatIsAndWhatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memory.Faults{})
		for i := range 300 { // more than one round
			w.write(fmt.Sprintf("c%d", i), text([]string{"alone", "together"}[i%2]))
		}
		w.run()
		synctest.Wait()
		require.Len(t, w.stamped(), 300)
		cause := w.write("c7", text("again"))
		synctest.Wait()
		require.Equal(t, "again", w.stamp("c7"))
		last := w.stamped()[300]
		require.Equal(t, "service:stamper", last.Actor)
		require.Equal(t, "configmaps/default/c7", last.Key)
		require.Equal(t, []events.Revision{cause, cause, cause}, []events.Revision{last.Cause, last.Correlation, last.Basis})
		require.WithinDuration(t, time.Now(), last.At, time.Millisecond)
		require.Zero(t, w.counts.conflicts.Load()+w.counts.failures.Load())
	})
}

func TestRunnerLooksAgainInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memory.Faults{})
		after := time.Now().Add(90 * time.Minute).Truncate(time.Second)
		w.write("late", map[string]string{"text": "x", "after": after.Format(time.RFC3339)})
		w.run()
		time.Sleep(time.Until(after) - time.Millisecond)
		synctest.Wait()
		require.Empty(t, w.stamp("late"))
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, "x", w.stamp("late"))
	})
}

func TestRunnerSurvivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memory.Faults{})
		w.write("bad", text("panic"))
		w.write("good", text("x"))
		w.run()
		synctest.Wait()
		require.Equal(t, []string{"", "x"}, []string{w.stamp("bad"), w.stamp("good")})
		require.EqualValues(t, 1, w.counts.failures.Load())
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, "panic", w.stamp("bad"))
	})
}

// Several runners, killed and started again, on a ledger on which everything that can go wrong does: each change is acted on exactly once.
func TestRunnersActOnceWhateverGoesWrong(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, memory.Faults{Seed: seed, LostRequest: 0.1, LostAcknowledgement: 0.1, Duplicate: 0.1, Conflict: 0.1, Delay: 0.3, Stall: 0.3,
					MaxDelay: 50 * time.Millisecond})
				w.run()
				kill := w.run()
				const objects, changes = 5, 10
				for n := range changes {
					for i := range objects {
						w.write(fmt.Sprintf("c%d", i), text([]string{"alone", fmt.Sprint(n)}[n%2]))
					}
					if n%3 == 0 {
						kill()
						kill = w.run()
					}
					time.Sleep(5 * time.Minute) // several of the longest waits between tries
				}
				require.Len(t, w.stamped(), objects*changes)
				require.NotZero(t, w.counts.conflicts.Load())
			})
		})
	}
}
