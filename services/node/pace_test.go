package node

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
)

// sizes are the zones of the property test: as small as they get, small, and large.
var sizes = map[string]int{"one": 1, "small": 6, "large": 53}

// TestPaceHolds has nodes fail and return at random, and looks at each time that pods are driven off a node: it may be so at that moment. In the end all unready nodes
// of a zone that isn't held back have had their turn.
func TestPaceHolds(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := transcript.NewWorld(transcript.Registry(t), func() runner.Decider { return New() })
			random := rand.New(rand.NewPCG(seed, 0))
			var names []string
			for _, zone := range []string{"one", "small", "large"} {
				for i := range sizes[zone] {
					name := fmt.Sprintf("%s-%d", zone, i)
					names = append(names, name)
					require.NoError(t, w.Apply(fmt.Appendf(nil, "apiVersion: v1\nkind: Node\nmetadata: {name: %s, labels: {%s: \"true\", %s: %s}}\nstatus: {conditions: [{type: Ready, status: \"True\"}]}",
						name, events.AgentLabel, corev1.LabelTopologyZone, zone)))
				}
			}
			require.NoError(t, w.Settle())
			seen := &witness{state: events.NewState(w.State().Registry()), last: map[string]map[string]time.Time{}}
			for range 60 {
				share := random.IntN(100) // of the nodes that are meant, how many fail
				for range 1 + random.IntN(len(names)) {
					status := "True"
					if random.IntN(100) < share {
						status = []string{"False", "Unknown"}[random.IntN(2)]
					}
					name := names[random.IntN(len(names))]
					require.NoError(t, w.PatchStatus(nodeRef(name), fmt.Appendf(nil, "status: {conditions: [{type: Ready, status: %q, lastTransitionTime: %q}]}", status, w.Now().Format(time.RFC3339))))
				}
				require.NoError(t, w.Settle())
				seen.look(t, w)
				require.NoError(t, w.Pass(time.Duration(random.IntN(40))*time.Second))
				seen.look(t, w)
			}
			require.NoError(t, w.Pass(2*time.Hour))
			seen.look(t, w)
			fields := fieldOf(w.State())
			for o := range w.State().All(nodesKind, "") {
				node := o.Typed().(*corev1.Node)
				allowed := fields.every(zoneOf(node)) != 0
				if isReady(node) {
					require.Nil(t, driven(node), "%s is ready", node.Name)
				} else if allowed {
					require.NotNil(t, driven(node), "%s waits for ever: %+v", node.Name, fields)
				}
			}
		})
	}
}

// field is how many nodes of each zone are ready and unready.
type field struct{ ready, unready map[string]int }

func fieldOf(state *events.State) field {
	f := field{map[string]int{}, map[string]int{}}
	for o := range state.All(nodesKind, "") {
		node := o.Typed().(*corev1.Node)
		if isReady(node) {
			f.ready[zoneOf(node)]++
		} else {
			f.unready[zoneOf(node)]++
		}
	}
	return f
}

// every is the pace in a zone, as Kubernetes' documentation words it; 0 is none.
func (f field) every(zone string) time.Duration {
	if len(f.ready) == 0 {
		return 0
	}
	ready, unready := f.ready[zone], f.unready[zone]
	switch {
	case ready == 0 || unready <= 2 || float64(unready)/float64(ready+unready) < 0.55:
		return 10 * time.Second
	case ready+unready > 50:
		return 100 * time.Second
	}
	return 0
}

// witness holds each driving-off against the state of its moment.
type witness struct {
	state *events.State
	seen  int                             // entries
	last  map[string]map[string]time.Time // by zone and node, when pods were driven off those that have the taint
}

// look looks at what has happened since it looked last.
func (w *witness) look(t *testing.T, world *transcript.World) {
	t.Helper()
	for _, e := range world.Entries()[w.seen:] {
		w.seen++
		before := fieldOf(w.state)
		_, err := w.state.Apply(*e.Event)
		require.NoError(t, err)
		c := e.Changes[0]
		if c.Ref().GroupResource() != nodesKind || c.New == nil {
			continue
		}
		node := c.New.Typed().(*corev1.Node)
		zone, taint := zoneOf(node), driven(node)
		if w.last[zone] == nil {
			w.last[zone] = map[string]time.Time{}
		}
		if taint == nil {
			delete(w.last[zone], node.Name)
			continue
		}
		if c.Old == nil || driven(c.Old.Typed().(*corev1.Node)) == nil {
			every := before.every(zone)
			require.NotZero(t, every, "%s is driven off at %s: %+v", node.Name, e.Event.At, before)
			for other, at := range w.last[zone] {
				require.GreaterOrEqual(t, taint.TimeAdded.Sub(at), every, "%s follows %s too soon: %+v", node.Name, other, before)
			}
		}
		w.last[zone][node.Name] = taint.TimeAdded.Time
	}
}
