package gateway

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
)

// allotWithin is how long the answer to a write waits for the addresses and node ports that a service left open.
const allotWithin = time.Second

// allotted returns the state in which a service that has just been written has the addresses and node ports that it left open. The API server
// of Kubernetes gives them out before it answers, and its clients look for them there; here another process does, a moment later. Where none does,
// or there are none to give, the state is the newest after allotWithin.
func (g *Gateway) allotted(ctx context.Context, ref events.Ref, state *events.State) *events.State {
	if ref.Resource != "services" || ref.Group != corev1.GroupName {
		return state
	}
	ctx, cancel := context.WithTimeout(ctx, allotWithin)
	defer cancel()
	for lacks(state, ref) {
		next, err := g.config.View.WaitFor(ctx, state.Revision()+1)
		if err != nil {
			return g.config.View.State()
		}
		state = next
	}
	return state
}

// lacks says whether a service waits for an address or a node port.
func lacks(state *events.State, ref events.Ref) bool {
	o, ok := state.Get(ref)
	if !ok {
		return false
	}
	service, ok := o.Typed().(*corev1.Service)
	if !ok || service.DeletionTimestamp != nil || service.Spec.Type == corev1.ServiceTypeExternalName {
		return false
	}
	spec := &service.Spec
	if spec.ClusterIP == "" || spec.ClusterIP != corev1.ClusterIPNone && len(spec.ClusterIPs) < len(spec.IPFamilies) {
		return true
	}
	balanced := spec.Type == corev1.ServiceTypeLoadBalancer
	wantsPorts := spec.Type == corev1.ServiceTypeNodePort || balanced && (spec.AllocateLoadBalancerNodePorts == nil || *spec.AllocateLoadBalancerNodePorts)
	if wantsPorts && slices.ContainsFunc(spec.Ports, func(p corev1.ServicePort) bool { return p.NodePort == 0 }) {
		return true
	}
	return balanced && spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && spec.HealthCheckNodePort == 0
}
