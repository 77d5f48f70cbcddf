package scheduler

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
)

const (
	wholePoints    = 10_000 // of a node that is empty after taking the pod, for being free
	mostCurveScore = 10     // as Kubernetes counts it in a CurvePoint
)

// fixedScore is the part of a node's score that follows from the Node alone.
func (s *shape) fixedScore(n *node) int64 { return s.preferScore(n) + s.taintScore(n) }

func (s *shape) preferScore(n *node) int64 {
	if s.preferred == nil {
		return 0
	}
	return s.points.prefer * s.preferred.Score(n.object)
}

func (s *shape) taintScore(n *node) int64 {
	score := int64(0)
	for i := range n.taints {
		if t := &n.taints[i]; t.Effect == corev1.TaintEffectPreferNoSchedule && !tolerated(s.tolerations, t) {
			score -= s.points.avoid
		}
	}
	return score
}

// freeScore is the share of CPU and memory that is left once the pod is there, or what it is worth by another strategy.
func (s *shape) freeScore(n *node) int64 {
	p := s.points
	cpu, memory := p.share(n.allocatable.cpu, n.scoredCPU+s.scoredCPU), p.share(n.allocatable.memory, n.scoredMem+s.scoredMemory)
	return (cpu*p.cpu + memory*p.memory) / p.all * p.free
}

func freeShare(has, used int64) int64 {
	if has <= 0 || used >= has {
		return 0
	}
	return (has - used) * wholePoints / has
}

// crowding is what a workload's own pods take off the score of a place.
type crowding struct {
	points   *points
	workload *workload // nil for a pod that nobody owns, or the first of its workload
	zoned    bool      // there is more than one zone
	fewest   int       // in any zone
}

func (a *account) crowdingOf(p *pod) crowding {
	c := crowding{points: a.points, workload: a.workloads[p.workload], zoned: len(a.zones) > 1}
	if c.workload == nil || !c.zoned {
		return c
	}
	first := true
	for zone := range a.zones {
		if n := c.workload.byZone[zone]; first || n < c.fewest {
			c.fewest, first = n, false
		}
	}
	return c
}

func (c crowding) onNode(n *node) int64 {
	if c.workload == nil {
		return 0
	}
	return c.points.mate * int64(c.workload.byNode[n])
}

func (c crowding) inZone(zone string) int64 {
	if c.workload == nil || !c.zoned {
		return 0
	}
	return min(c.points.mostZoneMate, c.points.zoneMate*int64(c.workload.byZone[zone]-c.fewest))
}

// candidate tells the parts of a node's score.
func (s *search) candidate(n *node) events.Candidate {
	c := events.Candidate{Node: n.name, Free: s.shape.freeScore(n), Prefer: s.shape.preferScore(n), Taints: s.shape.taintScore(n), Mates: -s.crowd.onNode(n),
		Zone: -s.crowd.inZone(n.zone)}
	if s.company != nil {
		c.Pods = -s.company.off(n)
	}
	return c
}
