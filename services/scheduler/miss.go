package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/wakehq/wake/events"
)

const (
	kindsShift  = 56 // of a distance: how many resources are lacking
	mostMisses  = 2  // told with a placement
	leastOfKind = 1<<kindsShift - 1
)

// miss is a node that would do if it had more room.
type miss struct {
	distance int64 // by how many resources, then by how many thousandths of what is asked for, of the resource that is lacking most
	node     *node
}

func (m miss) before(other miss) bool { return m.compare(other) < 0 }

func (m miss) compare(other miss) int {
	if m.distance != other.distance {
		return cmp.Compare(m.distance, other.distance)
	}
	return strings.Compare(m.node.name, other.node.name)
}

// distance says how far a node is from having room. It only grows when pods are put there.
func (s *shape) distance(n *node) int64 {
	kinds, worst := int64(0), int64(0)
	s.lacking(n, func(_ corev1.ResourceName, lack, need int64) {
		kinds++
		worst = max(worst, int64(float64(lack)/float64(need)*1000))
	})
	return kinds<<kindsShift | min(worst, leastOfKind)
}

// lacking calls yield with each resource of which the node has too little: how much it lacks and how much is asked for. What isn't requested is never
// lacking, even on a node that has given away more than it has.
func (s *shape) lacking(n *node, yield func(name corev1.ResourceName, lack, need int64)) {
	check := func(name corev1.ResourceName, need, used, has int64) {
		if lack := used + need - has; need > 0 && lack > 0 {
			yield(name, lack, need)
		}
	}
	used, has := &n.requested, &n.allocatable
	check(corev1.ResourcePods, s.pods, used.pods, has.pods)
	check(corev1.ResourceCPU, s.cpu, used.cpu, has.cpu)
	check(corev1.ResourceMemory, s.memory, used.memory, has.memory)
	check(corev1.ResourceEphemeralStorage, s.storage, used.storage, has.storage)
	for _, name := range s.extended {
		check(name, s.demand.extended[name], used.extended[name], has.extended[name])
	}
}

// lacks words what a node lacks: "300Mi of memory and 1 of cpu".
func (s *shape) lacks(n *node) string {
	var lacks []string
	s.lacking(n, func(name corev1.ResourceName, lack, _ int64) {
		if name == corev1.ResourcePods {
			lacks = append(lacks, "room for another pod")
		} else {
			lacks = append(lacks, amountOf(name, lack))
		}
	})
	return strings.Join(lacks, " and ")
}

// amountOf words so much of a resource: "300Mi of memory".
func amountOf(name corev1.ResourceName, n int64) string {
	quantity := resource.NewQuantity(n, resource.DecimalSI)
	switch name {
	case corev1.ResourceCPU:
		quantity = resource.NewMilliQuantity(n, resource.DecimalSI)
	case corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		quantity = resource.NewQuantity(n, resource.BinarySI)
	}
	return fmt.Sprintf("%s of %s", quantity, name)
}

// nearest collects the nearest misses.
type nearest struct {
	most   int
	misses []miss // the nearest first
}

func (l *nearest) full() bool { return len(l.misses) >= l.most }

func (l *nearest) last() miss { return l.misses[len(l.misses)-1] }

func (l *nearest) add(m miss) {
	if l.full() && l.last().before(m) {
		return
	}
	i, _ := slices.BinarySearchFunc(l.misses, m, miss.compare)
	l.misses = slices.Insert(l.misses, i, m)
	l.misses = l.misses[:min(len(l.misses), l.most)]
}

func (l *nearest) tell(s *shape) []events.Miss {
	if len(l.misses) == 0 {
		return nil
	}
	told := make([]events.Miss, len(l.misses))
	for i, m := range l.misses {
		told[i] = events.Miss{Node: m.node.name, Lacks: s.lacks(m.node)}
	}
	return told
}
