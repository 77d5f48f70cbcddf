package faults

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/itest/fabric"
)

// rotation is how long endpoints of a lost node may be used after it was noticed.
const rotation = 5 * time.Second

// faults come over one cluster, one after the other.
var faults = []struct {
	name string
	come func(t *testing.T, w *world) row
}{
	{"leader killed", leaderKilled},
	{"node killed", nodeKilled},
}

func TestFaults(t *testing.T) {
	w := newWorld(t)
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) { fault.come(t, w.in(t)) })
	}
}

// leaderKilled kills the broker that leads the ledger, and starts it again.
func leaderKilled(t *testing.T, w *world) row {
	i := w.strike(t, "broker that leads the ledger killed, and started again after 10 s")
	leader := fabric.Part{On: w.p.Leader(), Role: fabric.Broker}
	w.p.Kill(leader)
	i.goesOn(10 * time.Second)
	w.p.Start(leader)
	w.p.Ready(leader)
	i.goesOn(12 * time.Second)
	i.unharmed()
	return i.row
}

// nodeKilled takes a node's power, and gives it back.
func nodeKilled(t *testing.T, w *world) row {
	n := w.f.Node(breaks)
	i := w.strike(t, "node without power for 30 s")
	gone := w.webPods()[breaks]
	n.PowerOff()
	w.p.ExpectReady(breaks, "Unknown")
	w.p.Expect("its pod is replaced", "3", "get", "deployment", "web", "-o", "jsonpath={.status.availableReplicas}")
	last := i.lastFailure()
	i.goesOn(5 * time.Second)
	require.Equal(t, last, i.lastFailure(), "no request fails any more")
	n.PowerOn()
	n.Agent()
	w.p.ExpectReady(breaks, "True")
	w.p.Expect("the pod that was replaced is gone", "", "get", "pods", gone[0], "--ignore-not-found", "-o", "name")
	i.goesOn(5 * time.Second)
	events := i.over()
	noticed := i.lost(events, breaks)
	require.Less(t, i.lastFailure().Sub(noticed), rotation, "the endpoints of the lost node are out of rotation")
	require.Equal(t, 1, i.row.Replaced)
	return i.row
}
