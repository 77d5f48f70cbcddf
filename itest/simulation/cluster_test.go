package simulation

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/garbage"
	"github.com/wakehq/wake/services/job"
	"github.com/wakehq/wake/services/loadbalancer"
	"github.com/wakehq/wake/services/namespace"
	"github.com/wakehq/wake/services/node"
	"github.com/wakehq/wake/services/replication"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/scheduler"
	"github.com/wakehq/wake/services/service"
	"github.com/wakehq/wake/services/simulation"
)

var newRegistry = sync.OnceValues(schemas.NewRegistry)

var began = time.Date(2026, time.January, 1, 10, 0, 0, 0, time.UTC)

// services are those of a cluster.
func services() []runner.Decider {
	return []runner.Decider{scheduler.New(), replication.NewDeployments(), replication.NewSets(), job.New(),
		service.NewAddresses(netip.MustParsePrefix("10.96.0.0/16")), service.NewEndpoints(), loadbalancer.New(), garbage.New(), namespace.New("no certificate"), node.Node{}}
}

// grow returns the state of a cluster some minutes after manifests were applied to an empty one.
func grow(t require.TestingT, manifests ...string) *events.State {
	registry, err := newRegistry()
	require.NoError(t, err)
	s := simulation.New(simulation.Config{State: events.NewState(registry), Deciders: services(), Start: began})
	for i, manifest := range append([]string{namespaces}, manifests...) {
		_, _, err := s.Apply(simulation.Manifest{Name: fmt.Sprintf("manifest %d", i), Data: []byte(manifest)}, "")
		require.NoError(t, err)
		require.NoError(t, s.Run(background, s.Now().Add(time.Minute)))
	}
	return s.State()
}

const namespaces = `
apiVersion: v1
kind: Namespace
metadata: {name: default}
---
apiVersion: v1
kind: Namespace
metadata: {name: kube-node-lease}
`

// nodes are manifests of nodes n1, n2, … that report through the API, or with an agent.
func nodes(count int, cpu string, agent bool) string {
	var b strings.Builder
	for i := range count {
		label := ""
		if agent {
			label = `, wake.dev/agent: "true"`
		}
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Node\nmetadata: {name: n%d, labels: {kubernetes.io/hostname: n%d%s}}\nstatus:\n  capacity: {cpu: %q, memory: 8Gi, pods: \"110\"}\n",
			i+1, i+1, label, cpu)
	}
	return b.String()
}

func deployment(name string, replicas int, cpu string) string {
	return fmt.Sprintf(`---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      containers:
      - {name: main, image: busybox, resources: {requests: {cpu: %[3]s, memory: 64Mi}}}
`, name, replicas, cpu)
}

func ask(t testing.TB, state *events.State, q simulation.Question) *simulation.Report {
	t.Helper()
	r, err := simulation.Ask(t.Context(), state, services, services, q)
	require.NoError(t, err)
	return r
}
