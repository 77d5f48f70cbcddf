package service

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
)

// turn lets a random seat look, or decide on what it last saw.
func turn(t *rapid.T, w *transcript.World) {
	seat := rapid.SampledFrom(w.Seats()).Draw(t, "seat")
	if rapid.Bool().Draw(t, "look") {
		seat.Look()
		return
	}
	require.NoError(t, seat.Decide())
}

// TestNoAddressTwice lets three deciders race for a range of 13 addresses on states of different ages.
func TestNoAddressTwice(t *testing.T) {
	kinds := transcript.Registry(t)
	fresh := func() runner.Decider { return NewAddresses(netip.MustParsePrefix("10.96.0.0/28")) }
	rapid.Check(t, func(t *rapid.T) {
		w := transcript.NewWorld(kinds, fresh, fresh, fresh)
		name := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("svc-%d", rapid.IntRange(0, 17).Draw(t, "name")) })
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				address := rapid.SampledFrom([]string{"", "", "", "10.96.0.3", "10.96.0.4"}).Draw(t, "address")
				kind := rapid.SampledFrom([]string{"ClusterIP", "NodePort", "LoadBalancer"}).Draw(t, "type")
				port := ""
				if kind != "ClusterIP" && rapid.Bool().Draw(t, "asks") {
					port = ", nodePort: 30001"
				}
				ref := serviceRef("default", name.Draw(t, "name"))
				if _, exists := w.State().Get(ref); exists {
					return
				}
				require.NoError(t, w.Apply(fmt.Appendf(nil, "{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: {type: %s, clusterIP: %q, ports: [{port: 80%s}]}}",
					ref.Name, kind, address, port)))
			},
			"delete": func(t *rapid.T) { _ = w.Delete(serviceRef("default", name.Draw(t, "name"))) },
			"turn":   func(t *rapid.T) { turn(t, w) },
			"":       func(t *rapid.T) { checkClaims(t, w.State(), false) },
		})
		require.NoError(t, w.Settle())
		checkClaims(t, w.State(), true)
	})
}

// checkClaims holds that what a Service was not refused it alone has, and, when quiet, that every claim has its Service.
func checkClaims(t *rapid.T, state *events.State, quiet bool) {
	had := map[events.Ref]string{}
	for o := range state.All(servicesKind, "") {
		svc := o.Typed().(*corev1.Service)
		var needs []events.Ref
		if address, err := netip.ParseAddr(svc.Spec.ClusterIP); err == nil {
			needs = append(needs, addressClaim(address))
		}
		for _, p := range svc.Spec.Ports {
			if p.NodePort != 0 {
				needs = append(needs, portClaim(p.NodePort))
			}
		}
		if quiet && refusalOf(svc) == nil {
			require.NotEmpty(t, svc.Spec.ClusterIP, "%s has no address and no reason", o.Ref)
		}
		for _, ref := range needs {
			claim, ok := state.Get(ref)
			h, _ := holderOf(claim)
			if !ok || h != (holder{o.Ref, o.UID()}) {
				require.False(t, quiet && refusalOf(svc) == nil, "%s was not refused and doesn't hold %s", o.Ref, ref)
				continue
			}
			require.Empty(t, had[ref], "%s is held twice", ref)
			had[ref] = svc.Name
		}
	}
	if !quiet {
		return
	}
	for _, kind := range []events.GroupResource{addressesKind, leasesKind} {
		for claim := range state.All(kind, "") {
			require.NotEmpty(t, had[claim.Ref], "%s is left over", claim.Ref)
		}
	}
}

// TestEndpointsAreThePods lets two deciders race, and compares what they come to with what the pods are.
func TestEndpointsAreThePods(t *testing.T) {
	kinds := transcript.Registry(t)
	rapid.Check(t, func(t *rapid.T) {
		w := transcript.NewWorld(kinds, newEndpoints, newEndpoints)
		app := rapid.SampledFrom([]string{"a", "b", "c"})
		podRef := rapid.Custom(func(t *rapid.T) events.Ref {
			return events.Ref{Resource: "pods", Namespace: "default", Name: fmt.Sprintf("p%d", rapid.IntRange(0, 7).Draw(t, "pod"))}
		})
		t.Repeat(map[string]func(*rapid.T){
			"service": func(t *rapid.T) {
				require.NoError(t, w.Apply(fmt.Appendf(nil, "{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: {clusterIP: None, selector: {app: %s}, ports: [{port: 80}]}}",
					rapid.SampledFrom([]string{"one", "two"}).Draw(t, "name"), app.Draw(t, "app"))))
			},
			"pod": func(t *rapid.T) {
				ref := podRef.Draw(t, "ref")
				if _, exists := w.State().Get(ref); exists {
					require.NoError(t, w.Patch(ref, fmt.Appendf(nil, "metadata: {labels: {app: %s}}", app.Draw(t, "app"))))
					return
				}
				require.NoError(t, w.Apply(fmt.Appendf(nil, "{apiVersion: v1, kind: Pod, metadata: {name: %s, labels: {app: %s}}, spec: {containers: [{name: c, image: i}]}}",
					ref.Name, app.Draw(t, "app"))))
			},
			"status": func(t *rapid.T) {
				ref := podRef.Draw(t, "ref")
				if _, exists := w.State().Get(ref); exists {
					require.NoError(t, w.Bind(ref, "n1"))
					require.NoError(t, w.PatchStatus(ref, fmt.Appendf(nil, `status: {podIP: 10.0.0.%s, phase: %s, conditions: [{type: Ready, status: "%s"}]}`, ref.Name[1:],
						rapid.SampledFrom([]string{"Running", "Failed"}).Draw(t, "phase"), rapid.SampledFrom([]string{"True", "False"}).Draw(t, "ready"))))
				}
			},
			"delete": func(t *rapid.T) { _ = w.Delete(podRef.Draw(t, "ref")) },
			"vanish": func(t *rapid.T) { _ = w.Vanish(podRef.Draw(t, "ref")) },
			"turn":   func(t *rapid.T) { turn(t, w) },
		})
		require.NoError(t, w.Settle())
		checkEndpoints(t, w.State())
		before := len(w.Entries())
		for _, seat := range w.Seats() {
			seat.Restart()
		}
		require.NoError(t, w.Settle())
		require.Len(t, w.Entries(), before, "deciders that begin again have nothing to add")
	})
}

func checkEndpoints(t *rapid.T, state *events.State) {
	for o := range state.All(servicesKind, "") {
		var want, have []string
		svc := o.Typed().(*corev1.Service)
		for p := range state.All(podsKind, "") {
			if pod := p.Typed().(*corev1.Pod); matches(svc.Spec.Selector, pod.Labels) && pod.Status.PodIP != "" && !isFinished(pod) {
				want = append(want, fmt.Sprintf("%s %t", pod.UID, isReady(pod) && pod.DeletionTimestamp == nil))
			}
		}
		for s := range state.Indexed(events.ByOwner, o.UID()) {
			for _, endpoint := range s.Typed().(*discoveryv1.EndpointSlice).Endpoints {
				have = append(have, fmt.Sprintf("%s %t", endpoint.TargetRef.UID, *endpoint.Conditions.Ready))
			}
		}
		slices.Sort(want)
		slices.Sort(have)
		require.Equal(t, want, have, "endpoints of %s", o.Ref)
	}
}

// TestManyPods holds that a slice holds 100 endpoints at most, and that one pod's readiness writes one slice.
func TestManyPods(t *testing.T) {
	const pods = 1050
	w := transcript.NewWorld(transcript.Registry(t), newEndpoints)
	require.NoError(t, w.Apply([]byte("{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80}]}}")))
	pod := func(i int) events.Ref {
		return events.Ref{Resource: "pods", Namespace: "default", Name: fmt.Sprintf("p%04d", i)}
	}
	for i := range pods {
		require.NoError(t, w.Apply(fmt.Appendf(nil, "{apiVersion: v1, kind: Pod, metadata: {name: %s, labels: {app: web}}, spec: {containers: [{name: c, image: i}]}}", pod(i).Name)))
		require.NoError(t, w.PatchStatus(pod(i), fmt.Appendf(nil, `status: {podIP: 10.0.%d.%d, phase: Running, conditions: [{type: Ready, status: "True"}]}`, i/250, i%250)))
	}
	require.NoError(t, w.Settle())
	require.Equal(t, 11, w.State().Count(slicesKind))
	legacy, _ := w.State().Get(events.Ref{Resource: "endpoints", Namespace: "default", Name: "web"})
	require.Equal(t, "truncated", legacy.Meta().GetAnnotations()[corev1.EndpointsOverCapacity])
	require.Equal(t, maxEndpoints, addresses(legacy.Typed().(*corev1.Endpoints).Subsets))

	before := len(w.Entries())
	require.NoError(t, w.PatchStatus(pod(7), []byte(`status: {conditions: [{type: Ready, status: "False"}]}`)))
	require.NoError(t, w.Settle())
	require.Len(t, w.Entries(), before+2, "the pod's change and one slice; the Endpoints are to wait a second")
	require.NoError(t, w.Pass(manyEvery))
	require.Len(t, w.Entries(), before+3)
}
