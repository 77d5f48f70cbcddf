package nodeipam

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// Reasons of the condition NetworkUnavailable.
const (
	exhaustedReason = "PodCIDRExhausted"
	assignedReason  = "PodCIDRAssigned"
)

// atOnce is how many nodes one decision serves; the next goes on where it ended.
const atOnce = 256

// Decide releases the claims of nodes that are gone, and gives ranges to nodes that have none or whose ranges nobody claims.
func (i *NodeIPAM) Decide(in runner.Input) runner.Decision {
	var d runner.Decision
	for _, block := range slices.SortedFunc(maps.Keys(i.claims), comparePrefixes) {
		if i.needed(block) {
			continue
		}
		if claim, ok := in.State.Get(claimRef(block)); ok {
			d.Each = append(d.Each, events.Remove(claim, RangeReleased))
		}
	}
	s := &sharing{ipam: i, in: in, taken: maps.Clone(i.claims), next: make([]int, len(i.ranges)), now: metav1.NewTime(in.Now.Truncate(1e9))}
	for _, name := range i.unserved() {
		if group := s.serve(name); len(group) > 0 {
			d.Together = append(d.Together, group)
		}
		if len(d.Together) == atOnce {
			break
		}
	}
	return d
}

// needed says that the holder of a claim is there, and that it isn't known to have other addresses.
func (i *NodeIPAM) needed(block netip.Prefix) bool {
	h := i.claims[block]
	n, ok := i.nodes[h.node]
	if !ok || n.uid != h.uid {
		return false
	}
	own, ok := n.of(Range{Prefix: block})
	return !ok || own.Overlaps(block)
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// unserved lists the nodes that want something: first those that come with a range, as nobody else is to get it, then those with an agent, for
// whom addresses are more than a matter of form.
func (i *NodeIPAM) unserved() []string {
	var names []string
	for name, n := range i.nodes {
		if n.told || !i.settled(name, n) {
			names = append(names, name)
		}
	}
	turn := func(name string) int {
		switch n := i.nodes[name]; {
		case len(n.ranges) > 0:
			return 0
		case n.agent:
			return 1
		}
		return 2
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(turn(a)-turn(b), strings.Compare(a, b)) })
	return names
}

// settled says that a node has a range of each kind and holds the claims.
func (i *NodeIPAM) settled(name string, n node) bool {
	for _, r := range i.ranges {
		own, ok := n.of(r)
		if !ok {
			return false
		}
		if !r.holds(own) {
			continue
		}
		for _, block := range r.covering(own) {
			if i.claims[block] != (holder{name, n.uid}) {
				return false
			}
		}
	}
	return true
}

// of is the node's range of r's family.
func (n node) of(r Range) (netip.Prefix, bool) {
	at := slices.IndexFunc(n.ranges, func(p netip.Prefix) bool { return p.Addr().Is4() == r.Prefix.Addr().Is4() })
	if at < 0 {
		return netip.Prefix{}, false
	}
	return n.ranges[at], true
}

// sharing is one decision on its way through the nodes.
type sharing struct {
	ipam  *NodeIPAM
	in    runner.Input
	taken map[netip.Prefix]holder // as the decision goes
	next  []int                   // by range: blocks below are taken
	now   metav1.Time
}

// serve words what one node gets.
func (s *sharing) serve(name string) []events.Proposal {
	o, ok := s.in.State.Get(nodeRef(name))
	if !ok {
		return nil
	}
	n, self := s.ipam.nodes[name], holder{name, o.UID()}
	var ranges, claims []netip.Prefix
	for at, r := range s.ipam.ranges {
		own, has := n.of(r)
		switch {
		case has && !r.holds(own): // somebody else's numbering
		case has && s.free(r, own, self):
			claims = append(claims, r.covering(own)...)
		default:
			if own, ok = s.lowest(at); !ok {
				return s.refuse(o, r)
			}
			claims = append(claims, own)
		}
		ranges = append(ranges, own)
	}
	var group []events.Proposal
	if !slices.Equal(ranges, n.ranges) {
		group = append(group, assign(o, ranges))
	}
	for _, block := range claims {
		before := s.ipam.claims[block]
		s.taken[block] = self
		if before != self {
			group = append(group, events.Create(s.in.State, s.claim(block, self), RangeClaimed))
		}
	}
	if refused(o.Typed().(*corev1.Node)) != nil {
		group = append(group, s.accept(o))
	}
	return group
}

// widest bounds the claims of a node that comes with a range of its own.
const widest = 256

// free says that nobody else holds a part of own.
func (s *sharing) free(r Range, own netip.Prefix, self holder) bool {
	if len(r.covering(own)) > widest {
		return false
	}
	for _, block := range r.covering(own) {
		if h, taken := s.taken[block]; taken && h != self {
			return false
		}
	}
	return true
}

// lowest is the lowest block of a range that nobody holds; false if there is none.
func (s *sharing) lowest(at int) (netip.Prefix, bool) {
	r := s.ipam.ranges[at]
	for ; s.next[at] < r.blocks(); s.next[at]++ {
		if block := r.block(s.next[at]); s.taken[block] == (holder{}) {
			return block, true
		}
	}
	return netip.Prefix{}, false
}

func assign(o *events.Object, ranges []netip.Prefix) events.Proposal {
	node := o.Typed().(*corev1.Node).DeepCopy()
	node.Spec.PodCIDR, node.Spec.PodCIDRs = ranges[0].String(), nil
	for _, r := range ranges {
		node.Spec.PodCIDRs = append(node.Spec.PodCIDRs, r.String())
	}
	return events.Alter(o, node, RangeAssigned, "spec.podCIDR", "spec.podCIDRs")
}

func (s *sharing) claim(block netip.Prefix, of holder) *coordinationv1.Lease {
	ref := claimRef(block)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name, Generation: 1, CreationTimestamp: s.now,
			UID:         events.DeriveUID(ref, of.uid, s.in.State.Slot(ref).Expect(events.Desired)),
			Annotations: map[string]string{HolderAnnotation: of.uid}},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &of.node},
	}
}

func claimRef(block netip.Prefix) events.Ref {
	return events.Ref{Group: leasesKind.Group, Resource: leasesKind.Resource, Namespace: metav1.NamespaceSystem, Name: claimName(block)}
}

func nodeRef(name string) events.Ref { return events.Ref{Resource: nodesKind.Resource, Name: name} }

// refuse tells a node with an agent that there is no range for it. Others have done without.
func (s *sharing) refuse(o *events.Object, r Range) []events.Proposal {
	before := o.Typed().(*corev1.Node)
	if before.Labels[events.AgentLabel] != "true" || refused(before) != nil {
		return nil
	}
	message := fmt.Sprintf("no /%d of %s is free for its pods: all %d are taken. Delete Nodes that are gone for good; a cluster with a wider --cluster-cidr has room for more.",
		r.Mask, r.Prefix, r.blocks())
	node := before.DeepCopy()
	s.set(node, corev1.ConditionTrue, exhaustedReason, message)
	note := events.Note{Reason: "CIDRNotAvailable", Message: fmt.Sprintf("Node %s: %s", node.Name, message), Warning: true}
	return []events.Proposal{events.Observe(o, node, RangeRefused, "status.conditions").With(note)}
}

func (s *sharing) accept(o *events.Object) events.Proposal {
	node := o.Typed().(*corev1.Node).DeepCopy()
	s.set(node, corev1.ConditionFalse, assignedReason, "the node has addresses for its pods")
	return events.Observe(o, node, RangeAccepted, "status.conditions")
}

func (s *sharing) set(node *corev1.Node, to corev1.ConditionStatus, reason, message string) {
	c := corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: to, Reason: reason, Message: message, LastTransitionTime: s.now, LastHeartbeatTime: s.now}
	at := slices.IndexFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeNetworkUnavailable })
	if at < 0 {
		node.Status.Conditions = append(node.Status.Conditions, c)
		return
	}
	node.Status.Conditions[at] = c
}
