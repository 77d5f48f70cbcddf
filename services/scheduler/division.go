package scheduler

import (
	"encoding/binary"
	"slices"
)

// division parts the nodes of a ranking that have room into groups, of each of which the pods already placed rule out all or none for the pods of one
// likeness: so that how many they rule out costs a look at each group, not at each node. A memo, like the ranking.
type division struct {
	alone    []bool // which of the topologies have a domain for each node, for the rules in their order
	reviewed uint64
	seen     seen
	used     uint64
	of       []int32 // by node id: index into groups, from 1; 0: no room
	groups   []group
	byKey    map[string]int32
	key      []byte
}

type group struct {
	nodes  int
	sample int32 // id of one of them; -1: not known
}

// labelUse is how a label that makes domains is used.
type labelUse struct {
	built uint64 // the account's topology when it was looked at
	alone bool   // no two nodes have the same value
}

// alone says that each node is a domain of its own for a label, if it has it.
func (a *account) alone(label string) bool {
	use := a.labels[label]
	if use == nil {
		use = &labelUse{}
		a.labels[label] = use
	}
	if use.built == a.topology {
		return use.alone
	}
	use.built, use.alone = a.topology, true
	values := map[string]bool{}
	for _, n := range a.nodes {
		if n == nil || n.object == nil {
			continue
		}
		if value, ok := n.object.Labels[label]; ok {
			if use.alone = !values[value]; !use.alone {
				break
			}
			values[value] = true
		}
	}
	return use.alone
}

// countRefused adds to out how many of the nodes with room other pods rule out, and returns how many that are.
func (a *account) countRefused(r *ranking, c *company, out *counts) int {
	d := a.divisionFor(r, c)
	refused := 0
	refuse := func(n *node, nodes int) {
		if reason := c.refuses(n, ""); reason != "" {
			out.add(reason, nodes)
			refused += nodes
		}
	}
	if d == nil {
		for i := range r.seats {
			if at := &r.seats[i]; at.hasRoom() {
				refuse(at.node, 1)
			}
		}
		return refused
	}
	for i := range d.groups {
		if g := &d.groups[i]; g.nodes > 0 {
			if g.sample < 0 {
				g.sample = int32(slices.Index(d.of, int32(i+1)))
			}
			refuse(r.seats[g.sample].node, g.nodes)
		}
	}
	return refused
}

// divisionFor returns the division of an up-to-date ranking, up to date; nil if there is no room for another one.
func (a *account) divisionFor(r *ranking, c *company) *division {
	var alone []bool
	c.eachDomain(func(t *term, _ *spread) { alone = append(alone, a.alone(t.topology)) })
	key := c.alike()
	d := r.divisions[key]
	switch {
	case d == nil && !a.roomForDivision():
		return nil
	case d == nil:
		a.divisions++
		fallthrough
	case d.reviewed != a.reviewed || !slices.Equal(d.alone, alone) || !a.canFollow(d.seen) || d.isLitter():
		d = &division{alone: alone, reviewed: a.reviewed, of: make([]int32, len(r.seats)), byKey: map[string]int32{}}
		for id := range r.seats {
			d.place(int32(id), &r.seats[id], c)
		}
		r.divisions[key] = d
	default:
		d.catchUp(a, r, c)
	}
	d.seen, d.used = a.seenAll(), a.decision
	return d
}

func (d *division) catchUp(a *account, r *ranking, c *company) {
	if len(d.of) < len(r.seats) {
		d.of = append(d.of, make([]int32, len(r.seats)-len(d.of))...)
	}
	for _, id := range a.changed.since(d.seen.changed) {
		d.place(id, &r.seats[id], c)
	}
	for _, id := range a.given.since(d.seen.given) {
		if int(id) < len(r.seats) {
			d.place(id, &r.seats[id], c)
		}
	}
}

// isLitter says that most groups are empty.
func (d *division) isLitter() bool {
	const few = 64
	if len(d.groups) < few {
		return false
	}
	empty := 0
	for i := range d.groups {
		if d.groups[i].nodes == 0 {
			empty++
		}
	}
	return 2*empty > len(d.groups)
}

// place files a node under the group that it belongs to now.
func (d *division) place(id int32, at *seat, c *company) {
	now := int32(0)
	if at.hasRoom() {
		now = d.groupOf(at.node, c)
	}
	was := d.of[id]
	if was == now {
		return
	}
	if was != 0 {
		g := &d.groups[was-1]
		if g.nodes--; g.sample == id {
			g.sample = -1
		}
	}
	if now != 0 {
		g := &d.groups[now-1]
		g.nodes++
		g.sample = id
	}
	d.of[id] = now
}

// groupOf returns the group of a node: which domain it is in where other nodes may be in it too, and what is in its domain where it is alone there.
func (d *division) groupOf(n *node, c *company) int32 {
	key, i := d.key[:0], 0
	c.eachDomain(func(t *term, s *spread) {
		domain, ok := t.domain(n)
		switch {
		case !ok:
			key = append(key, 'n')
		case !d.alone[i]:
			key = appendText(key, 'd', domain)
		case s != nil:
			key = binary.AppendVarint(append(key, 's'), int64(s.domains[domain]))
		default:
			key = append(key, 't', bit(t.matching[domain] > 0), bit(t.holding[domain] > 0))
		}
		i++
	})
	d.key = key
	g, ok := d.byKey[string(key)]
	if !ok {
		d.groups = append(d.groups, group{sample: -1})
		g = int32(len(d.groups))
		d.byKey[string(key)] = g
	}
	return g
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// eachDomain calls yield with every term by which refuses rules out nodes, in the same order for all pods that are alike; with the constraint if it is
// part of one.
func (c *company) eachDomain(yield func(*term, *spread)) {
	if r := c.pod.rules; r != nil {
		for _, s := range r.spread {
			if s.hard {
				yield(s.term, s)
			}
		}
		for _, t := range r.together {
			yield(t, nil)
		}
		for _, t := range r.apart {
			yield(t, nil)
		}
	}
	for _, t := range c.pod.in {
		yield(t, nil)
	}
}
