package scheduler

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tidwall/btree"
)

// journal lists the nodes that may have become better places, oldest first, for the rankings to catch up with.
type journal struct {
	ids   []int32
	begin uint64 // how many were dropped from the front
}

func (j *journal) note(id int32) { j.ids = append(j.ids, id) }

func (j *journal) end() uint64 { return j.begin + uint64(len(j.ids)) }

// trim drops the older half once there are more than most entries.
func (j *journal) trim(most int) {
	if len(j.ids) > most {
		drop := len(j.ids) / 2
		j.ids = slices.Clone(j.ids[drop:])
		j.begin += uint64(drop)
	}
}

// ranking holds the nodes that have room for a shape, the best first, per zone. A node that was given pods since may stand higher than it should.
// It is a memo: building it anew leads to the same choices.
type ranking struct {
	shape *shape
	mates *workload // whose pods are taken off the scores; nil in a ranking that all pods of the shape share
	seen  uint64    // the journal up to here is in it
	used  uint64    // the decision that last used it
	seats []seat    // by node id
	zones []zoneRanking
}

// seat is what a ranking knows of one node.
type seat struct {
	node     *node
	fixed    int64 // the part of the score that only a changed Node changes
	score    int64
	version  uint32 // of the node that ruledOut and fixed were computed from
	given    uint32 // of the node that score and room were computed from
	zone     int16  // index into zones
	ruledOut bool
	room     bool
}

type zoneRanking struct {
	zone string
	best *btree.BTreeG[rank]
}

// rank is a node's place: the highest score first; among equals an order that differs from shape to shape.
type rank struct {
	score int64
	order uint64
	node  *node
}

func (r rank) before(other rank) bool { return r.compare(other) < 0 }

func (r rank) compare(other rank) int {
	if r.score != other.score {
		return cmp.Compare(other.score, r.score)
	}
	if r.order != other.order {
		return cmp.Compare(r.order, other.order)
	}
	return strings.Compare(r.node.name, other.node.name)
}

// rankOf gives the place of a node for a shape; mates may be nil.
func (s *shape) rankOf(n *node, fixed int64, mates *workload) rank {
	score := fixed + s.freeScore(n)
	if mates != nil {
		score -= matePoints * int64(mates.byNode[n])
	}
	return rank{score: score, order: s.orderOf(n), node: n}
}

func (s *shape) orderOf(n *node) uint64 { return mix(s.seed ^ n.hash) }

// newRanking builds a ranking from nothing.
func (a *account) newRanking(s *shape, mates *workload) *ranking {
	r := &ranking{shape: s, mates: mates, seen: a.changed.end(), seats: make([]seat, len(a.nodes))}
	var ranks [][]rank // by zone
	for id, n := range a.nodes {
		if n == nil || n.object == nil {
			continue
		}
		at := &r.seats[id]
		if r.assess(at, n); at.room {
			if int(at.zone) >= len(ranks) {
				ranks = append(ranks, make([][]rank, int(at.zone)+1-len(ranks))...)
			}
			ranks[at.zone] = append(ranks[at.zone], r.rankAt(at))
		}
	}
	for zone, ranks := range ranks {
		slices.SortFunc(ranks, rank.compare)
		for _, place := range ranks {
			r.zones[zone].best.Load(place)
		}
	}
	return r
}

// catchUp looks again at the nodes that changed.
func (r *ranking) catchUp(a *account) {
	for ; r.seen < a.changed.end(); r.seen++ {
		id := a.changed.ids[r.seen-a.changed.begin]
		if int(id) >= len(r.seats) {
			r.seats = append(r.seats, make([]seat, len(a.nodes)-len(r.seats))...)
		}
		r.update(&r.seats[id], a.nodes[id])
	}
}

func (r *ranking) update(at *seat, n *node) {
	if at.room {
		r.zones[at.zone].best.Delete(r.rankAt(at))
	}
	if n == nil || n.object == nil {
		*at = seat{}
		return
	}
	if r.assess(at, n); at.room {
		r.zones[at.zone].best.Set(r.rankAt(at))
	}
}

// assess brings a seat up to date.
func (r *ranking) assess(at *seat, n *node) {
	if at.node != n || at.version != n.version {
		*at = seat{node: n, version: n.version, zone: r.zoneIndex(n.zone), ruledOut: r.shape.ruledOut(n) != "", fixed: r.shape.fixedScore(n)}
	}
	at.given = n.given
	at.score = r.shape.rankOf(n, at.fixed, r.mates).score
	at.room = !at.ruledOut && r.shape.full(n) == ""
}

func (r *ranking) rankAt(at *seat) rank {
	return rank{score: at.score, order: r.shape.orderOf(at.node), node: at.node}
}

func (r *ranking) zoneIndex(zone string) int16 {
	for i := range r.zones {
		if r.zones[i].zone == zone {
			return int16(i)
		}
	}
	r.zones = append(r.zones, zoneRanking{zone: zone, best: btree.NewBTreeGOptions(rank.before, btree.Options{NoLocks: true})})
	return int16(len(r.zones) - 1)
}

// mix spreads the bits of x (the finalizer of splitmix64, Steele et al. 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
