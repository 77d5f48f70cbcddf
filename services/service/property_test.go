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

// changes are what the histories do to Services: of type, of families, of ports. Some are refused for some Services, as by the API.
var changes = []string{
	"spec: {type: ClusterIP}", "spec: {type: NodePort}", "spec: {type: LoadBalancer}",
	"spec: {type: LoadBalancer, externalTrafficPolicy: Local}", "spec: {externalTrafficPolicy: Cluster}",
	"spec: {type: LoadBalancer, allocateLoadBalancerNodePorts: false}", "spec: {allocateLoadBalancerNodePorts: true}",
	"spec: {type: ExternalName, externalName: example.com}",
	"spec: {type: ClusterIP, clusterIP: None, clusterIPs: [None]}",
	"spec: {ipFamilyPolicy: SingleStack}", "spec: {ipFamilyPolicy: PreferDualStack}", "spec: {ipFamilyPolicy: RequireDualStack}",
	"spec: {ports: [{port: 80}]}", "spec: {ports: [{name: a, port: 80, nodePort: 30001}, {name: b, port: 81}]}",
	"spec: {ports: [{name: a, port: 80}, {name: b, port: 80, protocol: UDP}]}",
}

// TestNoAddressTwice lets three deciders race for ranges of 13 addresses each on states of different ages, while Services change their types, families
// and ports.
func TestNoAddressTwice(t *testing.T) {
	kinds := transcript.Registry(t)
	fresh := func() runner.Decider {
		return NewAddresses(netip.MustParsePrefix("10.96.0.0/28"), netip.MustParsePrefix("fd00:96::/124"))
	}
	rapid.Check(t, func(t *rapid.T) {
		w := transcript.NewWorld(kinds, fresh, fresh, fresh)
		require.NoError(t, w.Apply([]byte(`{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}, spec: {cidrs: [10.96.0.0/28, "fd00:96::/124"]}}`)))
		name := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("svc-%d", rapid.IntRange(0, 17).Draw(t, "name")) })
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				address := rapid.SampledFrom([]string{"", "", "", "10.96.0.3", "10.96.0.4", "fd00:96::3"}).Draw(t, "address")
				kind := rapid.SampledFrom([]string{"ClusterIP", "NodePort", "LoadBalancer"}).Draw(t, "type")
				policy := rapid.SampledFrom([]string{"SingleStack", "PreferDualStack", "RequireDualStack"}).Draw(t, "policy")
				port := ""
				if kind != "ClusterIP" && rapid.Bool().Draw(t, "asks") {
					port = ", nodePort: 30001"
				}
				ref := serviceRef("default", name.Draw(t, "name"))
				if _, exists := w.State().Get(ref); exists {
					return
				}
				require.NoError(t, w.Apply(fmt.Appendf(nil, "{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: {type: %s, clusterIP: %q, ipFamilyPolicy: %s, ports: [{port: 80%s}]}}",
					ref.Name, kind, address, policy, port)))
			},
			"change": func(t *rapid.T) {
				ref := serviceRef("default", name.Draw(t, "name"))
				if _, exists := w.State().Get(ref); exists {
					_ = w.Patch(ref, []byte(rapid.SampledFrom(changes).Draw(t, "change")))
				}
			},
			"delete": func(t *rapid.T) { _ = w.Delete(serviceRef("default", name.Draw(t, "name"))) },
			"turn":   func(t *rapid.T) { turn(t, w) },
			"":       func(t *rapid.T) { checkClaims(t, w.State(), false) },
		})
		require.NoError(t, w.Settle())
		checkClaims(t, w.State(), true)
	})
}

// needs are the claims that what a Service says calls for.
func needs(svc *corev1.Service) []events.Ref {
	var refs []events.Ref
	for _, text := range svc.Spec.ClusterIPs {
		if address, err := netip.ParseAddr(text); err == nil {
			refs = append(refs, addressClaim(address))
		}
	}
	for _, p := range svc.Spec.Ports {
		if p.NodePort != 0 {
			refs = append(refs, portClaim(p.NodePort))
		}
	}
	if p := svc.Spec.HealthCheckNodePort; p != 0 {
		refs = append(refs, portClaim(p))
	}
	slices.SortFunc(refs, compareRefs)
	return slices.Compact(refs) // TCP and UDP may share a node port
}

// checkWhole holds that a Service has what its type and its families call for.
func checkWhole(t *rapid.T, svc *corev1.Service) {
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		require.Empty(t, needs(svc))
		return
	}
	if svc.Spec.ClusterIP != corev1.ClusterIPNone {
		require.Len(t, svc.Spec.ClusterIPs, len(svc.Spec.IPFamilies), "%s has no address of some family and no reason", svc.Name)
		for i, address := range svc.Spec.ClusterIPs {
			require.Equal(t, svc.Spec.IPFamilies[i], familyOf(netip.MustParseAddr(address)))
		}
	}
	if svc.Spec.Type == corev1.ServiceTypeNodePort {
		for _, p := range svc.Spec.Ports {
			require.NotZero(t, p.NodePort)
		}
	}
	require.Equal(t, usesHealthPort(&svc.Spec), svc.Spec.HealthCheckNodePort != 0)
}

// checkClaims holds that what a Service was not refused it alone has, and, when quiet, that every claim has its Service.
func checkClaims(t *rapid.T, state *events.State, quiet bool) {
	had := map[events.Ref]string{}
	for o := range state.All(servicesKind, "") {
		svc := o.Typed().(*corev1.Service)
		if quiet && refusalOf(svc) == nil {
			checkWhole(t, svc)
		}
		for _, ref := range needs(svc) {
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
		require.NoError(t, w.Apply([]byte("{apiVersion: v1, kind: Node, metadata: {name: n1}}")))
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
