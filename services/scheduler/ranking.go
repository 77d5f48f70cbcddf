package scheduler

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tidwall/btree"
)

// journal lists nodes that changed, oldest first, for the memos to catch up with.
type journal struct {
	ids   []int32
	begin uint64 // how many were dropped from the front
}

func (j *journal) note(id int32) { j.ids = append(j.ids, id) }

func (j *journal) end() uint64 { return j.begin + uint64(len(j.ids)) }

// since returns what was noted after the first seen notes.
func (j *journal) since(seen uint64) []int32 { return j.ids[seen-j.begin:] }

// reaches says that what was noted after the first seen notes is still there, and at most most of it.
func (j *journal) reaches(seen uint64, most int) bool {
	return seen >= j.begin && j.end()-seen <= uint64(most)
}

// trim drops the older half once there are more than most entries.
func (j *journal) trim(most int) {
	if len(j.ids) > most {
		drop := len(j.ids) / 2
		j.ids = slices.Clone(j.ids[drop:])
		j.begin += uint64(drop)
	}
}

// seen is how far a memo has followed the account's journals.
type seen struct{ changed, given uint64 }

func (a *account) seenAll() seen { return seen{changed: a.changed.end(), given: a.given.end()} }

// canFollow says that catching up costs less than beginning anew.
func (a *account) canFollow(s seen) bool {
	return a.changed.reaches(s.changed, len(a.nodes)) && a.given.reaches(s.given, mostGivenBehind*len(a.nodes))
}

// ranking holds the nodes that have room for a shape, the best first, per zone, and those that lack room, the nearest first. A node that was given pods
// since may stand higher, or nearer, than it should; whether it has room, and why not, is always up to date. It is a memo: building it anew
// leads to the same choices.
type ranking struct {
	shape     *shape
	mates     *workload // whose pods are taken off the scores; nil in a ranking that all pods of the shape share
	seen      seen
	used      uint64 // the decision that last used it
	seats     []seat // by node id
	zones     []zoneRanking
	missed    *btree.BTreeG[miss]
	room      int                  // how many nodes have room
	full      []int                // how many nodes lack what, by lack
	out       []ruledOutFor        // how many were ruled out, and why
	divisions map[string]*division // by what their pods' company says
}

// seat is what a ranking knows of one node.
type seat struct {
	node    *node  // nil: none that exists
	fixed   int64  // the part of the score that only a changed Node changes
	score   int64  // how good a place it is; of a node that lacks room, how much it lacks
	version uint32 // of the node that out and fixed were computed from
	given   uint32 // of the node that score was computed from
	zone    int16  // index into zones
	out     int16  // index into out, from 1; 0: not ruled out
	lack    lack
}

func (at *seat) hasRoom() bool { return at.node != nil && at.out == 0 && at.lack == lackNothing }

// isMiss says that all it takes is room.
func (at *seat) isMiss() bool { return at.node != nil && at.out == 0 && at.lack > lackPorts }

type ruledOutFor struct {
	reason string
	nodes  int
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
		score -= s.points.mate * int64(mates.byNode[n])
	}
	return rank{score: score, order: s.orderOf(n), node: n}
}

func (s *shape) orderOf(n *node) uint64 { return mix(s.seed ^ n.hash) }

// newRanking builds a ranking from nothing.
func (a *account) newRanking(s *shape, mates *workload) *ranking {
	r := &ranking{shape: s, mates: mates, seen: a.seenAll(), seats: make([]seat, len(a.nodes)), full: make([]int, int(lackExtended)+len(s.extended)),
		missed: btree.NewBTreeGOptions(miss.before, btree.Options{NoLocks: true}), divisions: map[string]*division{}}
	var ranks [][]rank // by zone
	var misses []miss
	for id, n := range a.nodes {
		if n == nil || n.object == nil {
			continue
		}
		at := &r.seats[id]
		r.assess(at, n)
		r.tally(at, 1)
		switch {
		case at.hasRoom():
			if int(at.zone) >= len(ranks) {
				ranks = append(ranks, make([][]rank, int(at.zone)+1-len(ranks))...)
			}
			ranks[at.zone] = append(ranks[at.zone], r.rankAt(at))
		case at.isMiss():
			misses = append(misses, missAt(at))
		}
	}
	for zone, ranks := range ranks {
		slices.SortFunc(ranks, rank.compare)
		for _, place := range ranks {
			r.zones[zone].best.Load(place)
		}
	}
	slices.SortFunc(misses, miss.compare)
	for _, m := range misses {
		r.missed.Load(m)
	}
	return r
}

// catchUp looks again at the nodes that changed. Of one that was only given pods, it looks whether that made it lack something else.
func (r *ranking) catchUp(a *account) {
	for _, id := range a.changed.since(r.seen.changed) {
		if int(id) >= len(r.seats) {
			r.seats = append(r.seats, make([]seat, len(a.nodes)-len(r.seats))...)
		}
		r.update(&r.seats[id], a.nodes[id])
	}
	for _, id := range a.given.since(r.seen.given) {
		if int(id) >= len(r.seats) {
			continue
		}
		if at := &r.seats[id]; at.node != nil && at.out == 0 && r.shape.full(at.node) != at.lack {
			r.update(at, at.node)
		}
	}
	r.seen = a.seenAll()
}

func (r *ranking) update(at *seat, n *node) {
	switch {
	case at.hasRoom():
		r.zones[at.zone].best.Delete(r.rankAt(at))
	case at.isMiss():
		r.missed.Delete(missAt(at))
	}
	r.tally(at, -1)
	if n == nil || n.object == nil {
		*at = seat{}
		return
	}
	r.assess(at, n)
	r.tally(at, 1)
	switch {
	case at.hasRoom():
		r.zones[at.zone].best.Set(r.rankAt(at))
	case at.isMiss():
		r.missed.Set(missAt(at))
	}
}

// assess brings a seat up to date.
func (r *ranking) assess(at *seat, n *node) {
	if at.node != n || at.version != n.version {
		*at = seat{node: n, version: n.version, zone: r.zoneIndex(n.zone), out: r.outIndex(r.shape.ruledOut(n)), fixed: r.shape.fixedScore(n)}
	}
	at.given, at.lack = n.given, r.shape.full(n)
	if at.lack > lackPorts {
		at.score = r.shape.distance(n)
	} else {
		at.score = r.shape.rankOf(n, at.fixed, r.mates).score
	}
}

// tally counts a seat, sign times.
func (r *ranking) tally(at *seat, sign int) {
	switch {
	case at.node == nil:
	case at.out != 0:
		r.out[at.out-1].nodes += sign
	case at.lack != lackNothing:
		r.full[at.lack] += sign
	default:
		r.room += sign
	}
}

// countOut adds to out how many nodes each reason rules out.
func (r *ranking) countOut(out *counts) {
	for _, o := range r.out {
		out.add(o.reason, o.nodes)
	}
	for l, n := range r.full {
		if n > 0 {
			out.add(r.shape.reason(lack(l)), n)
		}
	}
}

// nearest finds the nodes that lack least.
func (r *ranking) nearest(near *nearest) {
	var stale []*node
	r.missed.Scan(func(bound miss) bool {
		if near.full() && near.last().before(bound) {
			return false
		}
		now := bound
		if n := bound.node; r.seats[n.id].given != n.given {
			stale = append(stale, n)
			now.distance = r.shape.distance(n)
		}
		near.add(now)
		return true
	})
	for _, n := range stale {
		r.update(&r.seats[n.id], n)
	}
}

func (r *ranking) rankAt(at *seat) rank {
	return rank{score: at.score, order: r.shape.orderOf(at.node), node: at.node}
}

func missAt(at *seat) miss { return miss{distance: at.score, node: at.node} }

func (r *ranking) zoneIndex(zone string) int16 {
	for i := range r.zones {
		if r.zones[i].zone == zone {
			return int16(i)
		}
	}
	r.zones = append(r.zones, zoneRanking{zone: zone, best: btree.NewBTreeGOptions(rank.before, btree.Options{NoLocks: true})})
	return int16(len(r.zones) - 1)
}

func (r *ranking) outIndex(reason string) int16 {
	if reason == "" {
		return 0
	}
	for i := range r.out {
		if r.out[i].reason == reason {
			return int16(i + 1)
		}
	}
	r.out = append(r.out, ruledOutFor{reason: reason})
	return int16(len(r.out))
}

// mix spreads the bits of x (the finalizer of splitmix64, Steele et al. 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
