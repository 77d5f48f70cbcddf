package policy

import (
	"encoding/json"
	"net/netip"
	"slices"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
)

// connection is what a policy is asked about. The far end may be no pod.
type connection struct {
	pod      *corev1.Pod // whose policies are asked
	ingress  bool
	far      *corev1.Pod // nil: somebody else
	address  netip.Addr  // of the far end
	protocol corev1.Protocol
	port     uint16 // at the end that is connected to
}

// naive answers from the objects alone, in the words of the API.
type naive struct{ state *events.State }

func (n naive) allowed(c connection) bool {
	isolated, allowed := false, false
	for o := range n.state.All(policiesKind, c.pod.Namespace) {
		p := o.Typed().(*networkingv1.NetworkPolicy)
		if !matches(&p.Spec.PodSelector, c.pod.Labels) || !slices.Contains(p.Spec.PolicyTypes, direction(c.ingress)) {
			continue
		}
		isolated = true
		allowed = allowed || n.allows(p, c)
	}
	return !isolated || allowed
}

func direction(ingress bool) networkingv1.PolicyType {
	if ingress {
		return networkingv1.PolicyTypeIngress
	}
	return networkingv1.PolicyTypeEgress
}

func (n naive) allows(p *networkingv1.NetworkPolicy, c connection) bool {
	if c.ingress {
		return slices.ContainsFunc(p.Spec.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool {
			return (len(r.From) == 0 || slices.ContainsFunc(r.From, func(peer networkingv1.NetworkPolicyPeer) bool { return n.is(p.Namespace, peer, c) })) &&
				ports(r.Ports, c, c.pod)
		})
	}
	return slices.ContainsFunc(p.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool {
		if len(r.To) == 0 {
			return ports(r.Ports, c, c.far)
		}
		return slices.ContainsFunc(r.To, func(peer networkingv1.NetworkPolicyPeer) bool {
			to := c.far
			if peer.IPBlock != nil {
				to = nil // a block's addresses have no names for their ports, even where a pod has one of them
			}
			return n.is(p.Namespace, peer, c) && ports(r.Ports, c, to)
		})
	})
}

// is says whether the far end is one of those that a peer stands for.
func (n naive) is(namespace string, p networkingv1.NetworkPolicyPeer, c connection) bool {
	if p.IPBlock != nil {
		return netip.MustParsePrefix(p.IPBlock.CIDR).Contains(c.address) &&
			!slices.ContainsFunc(p.IPBlock.Except, func(e string) bool { return netip.MustParsePrefix(e).Contains(c.address) })
	}
	if c.far == nil {
		return false
	}
	if p.NamespaceSelector == nil && c.far.Namespace != namespace || p.PodSelector != nil && !matches(p.PodSelector, c.far.Labels) {
		return false
	}
	return p.NamespaceSelector == nil || matches(p.NamespaceSelector, n.labelsOf(c.far.Namespace))
}

func (n naive) labelsOf(namespace string) map[string]string {
	if o, ok := n.state.Get(events.Ref{Resource: "namespaces", Name: namespace}); ok {
		return o.Meta().GetLabels()
	}
	return nil
}

func ports(all []networkingv1.NetworkPolicyPort, c connection, to *corev1.Pod) bool {
	return len(all) == 0 || slices.ContainsFunc(all, func(p networkingv1.NetworkPolicyPort) bool {
		if p.Protocol == nil && c.protocol != corev1.ProtocolTCP || p.Protocol != nil && *p.Protocol != c.protocol {
			return false
		}
		switch {
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			return to != nil && slices.ContainsFunc(to.Spec.Containers[0].Ports, func(has corev1.ContainerPort) bool {
				return has.Name == p.Port.StrVal && has.Protocol == c.protocol && has.ContainerPort == int32(c.port)
			})
		case p.EndPort != nil:
			return p.Port.IntVal <= int32(c.port) && int32(c.port) <= *p.EndPort
		}
		return p.Port.IntVal == int32(c.port)
	})
}

func matches(s *metav1.LabelSelector, set map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(set))
}

// told is what a node has been told, by names.
type told map[Name]nodewire.Object

func everything(t require.TestingT, r *Resolver, node string) told {
	all := told{}
	for name := range r.Names(node) {
		o, ok, err := r.Object(node, name)
		require.NoError(t, err)
		require.True(t, ok, "%v is listed for %s, which isn't entitled to it", name, node)
		all[name] = o
	}
	return all
}

func read[T any](t require.TestingT, o nodewire.Object) (v T) {
	require.NoError(t, json.Unmarshal(o.Data, &v))
	return v
}

// allowed answers from what the pod's node was told.
func (k told) allowed(t require.TestingT, c connection) bool {
	o, isolated := k[Name{nodewire.PodPolicies, c.pod.Namespace, c.pod.Name}]
	if !isolated {
		return true
	}
	pod := read[nodewire.PodPolicy](t, o)
	require.Equal(t, string(c.pod.UID), pod.UID)
	names := pod.Egress
	if c.ingress {
		names = pod.Ingress
	}
	for _, name := range names {
		policy := read[nodewire.Policy](t, k[Name{nodewire.Policies, c.pod.Namespace, name}])
		rules := policy.Egress
		if c.ingress {
			rules = policy.Ingress
		}
		if slices.ContainsFunc(rules, func(r nodewire.PolicyRule) bool { return k.allows(t, pod, r, c) }) {
			return true
		}
	}
	return len(names) == 0
}

func (k told) allows(t require.TestingT, pod nodewire.PodPolicy, r nodewire.PolicyRule, c connection) bool {
	for _, id := range r.Targets {
		if port := k.member(t, id, c.address).Port; port != nil && port.Protocol == c.protocol && port.Port == c.port {
			return true
		}
	}
	peer := r.Everybody || slices.ContainsFunc(r.Groups, func(id string) bool { return len(k.member(t, id, c.address).Addresses) > 0 }) ||
		slices.ContainsFunc(r.Blocks, func(b nodewire.PolicyBlock) bool {
			return b.CIDR.Contains(c.address) && !slices.ContainsFunc(b.Except, func(e netip.Prefix) bool { return e.Contains(c.address) })
		})
	return peer && (len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p nodewire.PolicyPort) bool {
		if p.Name != "" {
			named := portNamed(pod.Ports, namedPort{p.Protocol, p.Name})
			return named != nil && p.Protocol == c.protocol && named.Port == c.port
		}
		return p.Protocol == c.protocol && (p.Port == 0 || p.Port == c.port || p.Port <= c.port && c.port <= p.End)
	}))
}

func (k told) member(t require.TestingT, group string, address netip.Addr) nodewire.PolicyPeer {
	for name, o := range k {
		if name.Resource == nodewire.PolicyPeers && name.Namespace == group {
			if peer := read[nodewire.PolicyPeer](t, o); slices.Contains(peer.Addresses, address) {
				return peer
			}
		}
	}
	return nodewire.PolicyPeer{}
}
