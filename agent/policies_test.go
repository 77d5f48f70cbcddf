package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/agent/policy"
	"github.com/wakehq/wake/events/nodewire"
)

// gated is an enforcer whose updates of the kernel wait until the gate is open.
type gated struct {
	*policy.Enforcer
	asked chan struct{} // gets a token for each update that begins to wait
	open  chan struct{}
}

func (g *gated) Sync(ctx context.Context) error {
	select {
	case g.asked <- struct{}{}:
	default:
	}
	select {
	case <-g.open:
	case <-ctx.Done():
		return ctx.Err()
	}
	return g.Enforcer.Sync(ctx)
}

// policed has a node's policies enforced in nftables tables of the test's own, and returns the name of the tables.
func policed(t *testing.T, wrap func(*policy.Enforcer) Policies) (string, func(*Config)) {
	t.Helper()
	table := fmt.Sprintf("wake-policy-t%d", time.Now().UnixNano())
	enforcer := func() *policy.Enforcer {
		e, err := policy.New(t.Context(), table, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		return e
	}
	remover := enforcer()
	t.Cleanup(func() { require.NoError(t, remover.Remove(context.Background())) })
	return table, func(c *Config) { c.Policies = wrap(enforcer()) }
}

// isolate tells the node that a policy isolates a pod and lets nobody in.
func (f *fakeFeed) isolate(name, uid string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for resource, value := range map[nodewire.Resource]any{
		nodewire.Policies: nodewire.Policy{}, nodewire.PodPolicies: nodewire.PodPolicy{UID: uid, Ingress: []string{name}},
	} {
		data, err := json.Marshal(value)
		if err != nil {
			panic(err)
		}
		f.send(nodewire.Object{Resource: resource, Namespace: "default", Name: name, Data: data})
	}
}

// set lists a set or map of the table.
func set(t *testing.T, table, name string) string {
	t.Helper()
	out, _ := exec.Command("nft", "list", "set", "inet", table, name).CombinedOutput() // it may not be there yet
	return string(out)
}

// TestPoliciesHoldBeforeAPodIsReached holds back the kernel's rules: until they are there, a pod has no network and no container of it runs.
func TestPoliciesHoldBeforeAPodIsReached(t *testing.T) {
	gate := &gated{asked: make(chan struct{}, 1), open: make(chan struct{})}
	table, setting := policed(t, func(e *policy.Enforcer) Policies { gate.Enforcer = e; return gate })
	n := newNode(t, setting)
	p := n.pod("shut", "serve=:8080", "forever")
	n.feed.isolate("shut", string(p.UID))
	n.feed.put(p)
	sandbox := func() []string {
		return strings.Fields(docker(t, "ps", "-q", "--no-trunc", "--filter", "label=io.wake.pod.uid="+string(p.UID)))
	}
	eventually(t, "the sandbox runs", func() bool { return len(sandbox()) == 1 })
	<-gate.asked
	pid := strings.TrimSpace(docker(t, "inspect", "--format", "{{.State.Pid}}", sandbox()[0]))
	links, err := exec.Command("nsenter", "-t", pid, "-n", "ip", "-o", "link").CombinedOutput()
	require.NoError(t, err, "%s", links)
	require.NotContains(t, string(links), "eth0", "a pod has no interface as long as its policies don't hold")
	require.Len(t, sandbox(), 1, "nor a container that runs")
	require.NotContains(t, set(t, table, "isolated-ingress-4"), "100.")

	close(gate.open)
	ip := n.until(p, "readiness", isReady).PodIP
	require.Contains(t, set(t, table, "isolated-ingress-4"), ip)
	n.feed.delete(p)
	n.feed.untilRemoved(t, p)
	n.feed.isolate("shut", "another")
	eventually(t, "an address that nobody has isn't isolated", func() bool { return !strings.Contains(set(t, table, "isolated-ingress-4"), ip) })
}

// TestRestartedAgentFindsWhomPoliciesConcern stops an agent, and has the next one enforce what it hears on pods that it only finds.
func TestRestartedAgentFindsWhomPoliciesConcern(t *testing.T) {
	table, setting := policed(t, func(e *policy.Enforcer) Policies { return e })
	n := newNode(t, setting)
	p := n.pod("found", "serve=:8080", "forever")
	n.feed.put(p)
	ip := n.until(p, "readiness", isReady).PodIP
	before := n.containers(p)
	n.stop()
	n.feed.isolate("found", string(p.UID))
	require.NotContains(t, set(t, table, "isolated-ingress-4"), ip)
	setting(&n.config)
	n.start()
	eventually(t, "the pod that was found is isolated", func() bool { return strings.Contains(set(t, table, "isolated-ingress-4"), ip) })
	require.Equal(t, before, n.containers(p))
}
