package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// explain says why no node will do for a pod, in the form that Kubernetes gives it, with the nearest miss.
func (a *account) explain(p *pod, c *company) string {
	head := fmt.Sprintf("0/%d nodes are available: ", a.existing)
	if a.existing == 0 {
		return head + "no nodes are registered."
	}
	if why := p.impossible(); why != "" {
		return head + why + "."
	}
	counts := map[string]int{}
	var nearest miss
	judge := func(n *node) {
		if n == nil || n.object == nil {
			return
		}
		reason := p.shape.ruledOut(n)
		if reason == "" {
			if reason = p.shape.full(n); reason != "" && reason != reasonPorts {
				if m := p.shape.missedBy(n); m.nearerThan(nearest) {
					nearest = m
				}
			}
		}
		if reason == "" {
			reason = c.refuses(n, "")
		}
		counts[reason]++
	}
	if p.shape.isPinned {
		for _, name := range p.shape.pinned {
			judge(a.byName[name])
		}
		a.countOthers(counts)
	} else {
		for _, n := range a.nodes {
			judge(n)
		}
	}
	return head + reasonCounts(counts) + "." + p.shape.tell(nearest)
}

// countOthers counts the nodes that a pod's affinity doesn't name.
func (a *account) countOthers(counts map[string]int) {
	others := a.existing
	for _, n := range counts {
		others -= n
	}
	if others > 0 {
		counts[reasonAffinity] += others
	}
}

func reasonCounts(counts map[string]int) string {
	reasons := slices.SortedFunc(maps.Keys(counts), func(x, y string) int {
		return cmp.Or(cmp.Compare(counts[y], counts[x]), strings.Compare(x, y))
	})
	for i, reason := range reasons {
		reasons[i] = fmt.Sprintf("%d %s", counts[reason], reason)
	}
	return strings.Join(reasons, ", ")
}

// miss is how far a node is from having room.
type miss struct {
	node  *node
	kinds int   // resources lacking
	worst int64 // thousandths of what is asked for, of the resource that is lacking most
}

func (s *shape) missedBy(n *node) miss {
	m := miss{node: n}
	s.lacking(n, func(_ corev1.ResourceName, lack, need int64) bool {
		m.kinds++
		m.worst = max(m.worst, int64(float64(lack)/float64(need)*1000))
		return true
	})
	return m
}

func (m miss) nearerThan(other miss) bool {
	if m.kinds == 0 || other.node == nil {
		return m.kinds != 0
	}
	return cmp.Or(cmp.Compare(m.kinds, other.kinds), cmp.Compare(m.worst, other.worst), strings.Compare(m.node.name, other.node.name)) < 0
}

// tell words a miss: " Nearest miss: n7 lacks 300Mi of memory."
func (s *shape) tell(m miss) string {
	if m.node == nil {
		return ""
	}
	var lacks []string
	s.lacking(m.node, func(name corev1.ResourceName, lack, _ int64) bool {
		quantity := resource.NewQuantity(lack, resource.DecimalSI)
		switch name {
		case corev1.ResourceCPU:
			quantity = resource.NewMilliQuantity(lack, resource.DecimalSI)
		case corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
			quantity = resource.NewQuantity(lack, resource.BinarySI)
		case corev1.ResourcePods:
			lacks = append(lacks, "room for another pod")
			return true
		}
		lacks = append(lacks, fmt.Sprintf("%s of %s", quantity, name))
		return true
	})
	return fmt.Sprintf(" Nearest miss: %s lacks %s.", m.node.name, strings.Join(lacks, " and "))
}
