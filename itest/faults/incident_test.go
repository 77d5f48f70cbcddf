package faults

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/itest/fabric"
)

// incident is a fault as it comes over a world, and what it costs.
type incident struct {
	*world
	before          uint64 // the ledger's revision
	struck          time.Time
	had             map[string]string // containers
	outside, inside *fabric.Counting
	writer          *writer
	row             row
}

// row is a fault in the table.
type row struct {
	Fault            string
	Noticed          string
	Requests, Failed int
	Gap              time.Duration
	Writes           time.Duration // for how long the API took none
	Replaced         int           // pods
	Restarted        int           // containers that ran on, and were started again
}

func (w *world) strike(t testing.TB, what string) *incident {
	w.calm()
	i := &incident{world: w, row: row{Fault: what, Noticed: "—"}}
	i.outside, i.inside, i.writer = w.outside().Count(t), w.inside().Count(t), w.write(t)
	w.f.Eventually("requests are answered and writes taken", func() error {
		if i.writer.count() < 5 || i.outside.SoFar().Total < 50 || i.inside.SoFar().Total < 50 {
			return fmt.Errorf("%d writes, %s, %s", i.writer.count(), i.outside.SoFar(), i.inside.SoFar())
		}
		return nil
	})
	i.had = w.containers(i.nodes()...)
	i.before, i.struck = w.revision(), time.Now()
	return i
}

func (i *incident) nodes() (names []string) {
	for _, n := range i.f.Nodes() {
		names = append(names, n.Name)
	}
	return names
}

// answered waits until the clients were answered for that long after now, in which nothing may change.
func (i *incident) goesOn(d time.Duration) {
	i.t.Helper()
	need := int(d / (20 * time.Millisecond))
	from := i.outside.SoFar().Total
	require.Eventually(i.t, func() bool { return i.outside.SoFar().Total >= from+need }, d+fabric.Patience, 100*time.Millisecond)
}

// over ends the clients, counts, and returns what happened in the ledger.
func (i *incident) over() []event {
	i.t.Helper()
	out, in := i.outside.Stop(), i.inside.Stop()
	i.row.Writes = i.writer.end()
	i.row.Requests, i.row.Failed = out.Total+in.Total, len(out.Failures)+len(in.Failures)
	i.row.Gap = max(out.Gap, in.Gap)
	all := i.log(i.before)
	for _, e := range of(all, "PodCreated", "") {
		if strings.HasPrefix(e.Ref.Name, "web-") {
			i.row.Replaced++
		}
	}
	i.t.Logf("%+v; from outside %s (%s), from inside %s (%s)", i.row, out, out.Kinds(), in, in.Kinds())
	return all
}

// lastFailure is when the last request failed that a client made.
func (i *incident) lastFailure() (at time.Time) {
	for _, tally := range []fabric.Tally{i.outside.SoFar(), i.inside.SoFar()} {
		for _, f := range tally.Failures {
			if f.At.After(at) {
				at = f.At
			}
		}
	}
	return at
}

// unharmed says that no request failed, no endpoint changed and no container was started or ended.
func (i *incident) unharmed() {
	i.t.Helper()
	events := i.over()
	require.Zero(i.t, i.row.Failed, "requests failed: outside %s, inside %s", i.outside.SoFar().Kinds(), i.inside.SoFar().Kinds())
	changes := slices.DeleteFunc(events, func(e event) bool {
		return e.Ref.Resource != "endpointslices" && e.Ref.Resource != "pods" && e.Ref.Resource != "nodes"
	})
	require.Empty(i.t, changes, "nothing of nodes, pods and endpoints changed")
	i.unstarted()
}

// unstarted says that each container still runs that ran before, and none is new.
func (i *incident) unstarted() {
	i.t.Helper()
	require.Empty(i.t, differing(i.had, i.containers(i.nodes()...)), "no container was started again")
}

// lost notes when the ledger said that a node is lost.
func (i *incident) lost(events []event, node string) time.Time {
	i.t.Helper()
	all := of(events, "NodeLost", node)
	require.Len(i.t, all, 1, "the node is lost once")
	i.row.Noticed = "NodeLost " + seconds(all[0].Stored.Sub(i.struck))
	return all[0].Stored
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
