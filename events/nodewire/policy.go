package nodewire

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// What network policies mean to a node, resolved by the feed, so that a node needs to know neither labels nor pods that are none of its business.
// Their Data is JSON. They have no UID, Revision and Cause, as they follow from several objects.
const (
	// Policies are the network policies that select a pod of the node, by namespace and name: Policy.
	Policies Resource = "policies"
	// PodPolicies are the pods of the node that are isolated, by the pod's namespace and name: PodPolicy.
	PodPolicies Resource = "podpolicies"
	// PolicyPeers are the members of the groups that the policies name, by the group's ID as namespace and "namespace/name" of a pod: PolicyPeer.
	PolicyPeers Resource = "policypeers"
)

// Policy is a NetworkPolicy with its selectors resolved: what it allows, in each direction.
type Policy struct {
	Ingress []PolicyRule `json:"ingress,omitempty"`
	Egress  []PolicyRule `json:"egress,omitempty"`
}

// PolicyRule allows traffic with any of its peers at any of its Ports. The Targets need no port: each member names its own.
type PolicyRule struct {
	Everybody bool          `json:"everybody,omitempty"`
	Groups    []string      `json:"groups,omitempty"`  // IDs of groups
	Targets   []string      `json:"targets,omitempty"` // IDs of groups, whose members are allowed at the port that they give; egress only
	Blocks    []PolicyBlock `json:"blocks,omitempty"`
	Ports     []PolicyPort  `json:"ports,omitempty"` // none: every port of every protocol
}

// PolicyBlock is a range of addresses without some of its parts.
type PolicyBlock struct {
	CIDR   netip.Prefix   `json:"cidr"`
	Except []netip.Prefix `json:"except,omitempty"`
}

// PolicyPort is a port of a protocol, the ports up to End, if given, all if Port is 0, or the one that the isolated pod calls Name.
type PolicyPort struct {
	Protocol corev1.Protocol `json:"protocol"`
	Port     uint16          `json:"port,omitempty"`
	End      uint16          `json:"end,omitempty"`
	Name     string          `json:"name,omitempty"`
}

// PodPolicy says which policies of its namespace isolate a pod. It is isolated in a direction if any does.
type PodPolicy struct {
	UID     string       `json:"uid"`
	Ingress []string     `json:"ingress,omitempty"`
	Egress  []string     `json:"egress,omitempty"`
	Ports   []PolicyPort `json:"ports,omitempty"` // those of its containers that have a name
}

// PolicyPeer is a pod as a member of a group.
type PolicyPeer struct {
	Addresses []netip.Addr `json:"addresses"`
	Port      *PolicyPort  `json:"port,omitempty"` // where the group is of targets: Protocol and Port
}
