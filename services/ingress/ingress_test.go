package ingress

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
)

func fresh() runner.Decider { return New() }

func TestIngress(t *testing.T) {
	transcript.Test(t, transcript.Registry(t), "testdata/*.txt", fresh)
}

// TestStatusFollowsTheDoors lets nodes, classes and Ingresses change in any order under two copies, and holds what each status says when all is quiet.
func TestStatusFollowsTheDoors(t *testing.T) {
	kinds := transcript.Registry(t)
	rapid.Check(t, func(t *rapid.T) {
		w := transcript.NewWorld(kinds, fresh, fresh)
		node := rapid.SampledFrom([]string{"n1", "n2", "n3"})
		for i, name := range []string{"n1", "n2", "n3"} {
			require.NoError(t, w.Apply(fmt.Appendf(nil, `{apiVersion: v1, kind: Node, metadata: {name: %s}}`, name)))
			require.NoError(t, w.PatchStatus(events.Ref{Resource: "nodes", Name: name}, fmt.Appendf(nil, `status: {addresses: [{type: InternalIP, address: 192.0.2.%d}]}`, i+1)))
		}
		require.NoError(t, w.Apply([]byte(`{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: wake}, spec: {controller: wake.dev/ingress-controller}}`)))
		ingress := func(t *rapid.T) events.Ref {
			return events.Ref{Group: ingressesKind.Group, Resource: ingressesKind.Resource, Namespace: "default", Name: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "ingress")}
		}
		t.Repeat(map[string]func(*rapid.T){
			"ingress": func(t *rapid.T) {
				class := rapid.SampledFrom([]string{"", "ingressClassName: wake, ", "ingressClassName: other, "}).Draw(t, "class")
				require.NoError(t, w.Apply(fmt.Appendf(nil, "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: %s, namespace: default}, spec: {%sdefaultBackend: {service: {name: s, port: {number: 80}}}}}",
					ingress(t).Name, class)))
			},
			"delete": func(t *rapid.T) { _ = w.Delete(ingress(t)) },
			"default": func(t *rapid.T) {
				ref := events.Ref{Group: events.IngressClassesKind.Group, Resource: events.IngressClassesKind.Resource, Name: "wake"}
				require.NoError(t, w.Patch(ref, fmt.Appendf(nil, "metadata: {annotations: {ingressclass.kubernetes.io/is-default-class: %q}}", rapid.SampledFrom([]string{"true", "false"}).Draw(t, "default"))))
			},
			"door": func(t *rapid.T) {
				ref := events.Ref{Resource: "nodes", Name: node.Draw(t, "node")}
				require.NoError(t, w.Patch(ref, fmt.Appendf(nil, "metadata: {labels: {ingress.wake.dev/node: %q}}", rapid.SampledFrom([]string{"true", "false"}).Draw(t, "label"))))
			},
			"ready": func(t *rapid.T) {
				ref := events.Ref{Resource: "nodes", Name: node.Draw(t, "node")}
				require.NoError(t, w.PatchStatus(ref, fmt.Appendf(nil, `status: {conditions: [{type: Ready, status: "%s"}]}`, rapid.SampledFrom([]string{"True", "Unknown"}).Draw(t, "ready"))))
			},
			"turn": func(t *rapid.T) {
				seat := rapid.SampledFrom(w.Seats()).Draw(t, "seat")
				if rapid.Bool().Draw(t, "look") {
					seat.Look()
					return
				}
				require.NoError(t, seat.Decide())
			},
		})
		require.NoError(t, w.Settle())
		state := w.State()
		for o := range state.All(ingressesKind, "") {
			i := o.Typed().(*networkingv1.Ingress)
			var given []string
			for _, at := range i.Status.LoadBalancer.Ingress {
				given = append(given, at.IP)
			}
			if state.IngressClasses().Has(i) {
				require.Equal(t, doors(state), given, "%s is ours", o.Ref)
			} else {
				require.Empty(t, given, "%s isn't ours", o.Ref)
			}
		}
		before := len(w.Entries())
		for _, seat := range w.Seats() {
			seat.Restart()
		}
		require.NoError(t, w.Settle())
		require.Len(t, w.Entries(), before, "deciders that begin again have nothing to add")
	})
}
