package loadbalancer

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
)

func fresh() runner.Decider { return New() }

func TestLoadBalancer(t *testing.T) {
	transcript.Test(t, transcript.Registry(t), "testdata/*.txt", fresh)
}

// TestNoAddressTwice lets two copies race for few addresses on states of different ages, while Services, pools and nodes change.
func TestNoAddressTwice(t *testing.T) {
	kinds := transcript.Registry(t)
	rapid.Check(t, func(t *rapid.T) {
		w := transcript.NewWorld(kinds, fresh, fresh)
		for _, node := range []string{"n1", "n2", "n3"} {
			require.NoError(t, w.Apply(fmt.Appendf(nil, `{apiVersion: v1, kind: Node, metadata: {name: %s, labels: {wake.dev/agent: "true"}}}`, node)))
		}
		name := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("svc-%d", rapid.IntRange(0, 6).Draw(t, "name")) })
		node := rapid.SampledFrom([]string{"n1", "n2", "n3"})
		t.Repeat(map[string]func(*rapid.T){
			"service": func(t *rapid.T) {
				wish := rapid.SampledFrom([]string{"", "", "192.0.2.2", "192.0.2.9"}).Draw(t, "wish")
				kind := rapid.SampledFrom([]string{"LoadBalancer", "LoadBalancer", "ClusterIP"}).Draw(t, "type")
				ref := serviceRef("default", name.Draw(t, "name"))
				spec := fmt.Sprintf("{type: %s, loadBalancerIP: %q, ports: [{port: 80}]}", kind, wish)
				if _, exists := w.State().Get(ref); exists {
					require.NoError(t, w.Patch(ref, fmt.Appendf(nil, "spec: %s", spec)))
					return
				}
				require.NoError(t, w.Apply(fmt.Appendf(nil, "{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: %s}", ref.Name, spec)))
			},
			"pools": func(t *rapid.T) {
				require.NoError(t, w.Apply(fmt.Appendf(nil, "{apiVersion: v1, kind: ConfigMap, metadata: {name: load-balancer-pools, namespace: kube-system}, data: {default: %q}}",
					rapid.SampledFrom([]string{"192.0.2.1-192.0.2.4", "192.0.2.2-192.0.2.3", "192.0.2.0/29"}).Draw(t, "pool"))))
			},
			"node": func(t *rapid.T) {
				ref := events.Ref{Resource: "nodes", Name: node.Draw(t, "node")}
				require.NoError(t, w.PatchStatus(ref, fmt.Appendf(nil, `status: {conditions: [{type: Ready, status: "%s"}]}`, rapid.SampledFrom([]string{"True", "Unknown"}).Draw(t, "ready"))))
			},
			"delete": func(t *rapid.T) { _ = w.Delete(serviceRef("default", name.Draw(t, "name"))) },
			"turn": func(t *rapid.T) {
				seat := rapid.SampledFrom(w.Seats()).Draw(t, "seat")
				if rapid.Bool().Draw(t, "look") {
					seat.Look()
					return
				}
				require.NoError(t, seat.Decide())
			},
			"": func(t *rapid.T) { checkAddresses(t, w.State(), false) },
		})
		require.NoError(t, w.Settle())
		checkAddresses(t, w.State(), true)
		before := len(w.Entries())
		for _, seat := range w.Seats() {
			seat.Restart()
		}
		require.NoError(t, w.Settle())
		require.Len(t, w.Entries(), before, "deciders that begin again have nothing to add")
	})
}

// checkAddresses holds that an address which a status gives is that Service's alone and, when quiet, that every claim is in its Service's status and announced
// by a node that is ready if there is one.
func checkAddresses(t *rapid.T, state *events.State, quiet bool) {
	gives := map[string]string{}
	for o := range state.All(servicesKind, "") {
		svc := o.Typed().(*corev1.Service)
		for _, ingress := range svc.Status.LoadBalancer.Ingress {
			claim, ok := state.Get(claimOf(netip.MustParseAddr(ingress.IP)))
			if h, _ := holderOf(claim); !ok || h != (holder{o.Ref, o.UID()}) {
				require.False(t, quiet, "%s gives %s, which it doesn't hold", o.Ref, ingress.IP)
				continue
			}
			require.Empty(t, gives[ingress.IP], "%s is given twice", ingress.IP)
			gives[ingress.IP] = svc.Name
		}
		if quiet && svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
			require.NotEqual(t, len(svc.Status.LoadBalancer.Ingress) > 0, conditionOf(svc, PendingCondition) != nil, "%s has an address or a reason", o.Ref)
		}
	}
	if !quiet {
		return
	}
	ready := map[string]bool{}
	for o := range state.All(nodesKind, "") {
		if isReady(o) {
			ready[o.Ref.Name] = true
		}
	}
	for claim := range state.All(addressesKind, "") {
		require.NotEmpty(t, gives[claim.Ref.Name], "%s is left over", claim.Ref)
		if len(ready) > 0 {
			require.True(t, ready[announcerOf(claim)], "%s is announced by %q", claim.Ref, announcerOf(claim))
		}
	}
}
