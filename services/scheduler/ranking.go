package scheduler

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tidwall/btree"
)

// journal lists the nodes that changed, oldest first, for the rankings to catch up with.
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

// ranking holds the nodes that have room for a shape, the best first, per zone. It is a memo: building it anew gives the same.
type ranking struct {
	seen  uint64 // the journal up to here is in it
	seats []seat // by node id
	zones []zoneRanking
}

// seat is what a ranking knows of one node.
type seat struct {
	node     *node
	version  uint32 // of the node that ruledOut and fixed were computed from
	ruledOut string
	fixed    int64 // the part of the score that only a changed Node changes
	reason   string
	zone     string
	rank     rank
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

func (r rank) before(other rank) bool {
	if r.score != other.score {
		return r.score > other.score
	}
	if r.order != other.order {
		return r.order < other.order
	}
	return r.node.name < other.node.name
}

// rankingOf returns the ranking of a shape, up to date.
func (a *account) rankingOf(s *shape) *ranking {
	a.tick++
	s.used = a.tick
	r := s.ranking
	if r == nil || r.seen < a.changed.begin || a.changed.end()-r.seen > uint64(len(a.nodes)) {
		r = a.rank(s)
		a.remember(s, r)
	}
	for ; r.seen < a.changed.end(); r.seen++ {
		r.update(s, a, a.changed.ids[r.seen-a.changed.begin])
	}
	return r
}

// rank builds the ranking of a shape from nothing.
func (a *account) rank(s *shape) *ranking {
	r := &ranking{seen: a.changed.end(), seats: make([]seat, len(a.nodes))}
	ranks := make([]rank, 0, len(a.nodes))
	for id, n := range a.nodes {
		if n == nil || n.object == nil {
			continue
		}
		if at := &r.seats[id]; at.assess(s, n) {
			ranks = append(ranks, at.rank)
		}
	}
	slices.SortFunc(ranks, func(x, y rank) int {
		return cmp.Or(strings.Compare(x.node.zone, y.node.zone), cmp.Compare(y.score, x.score), cmp.Compare(x.order, y.order),
			strings.Compare(x.node.name, y.node.name))
	})
	for _, place := range ranks {
		r.in(place.node.zone).Load(place)
	}
	return r
}

// update looks at one node again.
func (r *ranking) update(s *shape, a *account, id int32) {
	if int(id) >= len(r.seats) {
		r.seats = append(r.seats, make([]seat, len(a.nodes)-len(r.seats))...)
	}
	at := &r.seats[id]
	if at.node != nil && at.reason == "" {
		r.in(at.zone).Delete(at.rank)
	}
	n := a.nodes[id]
	if n == nil || n.object == nil {
		*at = seat{}
		return
	}
	if at.assess(s, n) {
		r.in(at.zone).Set(at.rank)
	}
}

// assess says whether n has room for s, and how good a place it is.
func (at *seat) assess(s *shape, n *node) bool {
	if at.node != n || at.version != n.version {
		*at = seat{node: n, version: n.version, zone: n.zone, ruledOut: s.ruledOut(n), fixed: s.fixedScore(n)}
	}
	at.reason = at.ruledOut
	if at.reason == "" {
		at.reason = s.full(n)
	}
	at.rank = rank{score: at.fixed + s.freeScore(n), order: mix(s.seed ^ n.hash), node: n}
	return at.reason == ""
}

func (r *ranking) in(zone string) *btree.BTreeG[rank] {
	for i := range r.zones {
		if r.zones[i].zone == zone {
			return r.zones[i].best
		}
	}
	tree := btree.NewBTreeGOptions(rank.before, btree.Options{NoLocks: true})
	r.zones = append(r.zones, zoneRanking{zone: zone, best: tree})
	return tree
}

// mix spreads the bits of x (the finalizer of splitmix64, Steele et al. 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
