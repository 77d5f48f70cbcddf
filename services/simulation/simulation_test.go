package simulation

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/runner"
)

var newRegistry = sync.OnceValues(schemas.NewRegistry)

var noon = time.Date(2026, time.January, 1, 12, 0, 0, 500, time.UTC)

// minder decides about ConfigMaps what decide says.
type minder func(o *events.Object, in runner.Input) runner.Decision

func (minder) Name() string { return "minder" }

func (minder) Keys(c events.Change, _ *events.State) []events.Ref {
	if c.Ref().Resource != "configmaps" {
		return nil
	}
	return []events.Ref{c.Ref()}
}

func (m minder) Decide(in runner.Input) runner.Decision {
	if o, ok := in.State.Get(in.Key); ok {
		return m(o, in)
	}
	return runner.Decision{}
}

func simulate(t *testing.T, decide minder) *Simulation {
	registry, err := newRegistry()
	require.NoError(t, err)
	return New(Config{State: events.NewState(registry), Deciders: []runner.Decider{decide}, Start: noon})
}

func config(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-of-" + name)}}
}

// stamp changes an annotation.
func stamp(o *events.Object, with string) events.Proposal {
	c := o.Typed().(*corev1.ConfigMap).DeepCopy()
	metav1.SetMetaDataAnnotation(&c.ObjectMeta, "stamp", with)
	return events.Alter(o, c, "ConfigMapStamped")
}

func TestTimePassesFromDecisionToDecision(t *testing.T) {
	var looked []time.Duration
	s := simulate(t, func(_ *events.Object, in runner.Input) runner.Decision {
		looked = append(looked, in.Now.Sub(noon.Truncate(time.Second)))
		return runner.Decision{Again: in.Now.Add(20*time.Minute + 300*time.Microsecond)}
	})
	require.NoError(t, s.Do("user:tester", events.Create(s.State(), config("a"), "ConfigMapCreated")))
	require.NoError(t, s.Run(t.Context(), noon.Add(time.Hour)))
	ms := time.Millisecond
	require.Equal(t, []time.Duration{ms, 20*time.Minute + 2*ms, 40*time.Minute + 3*ms}, looked) // never early, to the millisecond
	require.Equal(t, upToMillisecond(noon.Add(time.Hour)), s.Now())
}

func TestGuardsHoldAsInALedger(t *testing.T) {
	s := simulate(t, func(*events.Object, runner.Input) runner.Decision { return runner.Decision{} })
	a, b := events.Create(s.State(), config("a"), "ConfigMapCreated"), events.Create(s.State(), config("b"), "ConfigMapCreated")
	require.NoError(t, s.Do("user:tester", a))
	require.ErrorIs(t, s.Do("user:tester", b, a), events.ErrConflict)
	require.Equal(t, events.Revision(1), s.State().Revision(), "a batch is taken whole or not at all")
	require.Error(t, s.Do("user:tester", b, b))
	require.NoError(t, s.Do("user:tester", b))
	require.Equal(t, events.Revision(2), s.State().Revision())
}

func TestALostRaceIsRunAgain(t *testing.T) {
	s := simulate(t, func(o *events.Object, in runner.Input) runner.Decision {
		if o.Meta().GetAnnotations()["stamp"] == "mine" {
			return runner.Decision{}
		}
		p := stamp(o, "mine")
		if in.Now.Before(noon.Add(5 * time.Millisecond)) {
			p.Expect = 77 // somebody else's
		}
		return runner.Decision{Each: []events.Proposal{p}}
	})
	require.NoError(t, s.Do("user:tester", events.Create(s.State(), config("a"), "ConfigMapCreated")))
	require.NoError(t, s.Run(t.Context(), noon.Add(time.Second)))
	o, _ := s.State().Get(events.Ref{Resource: "configmaps", Namespace: "default", Name: "a"})
	require.Equal(t, "mine", o.Meta().GetAnnotations()["stamp"])
	require.Equal(t, "service:minder", o.Newest().Actor)
}

func TestWhatCannotGoOnSaysWhy(t *testing.T) {
	for name, one := range map[string]struct {
		decide minder
		want   string
	}{
		"panic": {func(*events.Object, runner.Input) runner.Decision { panic("as asked") },
			"minder panics 0s in, deciding about configmaps/default/a: as asked"},
		"never at rest": {func(o *events.Object, _ runner.Input) runner.Decision {
			return runner.Decision{Each: []events.Proposal{stamp(o, o.Meta().GetResourceVersion())}}
		}, "minder doesn't come to rest"},
		"refused": {func(o *events.Object, _ runner.Input) runner.Decision {
			p := stamp(o, "x")
			p.Type = ""
			return runner.Decision{Together: [][]events.Proposal{{p}}}
		}, "what minder decides about configmaps/default/a 0s in, no ledger would take"},
	} {
		t.Run(name, func(t *testing.T) {
			s := simulate(t, one.decide)
			require.NoError(t, s.Do("user:tester", events.Create(s.State(), config("a"), "ConfigMapCreated")))
			require.ErrorContains(t, s.Run(t.Context(), noon.Add(time.Hour)), one.want)
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := simulate(t, func(_ *events.Object, in runner.Input) runner.Decision {
		cancel()
		return runner.Decision{Again: in.Now.Add(time.Millisecond)}
	})
	require.NoError(t, s.Do("user:tester", events.Create(s.State(), config("a"), "ConfigMapCreated")))
	require.ErrorIs(t, s.Run(ctx, noon.Add(time.Hour)), context.Canceled)
}

func TestManifestsAreTakenApart(t *testing.T) {
	registry, err := newRegistry()
	require.NoError(t, err)
	names := func(text string) (names []string, err error) {
		documents, err := Manifest{Name: "file.yaml", Data: []byte(text)}.documents(registry)
		for _, d := range documents {
			names = append(names, d.Kind+"/"+d.Name)
		}
		return names, err
	}
	for _, text := range []string{
		"# a comment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: b}\n",
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}} {"apiVersion":"v1","kind":"Secret","metadata":{"name":"b"}}`,
		"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n- {apiVersion: v1, kind: Secret, metadata: {name: b}}\n",
	} {
		found, err := names(text)
		require.NoError(t, err)
		require.Equal(t, []string{"ConfigMap/a", "Secret/b"}, found, text)
	}
	for text, want := range map[string]string{
		"":             "file.yaml holds no objects",
		"# nothing\n":  "file.yaml holds no objects",
		"a: 1\na: 2\n": "no valid YAML",
		"{\"a\":":      "no valid JSON",
		"kind: Pod\n":  "apiVersion and kind must be set",
		"- a\n":        "no object",
		"apiVersion: v9\nkind: Pod\nmetadata: {name: a}\n": `no matches for kind "Pod" in version "v9"`,
		"apiVersion: v1\nkind: Pod\n":                      "a Pod without a name",
	} {
		_, err := names(text)
		require.ErrorContains(t, err, want, text)
	}
}
