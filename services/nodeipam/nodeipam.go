package nodeipam

import (
	"net/netip"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// HolderAnnotation of a claim is the UID of the Node that holds it.
const HolderAnnotation = "wake.dev/node-uid"

var (
	nodesKind  = events.GroupResource{Resource: "nodes"}
	leasesKind = events.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}
)

// everyNode is the only key: blocks are shared out among all nodes that wait at once, so that a thousand that come together don't ask for the same one.
var everyNode = events.Ref{Resource: nodesKind.Resource}

// NodeIPAM is the decider.
type NodeIPAM struct {
	ranges []Range
	nodes  map[string]node
	claims map[netip.Prefix]holder
}

// node is what counts of a Node.
type node struct {
	uid    string
	agent  bool
	ranges []netip.Prefix
	told   bool // its condition says that there is no range for it
}

// holder is who has a claim.
type holder struct{ node, uid string }

var (
	_ runner.Decider = (*NodeIPAM)(nil)
	_ runner.Folder  = (*NodeIPAM)(nil)
)

// New returns the decider for the ranges of a cluster, which ParseRanges has checked.
func New(ranges []Range) *NodeIPAM {
	return &NodeIPAM{ranges: ranges, nodes: map[string]node{}, claims: map[netip.Prefix]holder{}}
}

// Name is "node-ipam".
func (i *NodeIPAM) Name() string { return "node-ipam" }

// Fold keeps account of nodes and of who holds what.
func (i *NodeIPAM) Fold(c events.Change) {
	ref := c.Ref()
	switch {
	case ref.GroupResource() == nodesKind && c.New == nil:
		delete(i.nodes, ref.Name)
	case ref.GroupResource() == nodesKind:
		i.nodes[ref.Name] = nodeOf(c.New)
	case isClaim(ref):
		block, _ := claimedBlock(ref.Name)
		delete(i.claims, block)
		if h, ok := holderOf(c.New); ok {
			i.claims[block] = h
		}
	}
}

func nodeOf(o *events.Object) node {
	n := o.Typed().(*corev1.Node)
	of := node{uid: o.UID(), agent: n.Labels[events.AgentLabel] == "true", told: refused(n) != nil}
	texts := n.Spec.PodCIDRs
	if len(texts) == 0 && n.Spec.PodCIDR != "" {
		texts = []string{n.Spec.PodCIDR}
	}
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil {
			of.ranges = append(of.ranges, p.Masked())
		}
	}
	return of
}

// isClaim says that ref may be a claim's.
func isClaim(ref events.Ref) bool {
	if ref.GroupResource() != leasesKind || ref.Namespace != metav1.NamespaceSystem || !strings.HasPrefix(ref.Name, claimPrefix) {
		return false
	}
	_, ok := claimedBlock(ref.Name)
	return ok
}

// holderOf reads a claim; false if there is none.
func holderOf(o *events.Object) (holder, bool) {
	if o == nil {
		return holder{}, false
	}
	lease, ok := o.Typed().(*coordinationv1.Lease)
	if !ok || lease.Spec.HolderIdentity == nil {
		return holder{}, false
	}
	return holder{node: *lease.Spec.HolderIdentity, uid: lease.Annotations[HolderAnnotation]}, true
}

// Keys asks when a Node came, went, or was changed by somebody, and when a claim did.
func (i *NodeIPAM) Keys(c events.Change, _ *events.State) []events.Ref {
	ref := c.Ref()
	if ref.GroupResource() == nodesKind && (c.Old == nil || c.New == nil || c.Event.Facet == events.Desired) || isClaim(ref) {
		return []events.Ref{everyNode}
	}
	return nil
}

// refused is the condition of a Node that was told that there is no range for it; nil if it wasn't.
func refused(n *corev1.Node) *corev1.NodeCondition {
	at := slices.IndexFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionTrue && c.Reason == exhaustedReason
	})
	if at < 0 {
		return nil
	}
	return &n.Status.Conditions[at]
}
