package faults

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/itest/fabric"
)

const (
	// rotation is how long endpoints of a lost node may be used after it was noticed.
	rotation = 5 * time.Second
	// afterwards is how long it is looked at what a fault's end brings: longer than a node may be silent.
	afterwards = 12 * time.Second
	// grace is how long feeds that have just begun call nobody lost.
	grace = 30 * time.Second
)

// faults come over one cluster, one after the other. Those that aren't told apart by what they ask come only for the table.
var faults = []struct {
	name  string
	table bool // for the table alone
	come  func(w *world) row
}{
	{"agent killed", false, agentKilled},
	{"dockerd killed", false, dockerKilled},
	{"dockerd away", true, dockerAway},
	{"dockerd stalled", true, dockerStalled},
	{"gateway killed", true, gatewayKilled},
	{"services and feed killed", true, halfKilled},
	{"feed stalled", true, feedStalled},
	{"leader killed", false, leaderKilled},
	{"leader stalled", true, leaderStalled},
	{"minority cut off", true, minorityGone},
	{"control machine gone", true, machineGone},
	{"majority gone", true, majorityGone},
	{"control plane down", false, allDown},
	{"agent away", true, agentAway},
	{"control plane cut off", true, controlCut},
	{"link cut", false, linkCut},
	{"node killed", false, nodeKilled},
}

// TestFaults has some of the faults come over a cluster, and all of them for the table.
func TestFaults(t *testing.T) {
	w := newWorld(t)
	var rows []row
	for _, fault := range faults {
		if fault.table && !tabulating() {
			continue
		}
		t.Run(fault.name, func(t *testing.T) { rows = append(rows, fault.come(w.in(t))) })
	}
	if !t.Failed() {
		tabulate(t, rows)
	}
}

// agentKilled kills the agent of the node through which the requests come, which its init system starts again.
func agentKilled(w *world) row {
	n := w.f.Node(stays)
	i := w.strike("agent killed, started again after 3 s", stays)
	n.KillAgent()
	i.goesOn(3 * time.Second)
	n.Agent()
	i.goesOn(afterwards)
	return i.unharmed()
}

// dockerKilled kills a node's dockerd, which its init system starts again.
func dockerKilled(w *world) row {
	n := w.f.Node(stays)
	i := w.strike("dockerd killed, started again after 3 s", stays)
	n.KillDocker()
	i.goesOn(3 * time.Second)
	n.StartDocker()
	i.goesOn(afterwards)
	return i.unharmed()
}

// dockerAway leaves a node without dockerd for longer than a node without one counts as ready.
func dockerAway(w *world) row {
	return withoutDocker(w, "dockerd killed, started again after 20 s", (*fabric.Node).KillDocker, (*fabric.Node).StartDocker)
}

// dockerStalled has a node's dockerd hang until that is noticed.
func dockerStalled(w *world) row {
	return withoutDocker(w, "dockerd stalled until its node was noticed not to be ready", (*fabric.Node).StallDocker, (*fabric.Node).ContinueDocker)
}

func withoutDocker(w *world, what string, lose, find func(*fabric.Node)) row {
	n := w.f.Node(stays)
	i := w.strike(what, stays)
	lose(n)
	w.p.ExpectReady(stays, "False")
	i.goesOn(20*time.Second - time.Since(i.struck))
	find(n)
	w.p.ExpectReady(stays, "True")
	w.p.Expect("its pods are endpoints again", "true true true", "get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", "jsonpath={.items[*].endpoints[*].conditions.ready}")
	i.goesOn(afterwards)
	events := i.over()
	i.noticed("NotReady", of(events, "NodeStatusChanged", stays))
	require.Zero(w.t, i.row.Failed, i.kinds())
	require.Zero(w.t, i.row.Replaced)
	require.Empty(w.t, of(events, "PodEvicted", ""))
	i.unstarted()
	return i.row
}

// gatewayKilled kills the gateway that the kubeconfig names first.
func gatewayKilled(w *world) row {
	part := fabric.Part{On: w.p.Machines()[0], Role: fabric.Gateway}
	i := w.strike("one of two gateways killed, started again after 10 s", stays)
	w.p.Kill(part)
	i.goesOn(10 * time.Second)
	w.p.Start(part)
	w.p.Ready(part)
	i.goesOn(afterwards)
	return i.unharmed()
}

// halfKilled kills one of two of what decides and of what nodes talk to.
func halfKilled(w *world) row {
	m := w.p.Machines()[0]
	parts := []fabric.Part{{On: m, Role: fabric.Services}, {On: m, Role: fabric.Feed}}
	i := w.strike("one of two services and feeds killed, started again after 10 s", stays)
	w.p.Kill(parts...)
	i.goesOn(10 * time.Second)
	w.p.Start(parts...)
	w.p.Ready(parts...)
	i.goesOn(afterwards)
	return i.unharmed()
}

// feedStalled stops a feed where it is, for longer than a node may be silent.
func feedStalled(w *world) row {
	part := fabric.Part{On: w.p.Machines()[0], Role: fabric.Feed}
	i := w.strike("one of two feeds stalled for 15 s", stays)
	w.p.Stall(part)
	i.goesOn(15 * time.Second)
	w.p.Continue(part)
	i.goesOn(afterwards)
	return i.unharmed()
}

// leaderKilled kills the broker that leads the ledger.
func leaderKilled(w *world) row {
	i := w.strike("broker that leads the ledger killed, started again after 10 s", stays)
	leader := fabric.Part{On: w.p.Leader(), Role: fabric.Broker}
	w.p.Kill(leader)
	i.goesOn(10 * time.Second)
	w.p.Start(leader)
	w.p.Ready(leader)
	i.goesOn(afterwards)
	return i.unharmed()
}

// leaderStalled stops the leader where it is: its connections stay, and nobody hears of it.
func leaderStalled(w *world) row {
	i := w.strike("broker that leads the ledger stalled for 20 s", stays)
	leader := fabric.Part{On: w.p.Leader(), Role: fabric.Broker}
	w.p.Stall(leader)
	i.goesOn(20 * time.Second)
	w.p.Continue(leader)
	w.p.Ready(leader)
	i.goesOn(afterwards)
	return i.unharmed()
}

// minorityGone takes a machine of the control plane off the network, with its broker and the keeper.
func minorityGone(w *world) row {
	m := w.p.Machines()[2]
	i := w.strike("one of three brokers cut off for 20 s", stays)
	require.NoError(w.t, m.Cut())
	i.goesOn(20 * time.Second)
	require.NoError(w.t, m.Heal())
	w.p.Ready(fabric.Part{On: m, Role: fabric.Broker})
	i.goesOn(afterwards)
	return i.unharmed()
}

// machineGone takes the power from a machine of the control plane, whose broker leads the ledger unless the keeper's does.
func machineGone(w *world) row {
	m := w.p.Machines()[0]
	if leader := w.p.Leader(); leader == w.p.Machines()[1] {
		m = leader
	}
	parts := slices.DeleteFunc(w.p.Parts(), func(p fabric.Part) bool { return p.On != m })
	i := w.strike("one of three control plane machines without power for 20 s: a broker, a gateway, services and a feed at once", stays)
	require.NoError(w.t, m.Cut()) // or the ends of its connections would be told
	w.p.Kill(parts...)
	i.goesOn(20 * time.Second)
	require.NoError(w.t, m.Heal())
	w.p.Start(parts...)
	w.p.Ready(parts...)
	i.goesOn(afterwards)
	return i.unharmed()
}

// majorityGone kills two brokers of three: nothing can be written.
func majorityGone(w *world) row {
	i := w.strike("two of three brokers killed, started again after 20 s", stays)
	var gone []fabric.Part
	for _, m := range w.p.Machines()[:2] {
		gone = append(gone, fabric.Part{On: m, Role: fabric.Broker})
	}
	w.p.Kill(gone...)
	i.goesOn(20 * time.Second)
	w.p.Start(gone...)
	w.p.Ready(w.p.Parts()...)
	i.goesOn(afterwards)
	return i.unharmed()
}

// allDown kills the whole control plane, for a minute if there is time, and agents meanwhile.
func allDown(w *world) row {
	down := 20 * time.Second
	if tabulating() {
		down = time.Minute
	}
	i := w.strike(fmt.Sprintf("whole control plane killed, started again after %.0f s; all agents killed and started meanwhile", down.Seconds()), stays)
	w.p.Kill(w.p.Parts()...)
	i.goesOn(5 * time.Second)
	for _, n := range w.f.Nodes() {
		n.KillAgent()
		n.Agent()
	}
	i.goesOn(down - time.Since(i.struck))
	w.p.Start(w.p.Parts()...)
	w.p.Ready(w.p.Parts()...)
	i.goesOn(grace + afterwards)
	return i.unharmed()
}

// agentAway leaves a node without agent until it is lost and its pods are replaced. They run on meanwhile: nobody is there to end them.
func agentAway(w *world) row {
	n := w.f.Node(breaks)
	i := w.strike("agent killed, started again when its node was lost and its pods replaced", breaks)
	gone := w.webPods()[breaks]
	n.KillAgent()
	i.replaced(gone[0])
	n.Agent()
	i.returned(gone[0])
	events := i.over()
	i.lost(events)
	require.Zero(w.t, i.row.Failed, i.kinds())
	i.kept()
	return i.row
}

// controlCut cuts a node off from the control plane, but not from the other nodes, until its pods are replaced. They are reached meanwhile, and reach others.
func controlCut(w *world) row {
	n := w.f.Node(breaks)
	i := w.strike("node cut off from the control plane alone, until its pods were replaced; requests from inside come from there", breaks)
	gone := w.webPods()[breaks]
	for _, m := range w.p.Machines() {
		require.NoError(w.t, n.CutTo(m))
	}
	i.replaced(gone[0])
	for _, m := range w.p.Machines() {
		require.NoError(w.t, n.HealTo(m))
	}
	i.returned(gone[0])
	events := i.over()
	i.lost(events)
	require.Zero(w.t, i.row.Failed, i.kinds())
	i.kept()
	return i.row
}

// linkCut cuts a node off until its pods are replaced. Those that are still wanted run on.
func linkCut(w *world) row {
	n := w.f.Node(breaks)
	i := w.strike("link of a node cut, healed when its pods were replaced", stays)
	gone := w.webPods()[breaks]
	require.NoError(w.t, n.Cut())
	w.t.Cleanup(func() { _ = n.Heal() }) // the next fault comes over a whole cluster, also if this test fails
	i.replaced(gone[0])
	require.NoError(w.t, n.Heal())
	i.returned(gone[0])
	events := i.over()
	i.lost(events)
	i.kept()
	return i.row
}

// nodeKilled takes a node's power, and gives it back when its pods were replaced.
func nodeKilled(w *world) row {
	n := w.f.Node(breaks)
	i := w.strike("node without power until its pods were replaced", stays)
	gone := w.webPods()[breaks]
	n.PowerOff()
	i.replaced(gone[0])
	n.PowerOn()
	n.Agent()
	i.returned(gone[0])
	events := i.over()
	i.lost(events)
	i.row.Restarted = w.restarts("steady-" + breaks)
	require.Equal(w.t, 1, i.row.Restarted, "what was to stay there runs again")
	return i.row
}

// restarts is how often a pod's container was started again.
func (w *world) restarts(pod string) (n int) {
	w.t.Helper()
	_, err := fmt.Sscan(w.p.Kubectl("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].restartCount}"), &n)
	require.NoError(w.t, err)
	return n
}
