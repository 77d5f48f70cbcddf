package verify

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
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

// counter makes each ConfigMap say how many there are, and copies its data into a Secret of the same name, in one batch.
type counter struct{ known map[events.Ref]bool }

func newCounter() *counter { return &counter{known: map[events.Ref]bool{}} }

func (*counter) Name() string { return "counter" }

func (c *counter) Fold(change events.Change) {
	if ref := change.Ref(); ref.Resource == "configmaps" {
		if delete(c.known, ref); change.New != nil {
			c.known[ref] = true
		}
	}
}

func (*counter) Keys(change events.Change, _ *events.State) []events.Ref {
	if ref := change.Ref(); ref.Resource == "configmaps" && change.New != nil {
		return []events.Ref{ref}
	}
	return nil
}

func (c *counter) Decide(in runner.Input) runner.Decision {
	o, ok := in.State.Get(in.Key)
	if !ok {
		return runner.Decision{}
	}
	config := o.Typed().(*corev1.ConfigMap).DeepCopy()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: in.Key.Namespace, Name: in.Key.Name}, Data: map[string][]byte{"text": []byte(config.Data["text"])}}
	if config.Annotations["seen"] == config.Data["text"] {
		return runner.Decision{}
	}
	config.Annotations = map[string]string{"seen": config.Data["text"], "count": fmt.Sprint(len(c.known))}
	group := []events.Proposal{events.Alter(o, config, "ConfigMapCounted", "metadata.annotations")}
	if old, ok := in.State.Get(events.Ref{Resource: "secrets", Namespace: in.Key.Namespace, Name: in.Key.Name}); ok {
		secret.UID = types.UID(old.UID())
		group = append(group, events.Alter(old, secret, "SecretCopied", "data"))
	} else {
		secret.UID = events.DeriveUID(in.Key)
		group = append(group, events.Create(in.State, secret, "SecretCopied"))
	}
	return runner.Decision{Together: [][]events.Proposal{group}}
}

// world is a ledger that a counter acts on.
type world struct {
	*testing.T
	registry *schemas.Registry
	ledger   *memory.Ledger
	view     *events.View
}

func newWorld(t *testing.T) *world {
	registry, err := newRegistry()
	require.NoError(t, err)
	w := &world{T: t, registry: registry, ledger: memory.New(memory.Faults{})}
	w.view, err = events.OpenView(t.Context(), w.ledger, registry)
	require.NoError(t, err)
	return w
}

// run lets a counter come to rest.
func (w *world) run() {
	synctest.Wait() // the view has seen all
	ctx, cancel := context.WithCancel(w.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = runner.Runner{Decider: newCounter(), View: w.view, Ledger: w.ledger, Log: slog.New(slog.DiscardHandler)}.Run(ctx)
	}()
	time.Sleep(time.Second)
	cancel()
	<-done
}

// write creates or changes a ConfigMap.
func (w *world) write(name, text string) {
	synctest.Wait()
	state := w.view.State()
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-of-" + name)}, Data: map[string]string{"text": text}}
	p := events.Create(state, config, "ConfigMapCreated")
	if o, ok := state.Get(p.Ref); ok {
		config.Annotations = maps.Clone(o.Meta().GetAnnotations())
		p = events.Alter(o, config, "ConfigMapChanged", "data")
	}
	w.append(events.Audit{Actor: "user:tester", At: time.Now()}, p)
}

func (w *world) append(audit events.Audit, proposals ...events.Proposal) events.Revision {
	audit.Sign(proposals)
	revision, err := w.ledger.Append(w.Context(), proposals...)
	require.NoError(w, err)
	return revision
}

func (w *world) verify(config Config) Report {
	report, err := w.try(config)
	require.NoError(w, err)
	return report
}

func (w *world) try(config Config) (Report, error) {
	config.Ledger, config.Registry = w.ledger, w.registry
	if config.Deciders == nil {
		config.Deciders = func() []runner.Decider { return []runner.Decider{newCounter()} }
	}
	return Run(w.Context(), config)
}

// test gives a world with this history: 1 a, 2 b created; 3-4 a, 5-6 b counted; 7 a changed; 8-9 a counted.
func test(t *testing.T, body func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.write("a", "first")
		w.write("b", "first")
		w.run()
		w.write("a", "second")
		w.run()
		last, _, err := w.ledger.Last(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 9, last)
		body(w)
	})
}

func TestWhatIsVerified(t *testing.T) {
	test(t, func(w *world) {
		all := w.verify(Config{})
		require.Equal(t, []Service{{Name: "counter", Decisions: 3, Recorded: 6}}, all.Services)
		require.Equal(t, w.view.State().Hash(), all.Hash)
		require.Equal(t, []any{9, 0, events.Revision(1), events.Revision(9)}, []any{all.Events, all.SetAside, all.First, all.Revision})
		require.Empty(t, all.Unrecorded)

		require.Equal(t, []Service{{Name: "counter", Decisions: 1, Recorded: 2}}, w.verify(Config{From: 7}).Services)
		begun := w.verify(Config{To: 4})
		require.Equal(t, []Service{{Name: "counter", Decisions: 1, Recorded: 2}}, begun.Services)
		require.NotEqual(t, all.Hash, begun.Hash)

		cut := w.verify(Config{To: 3}) // between the events of one batch
		require.Zero(t, cut.Diverged)
		require.Equal(t, []Service{{Name: "counter", Decisions: 1, Recorded: 1}}, cut.Services)
	})
}

func TestNothingToVerify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		require.Equal(t, Report{Hash: events.NewState(w.registry).Hash()}, w.verify(Config{}))
	})
	test(t, func(w *world) {
		synctest.Wait()
		now := w.view.State()
		require.Equal(t, Report{Revision: 9, Hash: now.Hash()}, w.verify(Config{Start: now, To: 5}))
	})
}

func TestWhatCannotBeVerified(t *testing.T) {
	test(t, func(w *world) {
		near := w.verify(Config{Ahead: 1}) // b was counted 3 events after its basis
		require.Equal(t, []Service{{Name: "counter", Decisions: 2, Recorded: 4}}, near.Services)
		require.Equal(t, []NotVerified{{Service: "counter", Reason: TooFar, Events: 2, First: 5}}, near.NotVerified)

		then := events.NewState(w.registry)
		require.NoError(t, w.ledger.Read(t.Context(), events.Query{To: 4}, func(e events.Event) bool {
			_, err := then.Apply(e)
			return err == nil
		}))
		require.NoError(t, w.ledger.Trim(t.Context(), 4))
		_, err := w.try(Config{})
		require.ErrorContains(t, err, "history is held from revision 5 on")
		late := w.verify(Config{Start: then})
		require.Equal(t, []Service{{Name: "counter", Decisions: 1, Recorded: 2}}, late.Services)
		require.Equal(t, []NotVerified{{Service: "counter", Reason: NotHeld, Events: 2, First: 5}}, late.NotVerified)
		require.Equal(t, w.view.State().Hash(), late.Hash)
		require.EqualValues(t, 4, then.Revision())
	})
}

// other is a counter that says something else.
type other struct{ *counter }

func (o other) Decide(in runner.Input) runner.Decision {
	d := o.counter.Decide(in)
	for _, group := range d.Together {
		group[1].Payload = append([]byte(nil), group[1].Payload...)
		for i := range group[1].Payload {
			if group[1].Payload[i] == 's' { // of "first" and "second", and of a few other words
				group[1].Payload[i] = 'z'
			}
		}
	}
	return d
}

func TestSecretsAreNotTold(t *testing.T) {
	test(t, func(w *world) {
		report := w.verify(Config{Deciders: func() []runner.Decider { return []runner.Decider{other{newCounter()}} }, MaxDivergences: 2})
		require.Equal(t, 3, report.Diverged)
		require.Len(t, report.Divergences, 2)
		d := report.Divergences[0]
		require.Equal(t, []any{Differs, "secrets/default/a", events.Revision(4)}, []any{d.Kind, d.Recorded.Object, d.Revision})
		require.NotEmpty(t, d.Fields)
		for _, f := range d.Fields {
			require.NotContains(t, f.String(), "Zmlyc3Q", "the text in base64") // "first"
			require.NotContains(t, f.String(), "first")
		}
	})
}

// What no code can have recorded is told whatever the decider says.
func TestImpossibleRecords(t *testing.T) {
	test(t, func(w *world) {
		synctest.Wait()
		state := w.view.State()
		o, ok := state.Get(events.Ref{Resource: "configmaps", Namespace: "default", Name: "a"})
		require.True(t, ok)
		alter := func() events.Proposal { return events.Alter(o, o.Typed().(*corev1.ConfigMap), "ConfigMapCounted") }
		at := time.Now()
		// 10: on a state before its facet's last change, as no guard allows. 11: on the future. 12: about nothing.
		first := w.append(events.Audit{Actor: "service:counter", Key: "configmaps/default/a", Basis: 3, At: at}, alter())
		next := alter()
		next.Expect = first
		w.append(events.Audit{Actor: "service:counter", Key: "configmaps/default/a", Basis: 99, At: at}, next)
		next.Expect = first + 1
		w.append(events.Audit{Actor: "service:counter", Key: "a", Basis: first + 1, At: at}, next)
		report := w.verify(Config{})
		var reasons []string
		for _, d := range report.Divergences {
			require.Equal(t, Impossible, d.Kind)
			reasons = append(reasons, d.String())
		}
		require.Equal(t, []string{
			"10 ConfigMapCounted configmaps/default/a by counter on 3: its facet had changed at 8, after the state that it was decided on: no ledger takes it then",
			"11 ConfigMapCounted configmaps/default/a by counter on 99: it says that it was decided on the state at 99, which is not before it",
			`12 ConfigMapCounted configmaps/default/a by counter on 11: its key "a" names nothing`,
		}, reasons)
	})
}

// Events that aren't understood change nothing, here as in the view, and states that aren't whole are not decided on.
func TestHistoriesWithHoles(t *testing.T) {
	test(t, func(w *world) {
		require.NoError(t, w.ledger.Raw("ledger.desired.core.configmaps.default.c", map[string]string{"Wake-Type": "Odd"}, []byte("?")))
		config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "d", UID: "uid-of-d"}}
		bad := events.Create(w.view.State(), config, "ConfigMapCreated")
		bad.Payload = []byte{1, 2, 3}
		w.append(events.Audit{Actor: "user:tester", At: time.Now()}, bad)
		w.write("b", "second")
		w.run()
		synctest.Wait()
		report := w.verify(Config{})
		require.Zero(t, report.Diverged, report.Divergences)
		require.Equal(t, []any{2, w.view.State().Hash(), 4}, []any{report.SetAside, report.Hash, report.Decisions()})
		require.Len(t, report.Aside, 1)
		require.EqualValues(t, 11, report.Aside[0].Revision)

		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "p", UID: "uid-of-p"}}
		create := events.Create(w.view.State(), pod, "PodCreated")
		thinned := events.ObserveNew(w.view.State(), pod, "PodStarted")
		thinned.Payload = nil
		w.append(events.Audit{Actor: "user:tester", At: time.Now()}, create, thinned)
		w.write("a", "third")
		w.run()
		report = w.verify(Config{})
		require.Zero(t, report.Diverged, report.Divergences)
		require.Equal(t, 2, report.NotVerified[0].Events)
		require.Equal(t, NotWhole, report.NotVerified[0].Reason)
	})
}

func TestKeys(t *testing.T) {
	for _, ref := range []events.Ref{{Resource: "pods"}, {Resource: "nodes", Name: "n1.example"}, {Resource: "pods", Namespace: "a", Name: "b"},
		{Group: "apps", Resource: "deployments", Namespace: "a", Name: "b.c"}, {Group: "networking.k8s.io", Resource: "ipaddresses", Name: "fd00::1"}} {
		parsed, ok := parseKey(ref.String())
		require.True(t, ok, ref)
		require.Equal(t, ref, parsed)
	}
	for _, key := range []string{"", "pods", "/x"} {
		_, ok := parseKey(key)
		require.False(t, ok, key)
	}
}
