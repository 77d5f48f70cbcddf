package policy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events/nodewire"
)

// counts says whether a pod matters to policies.
func counts(p *corev1.Pod) bool {
	return p != nil && !p.Spec.HostNetwork && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

func addressesOf(p *corev1.Pod) (all []netip.Addr) {
	for _, ip := range p.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil {
			all = append(all, addr.Unmap())
		}
	}
	if addr, err := netip.ParseAddr(p.Status.PodIP); err == nil && len(all) == 0 {
		all = append(all, addr.Unmap())
	}
	return all
}

// putPod takes over how a pod is now; nil: it is gone.
func (r *Resolver) putPod(namespaceName, name string, typed *corev1.Pod) {
	ns := r.namespace(namespaceName)
	p := ns.pods[name]
	if !counts(typed) {
		if p != nil {
			r.settlePod(p, func() { p.node = "" }, false)
			delete(ns.pods, name)
		}
		return
	}
	if p == nil {
		p = &pod{namespace: ns, name: name, policies: map[*policy]bool{}, groups: map[*group]bool{}}
		ns.pods[name] = p
	}
	addresses := addressesOf(typed)
	if p.uid == string(typed.UID) && p.node == typed.Spec.NodeName && slices.Equal(p.addresses, addresses) && maps.Equal(p.labels, typed.Labels) {
		return // ports of containers never change
	}
	r.settlePod(p, func() {
		p.uid, p.node, p.labels, p.addresses, p.ports = string(typed.UID), typed.Spec.NodeName, typed.Labels, addresses, namedPorts(typed)
	}, true)
}

// settlePod changes a pod and works out what follows; one that doesn't stay is chosen by nothing any more.
func (r *Resolver) settlePod(p *pod, change func(), stays bool) {
	formerNode, formerUID, formerAddresses := p.node, p.uid, p.addresses
	before := maps.Clone(p.policies)
	change()
	for _, by := range p.namespace.policies {
		if stays && by.selector.Matches(p.labels) {
			p.policies[by], by.pods[p] = true, true
		} else {
			delete(p.policies, by)
			delete(by.pods, p)
		}
	}
	for by := range p.policies {
		if !before[by] || p.node != formerNode {
			r.count(by, p.node, 1)
		}
	}
	for by := range before {
		if !p.policies[by] || p.node != formerNode {
			r.count(by, formerNode, -1)
		}
	}
	if formerNode != p.node {
		r.listPod(p, formerNode, false)
	}
	r.listPod(p, p.node, len(p.policies) > 0)
	if formerUID != p.uid || !maps.Equal(before, p.policies) {
		r.tellPod(p)
	}
	for g := range p.namespace.groups {
		r.setMember(g, p, stays && g.chooses(p))
		if g.members[p] && !slices.Equal(formerAddresses, p.addresses) {
			r.tellMember(g, p)
		}
	}
}

// listPod notes whether a pod is among the isolated ones of a node.
func (r *Resolver) listPod(p *pod, nodeName string, listed bool) {
	if nodeName == "" {
		return
	}
	n := r.node(nodeName)
	if n.pods[p] == listed {
		return
	}
	if listed {
		n.pods[p] = true
	} else {
		delete(n.pods, p)
	}
	r.tell(nodeName, p.tellName())
}

func (r *Resolver) tellPod(p *pod) {
	if p.node != "" {
		r.tell(p.node, p.tellName())
	}
}

// looksInto says whether members may come from a namespace.
func (g *group) looksInto(ns *namespace) bool {
	if g.namespaces == nil {
		return g.namespace == ns.name
	}
	return g.namespaces.Matches(ns.labels)
}

// chooses says whether a pod of a namespace that the group looks into is a member.
func (g *group) chooses(p *pod) bool {
	return len(p.addresses) > 0 && g.pods.Matches(p.labels) && (g.port.name == "" || portNamed(p.ports, g.port) != nil)
}

func (g *group) wire(p *pod) nodewire.PolicyPeer {
	w := nodewire.PolicyPeer{Addresses: p.addresses}
	if g.port.name != "" {
		w.Port = portNamed(p.ports, g.port)
	}
	return w
}

func (r *Resolver) setMember(g *group, p *pod, is bool) {
	if g.members[p] == is {
		return
	}
	if is {
		g.members[p], p.groups[g] = true, true
	} else {
		delete(g.members, p)
		delete(p.groups, g)
	}
	r.tellMember(g, p)
}

func (r *Resolver) tellMember(g *group, p *pod) {
	for nodeName := range g.nodes {
		r.tell(nodeName, g.tellName(p))
	}
}

// member finds a member by the name under which nodes know it.
func (r *Resolver) member(g *group, name string) *pod {
	namespaceName, podName, _ := strings.Cut(name, "/")
	ns := r.namespaces[namespaceName]
	if ns == nil || !g.members[ns.pods[podName]] {
		return nil
	}
	return ns.pods[podName]
}
