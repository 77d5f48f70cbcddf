package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// waysToRoom lists ways in which a node would come to have room for a pod that could keep company with what is left there: one empty way if it has room
// already, none if it never will.
func (a *account) waysToRoom(p *pod, c *company, n *node) [][]step {
	short, words, share := false, []string{}, int64(0)
	less := true // asking for less is a way
	p.shape.lacking(n, func(name corev1.ResourceName, lack, need int64) {
		if name != corev1.ResourcePods {
			words = append(words, amountOf(name, lack))
		} else {
			words = append(words, "room for another pod")
		}
		short, less = true, less && name != corev1.ResourcePods && 2*lack <= need
		share = max(share, lack*mostForLack/max(need, 1))
	})
	holders := n.holders(p.demand.ports)
	victims, enough := a.victims(p, c, n, holders)
	switch {
	case !enough:
		return nil
	case len(victims) == 0:
		return [][]step{nil}
	}
	far := int(min(share, mostForLack))
	if short {
		words[0] = strings.Join(words, " and ") + " freed on " + n.name
	} else {
		words = []string{"room made on " + n.name}
	}
	free := step{words: words[0] + " by removing " + podNames(victims), effort: effortFree + effortVictim*len(victims) + far, frees: true, names: true}
	ways := [][]step{{free}}
	if short && less && len(holders) == 0 && c.refuses(n, "") == "" {
		lacks := strings.ReplaceAll(p.shape.lacks(n), " of ", " less of ")
		ways = append(ways, []step{{words: fmt.Sprintf("the pod asking for %s (for %s)", lacks, n.name), effort: effortAskLess + far, names: true}})
	}
	return ways
}

// holders are the pods that have ports of a node which a pod would need.
func (n *node) holders(ports []hostPort) []*pod {
	var holders []*pod
	for p := range n.pods {
		if slices.ContainsFunc(p.demand.ports, func(h hostPort) bool { return slices.ContainsFunc(ports, h.overlaps) }) {
			holders = append(holders, p)
		}
	}
	return holders
}

// victims finds few pods, the least important and smallest first, without which a node has room for p and p may run there. It is false where no few
// pods will do.
func (a *account) victims(p *pod, c *company, n *node, holders []*pod) ([]*pod, bool) {
	gone := slices.Clone(holders)
	defer func() {
		for _, v := range gone {
			a.putBack(v, n)
		}
	}()
	for _, v := range gone {
		a.takeOff(v, n)
	}
	for _, v := range n.unwelcome(p, c) {
		a.takeOff(v, n)
		gone = append(gone, v)
	}
	others := slices.SortedFunc(maps.Keys(n.pods), func(x, y *pod) int {
		return cmp.Or(cmp.Compare(x.priority, y.priority), cmp.Compare(p.helps(x, n), p.helps(y, n)), strings.Compare(x.ref.String(), y.ref.String()))
	})
	fits := func() bool { return p.shape.full(n) == lackNothing && p.company(a).allows(n) }
	if !fits() {
		for _, v := range others { // one that is enough by itself
			a.takeOff(v, n)
			if fits() {
				gone = append(gone, v)
				return slices.Clone(gone), len(gone) <= mostVictims
			}
			a.putBack(v, n)
		}
	}
	slices.SortStableFunc(others, func(x, y *pod) int {
		return cmp.Or(cmp.Compare(x.priority, y.priority), cmp.Compare(p.helps(y, n), p.helps(x, n)))
	})
	for _, v := range others { // else the largest
		if len(gone) >= mostVictims || fits() {
			break
		}
		a.takeOff(v, n)
		gone = append(gone, v)
	}
	return slices.Clone(gone), len(gone) <= mostVictims && fits()
}

// helps says how much of what p lacks on a node another pod takes there.
func (p *pod) helps(other *pod, n *node) int64 {
	share := int64(0)
	p.shape.lacking(n, func(name corev1.ResourceName, _, need int64) {
		share += other.demand.of(name) * mostForLack / max(need, 1)
	})
	return share
}

// unwelcome are pods on a node with which p may not share it.
func (n *node) unwelcome(p *pod, c *company) []*pod {
	if c.refuses(n, "") == "" {
		return nil
	}
	var found []*pod
	for other := range n.pods {
		keepsOff := p.rules != nil && slices.ContainsFunc(p.rules.apart, func(t *term) bool { return slices.Contains(other.in, t) }) ||
			other.rules != nil && slices.ContainsFunc(other.rules.apart, func(t *term) bool { return slices.Contains(p.in, t) })
		if keepsOff {
			found = append(found, other)
		}
	}
	slices.SortFunc(found, func(x, y *pod) int { return strings.Compare(x.ref.String(), y.ref.String()) })
	return found
}

// allows says that the pods already placed don't rule a node out.
func (c company) allows(n *node) bool { return c.refuses(n, "") == "" }

// takeOff and putBack try what it would be like without a pod.
func (a *account) takeOff(p *pod, n *node) {
	delete(n.pods, p)
	a.count(p, n, -1)
}

func (a *account) putBack(p *pod, n *node) {
	n.pods[p] = struct{}{}
	a.count(p, n, 1)
}

func podNames(pods []*pod) string {
	names := make([]string, len(pods))
	for i, p := range pods {
		names[i] = p.ref.Namespace + "/" + p.ref.Name
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// anotherNode words the node that would have to join: one like a node that is there, if that is large enough, else one with what the pod asks for.
func (a *account) anotherNode(p *pod, c *company) step {
	var like *node
	for _, n := range a.byName {
		if n.object == nil || len(p.obstaclesOf(n)) > 0 {
			continue
		}
		if empty := n.emptied(); p.shape.full(empty) == lackNothing && c.refuses(empty, "") == "" && (like == nil || n.name < like.name) {
			like = n
		}
	}
	if like != nil {
		return step{words: "one more node like " + like.name, effort: effortNode}
	}
	var needs []string
	for _, name := range append([]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}, p.shape.extended...) {
		if need := p.demand.of(name); need > 0 {
			needs = append(needs, amountOf(name, need))
		}
	}
	if len(needs) == 0 {
		return step{words: "another node", effort: effortNode}
	}
	return step{words: "a node with " + strings.Join(needs, ", "), effort: effortNode}
}

// emptied is a node like n that has nothing on it and a name of its own.
func (n *node) emptied() *node {
	object := n.object.DeepCopy()
	if _, ok := object.Labels[corev1.LabelHostname]; ok {
		object.Labels[corev1.LabelHostname] = n.name + "\x00"
	}
	return &node{name: n.name, object: object, taints: n.taints, zone: n.zone, allocatable: n.allocatable}
}

// of returns the amount of a resource.
func (a *amounts) of(name corev1.ResourceName) int64 {
	switch name {
	case corev1.ResourceCPU:
		return a.cpu
	case corev1.ResourceMemory:
		return a.memory
	case corev1.ResourceEphemeralStorage:
		return a.storage
	case corev1.ResourcePods:
		return a.pods
	default:
		return a.extended[name]
	}
}
