package scheduler

// Strategy is how a node's room counts for it.
type Strategy string

// The strategies.
const (
	LeastAllocated           Strategy = "LeastAllocated"           // the emptiest first: load is spread
	MostAllocated            Strategy = "MostAllocated"            // the fullest first: nodes are packed
	RequestedToCapacityRatio Strategy = "RequestedToCapacityRatio" // as Curve says
)

// Config is how the scheduler weighs nodes against each other. The zero value is the default. It never changes which nodes can do.
type Config struct {
	Strategy  Strategy // empty: LeastAllocated
	Resources Resources
	Curve     []CurvePoint // of RequestedToCapacityRatio: at least one, by rising utilization
	Weights   *Weights     // nil: DefaultWeights
}

// Resources are the weights of the resources whose use Strategy looks at. Both 0 is 1 to 1.
type Resources struct {
	CPU, Memory int64
}

// CurvePoint says what a utilization is worth; between points it is interpolated.
type CurvePoint struct {
	Utilization int64 // percent
	Score       int64 // 0 to 10
}

// Weights are those of the parts of a node's score, by Kubernetes' names for them; 0 leaves a part out.
type Weights struct {
	NodeResourcesFit  int64 // room
	NodeAffinity      int64 // preferred node affinity
	TaintToleration   int64 // PreferNoSchedule taints
	PodTopologySpread int64 // keeping the pods of a workload apart, and ScheduleAnyway constraints
	InterPodAffinity  int64 // preferred pod affinity and anti-affinity
}

// DefaultWeights are those of Kubernetes' default profile.
var DefaultWeights = Weights{NodeResourcesFit: 1, NodeAffinity: 2, TaintToleration: 3, PodTopologySpread: 2, InterPodAffinity: 2}

// points is a Config as scoring needs it. A part with weight w counts w times what it counts with weight 1.
type points struct {
	strategy         Strategy
	cpu, memory, all int64
	curve            []CurvePoint

	free         int64 // times the share, of which the whole is wholePoints
	prefer       int64 // per unit of weight of a preferred node affinity term that matches
	avoid        int64 // off for each PreferNoSchedule taint that isn't tolerated
	mate         int64 // off for each pod of the same workload on the node
	zoneMate     int64 // off for each pod of the same workload that the zone has more than the emptiest zone...
	mostZoneMate int64 // ...but no more than this, so that a small zone isn't stuffed to match large ones
	soft         int64 // off per unit of weight of a preferred pod affinity that isn't met, or anti-affinity that is hurt
}

// points returns the default where c says nothing. With the default weights the relation between the parts is about that of Kubernetes' profile.
func (c Config) points() *points {
	w := DefaultWeights
	if c.Weights != nil {
		w = *c.Weights
	}
	p := &points{strategy: c.Strategy, cpu: c.Resources.CPU, memory: c.Resources.Memory, curve: c.Curve, free: w.NodeResourcesFit,
		prefer: 100 * w.NodeAffinity, avoid: wholePoints * w.TaintToleration, soft: 50 * w.InterPodAffinity,
		mate: 2_500 * w.PodTopologySpread, zoneMate: 250 * w.PodTopologySpread, mostZoneMate: 2_500 * w.PodTopologySpread}
	if p.strategy == "" {
		p.strategy = LeastAllocated
	}
	if p.cpu+p.memory == 0 {
		p.cpu, p.memory = 1, 1
	}
	p.all = p.cpu + p.memory
	return p
}

// rises says that a node's score may rise when a pod is put there.
func (p *points) rises() bool { return p.strategy != LeastAllocated }

// share is what a resource is worth of which used is taken once the pod is there: 0 to wholePoints.
func (p *points) share(has, used int64) int64 {
	switch p.strategy {
	case MostAllocated:
		if has <= 0 {
			return 0
		}
		return min(used, has) * wholePoints / has
	case RequestedToCapacityRatio:
		if has <= 0 {
			return p.onCurve(100)
		}
		return p.onCurve(min(used, has) * 100 / has)
	default:
		return freeShare(has, used)
	}
}

func (p *points) onCurve(utilization int64) int64 {
	const whole = wholePoints / mostCurveScore
	for i, at := range p.curve {
		if utilization > at.Utilization {
			continue
		}
		if i == 0 {
			return at.Score * whole
		}
		before := p.curve[i-1]
		return before.Score*whole + (at.Score-before.Score)*whole*(utilization-before.Utilization)/(at.Utilization-before.Utilization)
	}
	if len(p.curve) == 0 {
		return 0
	}
	return p.curve[len(p.curve)-1].Score * whole
}
