package policy

import (
	networkingv1 "k8s.io/api/networking/v1"
)

// putPolicy takes over how a policy is now.
func (r *Resolver) putPolicy(typed *networkingv1.NetworkPolicy) {
	ns := r.namespace(typed.Namespace)
	p := ns.policies[typed.Name]
	if p == nil {
		p = &policy{namespace: ns, name: typed.Name, pods: map[*pod]bool{}, groups: map[string]*group{}, nodes: map[string]int{}}
		ns.policies[typed.Name] = p
	}
	r.settlePolicy(p, compile(typed))
}

func (r *Resolver) dropPolicy(namespaceName, name string) {
	ns := r.namespace(namespaceName)
	if p := ns.policies[name]; p != nil {
		r.settlePolicy(p, compiled{})
		delete(ns.policies, name)
	}
}

// settlePolicy changes what a policy says and works out what follows; one without a selector selects nothing any more.
func (r *Resolver) settlePolicy(p *policy, says compiled) {
	turned := p.ingress != says.ingress || p.egress != says.egress
	former := p.groups
	p.compiled, p.groups = says, map[string]*group{}
	for id, s := range says.selections {
		p.groups[id] = r.group(id, s)
	}
	for nodeName := range p.nodes {
		r.tell(nodeName, p.tellName())
		for _, g := range p.groups {
			r.use(g, nodeName, 1)
		}
		for _, g := range former {
			r.use(g, nodeName, -1)
		}
	}
	for _, g := range former {
		r.release(g)
	}
	for _, pod := range p.namespace.pods {
		selects := says.selector != nil && says.selector.Matches(pod.labels)
		if selects != p.pods[pod] {
			r.setSelected(p, pod, selects)
		} else if selects && turned {
			r.tellPod(pod)
		}
	}
}

// setSelected makes a policy select a pod, or not any more.
func (r *Resolver) setSelected(p *policy, pod *pod, selects bool) {
	if selects {
		p.pods[pod], pod.policies[p] = true, true
		r.count(p, pod.node, 1)
	} else {
		delete(p.pods, pod)
		delete(pod.policies, p)
		r.count(p, pod.node, -1)
	}
	r.listPod(pod, pod.node, len(pod.policies) > 0)
	r.tellPod(pod)
}

// count counts the pods that a policy selects on a node. The first entitles the node to the policy and what it names, the last ends that.
func (r *Resolver) count(p *policy, nodeName string, more int) {
	if nodeName == "" {
		return
	}
	before := p.nodes[nodeName]
	p.nodes[nodeName] += more
	switch after := p.nodes[nodeName]; {
	case before == 0:
		r.node(nodeName).policies[p] = true
	case after == 0:
		delete(p.nodes, nodeName)
		delete(r.node(nodeName).policies, p)
	default:
		return
	}
	r.tell(nodeName, p.tellName())
	for _, g := range p.groups {
		r.use(g, nodeName, more)
	}
}

// use counts the policies of a node that name a group.
func (r *Resolver) use(g *group, nodeName string, more int) {
	before := g.nodes[nodeName]
	g.nodes[nodeName] += more
	switch after := g.nodes[nodeName]; {
	case before == 0:
		r.node(nodeName).groups[g] = true
	case after == 0:
		delete(g.nodes, nodeName)
		delete(r.node(nodeName).groups, g)
	default:
		return
	}
	for p := range g.members {
		r.tell(nodeName, g.tellName(p))
	}
}

// group returns the group of a selection for one more policy.
func (r *Resolver) group(id string, s selection) *group {
	g := r.groups[id]
	if g == nil {
		g = &group{selection: s, id: id, members: map[*pod]bool{}, nodes: map[string]int{}}
		r.groups[id] = g
		r.populate(g)
	}
	g.users++
	return g
}

// populate finds a new group's members. One of a single namespace looks nowhere else.
func (r *Resolver) populate(g *group) {
	look := func(ns *namespace) {
		ns.groups[g] = true
		for _, p := range ns.pods {
			if g.chooses(p) {
				g.members[p], p.groups[g] = true, true
			}
		}
	}
	if g.namespaces == nil {
		look(r.namespace(g.namespace))
		return
	}
	r.wide[g] = true
	for _, ns := range r.namespaces {
		if g.looksInto(ns) {
			look(ns)
		}
	}
}

// release gives a group up for one policy, and forgets it after the last.
func (r *Resolver) release(g *group) {
	if g.users--; g.users > 0 {
		return
	}
	delete(r.groups, g.id)
	delete(r.wide, g)
	for p := range g.members {
		delete(p.groups, g)
	}
	if g.namespaces == nil {
		delete(r.namespace(g.namespace).groups, g)
		return
	}
	for _, ns := range r.namespaces {
		delete(ns.groups, g)
	}
}
