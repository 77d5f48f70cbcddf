package faults

import (
	"fmt"
	"slices"
	"strings"
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
	Last             string // failed request, after it was noticed
	Gap              time.Duration
	Writes           time.Duration // for how long the API took none
	Replaced         int           // pods
	Restarted        int           // containers that ran on, and were started again
}

// strike has clients ask, requests from inside coming from a node's pod, and notes what there is.
func (w *world) strike(what, node string) *incident {
	w.t.Helper()
	w.calm()
	i := &incident{world: w, row: row{Fault: what, Noticed: "—", Last: "—"}}
	i.outside, i.inside, i.writer = w.outside().Count(w.t), w.inside(node).Count(w.t), w.write(w.t)
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

// goesOn waits until the clients have asked for that long from now on.
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
	i.t.Cleanup(func() {
		if i.t.Failed() {
			for _, e := range all {
				i.t.Logf("%s after %s", e, seconds(e.Stored.Sub(i.struck)))
			}
			i.t.Log(i.late(time.Time{}))
		}
	})
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

// kinds says what failures were like.
func (i *incident) kinds() string {
	return fmt.Sprintf("requests failed: from outside %s; from inside %s", i.outside.SoFar().Kinds(), i.inside.SoFar().Kinds())
}

// unharmed ends an incident in which no request failed, nothing of nodes, pods and endpoints changed and no container was started or ended.
func (i *incident) unharmed() row {
	i.t.Helper()
	events := i.over()
	require.Zero(i.t, i.row.Failed, i.kinds())
	require.Empty(i.t, slices.DeleteFunc(events, func(e event) bool { // the endpoints of the service kubernetes are the gateways that run
		return e.Ref.Name == "kubernetes" || e.Actor == "system:bootstrap" || e.Ref.Resource != "endpointslices" && e.Ref.Resource != "endpoints" && e.Ref.Resource != "pods" && e.Ref.Resource != "nodes"
	}), "nothing of nodes, pods and endpoints changed")
	i.unstarted()
	return i.row
}

// unstarted says that each container still runs that ran before, and none is new.
func (i *incident) unstarted() {
	i.t.Helper()
	require.Empty(i.t, differing(i.had, i.containers(i.nodes()...)), "no container was started again")
}

// kept says that the containers that ran before run on, but for those of web.
func (i *incident) kept() {
	i.t.Helper()
	now := i.containers(i.nodes()...)
	for id, container := range i.had {
		if !strings.Contains(container, "web-") {
			require.Equal(i.t, container, now[id], "no container was started again that is still wanted")
		}
	}
}

// replaced waits until the node that breaks is lost and web runs without that pod, and says that no request fails then.
func (i *incident) replaced(pod string) {
	i.t.Helper()
	i.p.ExpectReady(breaks, "Unknown")
	i.f.Eventually("web runs elsewhere", func() error {
		on := i.webPods()
		for node, pods := range on {
			if node != breaks && len(pods) == 2 {
				return nil
			}
		}
		return fmt.Errorf("pods by node: %v", on)
	})
	i.p.Expect("the replacement is ready", "3", "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")
	from := time.Now()
	i.goesOn(5 * time.Second)
	require.Empty(i.t, i.late(from), "no request fails any more")
}

// returned waits until the node that broke is back and has ended the pod that was replaced meanwhile.
func (i *incident) returned(pod string) {
	i.t.Helper()
	i.p.ExpectReady(breaks, "True")
	i.p.Expect("the pod that was replaced is gone", "", "get", "pods", pod, "--ignore-not-found", "-o", "name")
	i.p.Expect("the pod that stays is ready", "True", "get", "pod", "steady-"+breaks, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	require.NotContains(i.t, i.f.Node(breaks).Docker("ps", "--all", "--format", "{{.Names}}"), pod)
	i.goesOn(afterwards)
}

// noticed notes when the first of some events came.
func (i *incident) noticed(what string, events []event) time.Time {
	i.t.Helper()
	require.NotEmpty(i.t, events, what)
	i.row.Noticed = what + " after " + seconds(events[0].Stored.Sub(i.struck))
	return events[0].Stored
}

// lost notes when the ledger said that the node that breaks is lost, which it said once, and says that requests fail only until soon after that.
func (i *incident) lost(events []event) {
	i.t.Helper()
	all := of(events, "NodeLost", breaks)
	require.Len(i.t, all, 1, "the node is lost once")
	at := i.noticed("NodeLost", all)
	require.Equal(i.t, 1, i.row.Replaced)
	if last := i.lastFailure(); !last.IsZero() {
		i.row.Last = seconds(last.Sub(at))
		require.Empty(i.t, i.late(at.Add(rotation)), "the endpoints of the lost node are out of rotation %s after it was noticed, at %s", rotation, at)
	}
}

// late lists the failures of requests that were begun after a moment, which are to be none.
func (i *incident) late(after time.Time) (list []string) {
	for name, tally := range map[string]fabric.Tally{"outside": i.outside.SoFar(), "inside": i.inside.SoFar()} {
		for _, f := range tally.Failures {
			if f.At.After(after) {
				list = append(list, fmt.Sprintf("%s, from %s: %v", f.At.Format("15:04:05.000"), name, f.Err))
			}
		}
	}
	return list
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
