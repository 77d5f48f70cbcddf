package loadbalancer

import (
	"hash/fnv"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wakehq/wake/events"
)

// announcer chooses the node that announces an address: the one that does, as long as it may; else the one among those that may whose hash with the address is
// highest, so that addresses spread over nodes and all who choose choose the same. Empty: no node may and none did.
func (a *allotment) announcer(address netip.Addr, current string) string {
	selector := labels.Everything()
	if pool, ok := a.poolOf(address); ok {
		selector = pool.NodeSelector
	}
	var able []string
	for o := range a.state.All(nodesKind, "") {
		if mayAnnounce(o) && isReady(o) && selector.Matches(labels.Set(o.Meta().GetLabels())) {
			able = append(able, o.Ref.Name)
		}
	}
	if a.svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		serving := a.serving()
		if close := slices.DeleteFunc(slices.Clone(able), func(node string) bool { return !serving[node] }); len(close) > 0 {
			able = close
		}
	}
	switch {
	case slices.Contains(able, current):
		return current
	case len(able) > 0:
		return slices.MaxFunc(able, func(x, y string) int {
			hx, hy := weight(address, x), weight(address, y)
			switch {
			case hx < hy:
				return -1
			case hx > hy:
				return 1
			}
			return 0
		})
	}
	if o, ok := a.state.Get(events.Ref{Resource: nodesKind.Resource, Name: current}); ok && mayAnnounce(o) {
		return current
	}
	return ""
}

func weight(address netip.Addr, node string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(address.String() + "|" + node))
	x := h.Sum64() // FNV alone hardly mixes what differs in the last bytes
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}

// mayAnnounce says whether a node is one to announce addresses at all, well or not.
func mayAnnounce(o *events.Object) bool {
	own := o.Meta().GetLabels()
	_, excluded := own[corev1.LabelNodeExcludeBalancers]
	return own[events.AgentLabel] == "true" && !excluded && o.Meta().GetDeletionTimestamp() == nil
}

func isReady(o *events.Object) bool {
	return slices.ContainsFunc(o.Typed().(*corev1.Node).Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// serving are the nodes with endpoints of the Service that are ready.
func (a *allotment) serving() map[string]bool {
	nodes := map[string]bool{}
	for o := range a.state.All(slicesKind, a.owner.service.Namespace) {
		if o.Meta().GetLabels()[discoveryv1.LabelServiceName] != a.owner.service.Name {
			continue
		}
		for _, e := range o.Typed().(*discoveryv1.EndpointSlice).Endpoints {
			if e.NodeName != nil && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				nodes[*e.NodeName] = true
			}
		}
	}
	return nodes
}
