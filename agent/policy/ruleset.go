package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/knftables"
)

// ruleset is what the table is to hold beside what is always there, and what of it has changed since it was last written.
type ruleset struct {
	chains map[string]chain
	sets   map[string]*set

	all            bool // anything may have changed
	changedChains  map[string]bool
	changedSets    map[string]bool
	changedMembers map[string]map[string]bool // by set
}

type chain struct {
	comment string // for people who list the table
	rules   []string
}

// set is a set or a map. It is written while rules refer to it.
type set struct {
	users    int
	elements map[string]element
}

// element may be there for several reasons.
type element struct {
	reasons int
	verdict string
}

func newRuleset() *ruleset {
	r := &ruleset{
		chains: map[string]chain{}, sets: map[string]*set{}, changedChains: map[string]bool{}, changedSets: map[string]bool{},
		changedMembers: map[string]map[string]bool{},
	}
	for _, name := range fixedSets() {
		r.use(name, 1)
	}
	return r
}

// set returns a set to be changed.
func (r *ruleset) set(name string) *set {
	s := r.sets[name]
	if s == nil {
		s = &set{elements: map[string]element{}}
		r.sets[name] = s
	}
	return s
}

// use counts the rules' owners that refer to a set.
func (r *ruleset) use(name string, more int) {
	r.set(name).users += more
	r.changedSets[name] = true
	r.tidy(name)
}

func (r *ruleset) tidy(name string) {
	if s := r.sets[name]; s.users == 0 && len(s.elements) == 0 {
		delete(r.sets, name)
	}
}

// entry is an element and where it lies.
type entry struct{ set, key, verdict string }

func (r *ruleset) add(e entry) {
	s := r.set(e.set)
	s.elements[e.key] = element{s.elements[e.key].reasons + 1, e.verdict}
	r.touch(e)
}

func (r *ruleset) remove(e entry) {
	s := r.set(e.set)
	left := s.elements[e.key]
	if left.reasons--; left.reasons > 0 {
		s.elements[e.key] = left
		return
	}
	delete(s.elements, e.key)
	r.touch(e)
	r.tidy(e.set)
}

func (r *ruleset) touch(e entry) {
	if r.changedMembers[e.set] == nil {
		r.changedMembers[e.set] = map[string]bool{}
	}
	r.changedMembers[e.set][e.key] = true
}

func (r *ruleset) setChain(name string, c chain) {
	r.chains[name] = c
	r.changedChains[name] = true
}

func (r *ruleset) dropChain(name string) {
	delete(r.chains, name)
	r.changedChains[name] = true
}

// settled forgets what has changed.
func (r *ruleset) settled() {
	r.all = false
	clear(r.changedChains)
	clear(r.changedSets)
	clear(r.changedMembers)
}

// written is what the kernel holds: rules by chain, verdicts by set and element.
type written struct {
	bridge Bridge
	chains map[string][]string
	sets   map[string]map[string]string
}

// update is what leads from what is written to a ruleset. Orders are those in which it must be done.
type update struct {
	newSets, newChains []string
	rules              map[string]chain // of chains that are new or changed
	gone, put          []entry
	oldChains, oldSets []string
}

func (u *update) empty() bool {
	return len(u.newSets)+len(u.newChains)+len(u.rules)+len(u.gone)+len(u.put)+len(u.oldChains)+len(u.oldSets) == 0
}

// since finds what has changed since w was written.
func (r *ruleset) since(w *written) update {
	u := update{rules: map[string]chain{}}
	chains, sets, members := r.changedChains, r.changedSets, r.changedMembers
	if r.all {
		chains, sets, members = map[string]bool{}, map[string]bool{}, map[string]map[string]bool{}
		markAll(chains, r.chains, w.chains)
		markAll(sets, r.sets, w.sets)
		for name := range sets {
			members[name] = map[string]bool{}
			if s := r.sets[name]; s != nil {
				markAll(members[name], s.elements, w.sets[name])
			}
		}
	}
	for _, name := range sorted(chains) {
		u.chain(r, w, name)
	}
	for _, name := range sorted(sets) {
		u.set(r, w, name)
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		s, before := r.sets[name], w.sets[name]
		if s == nil || s.users == 0 || before == nil {
			continue // taken care of as a whole
		}
		for _, key := range sorted(members[name]) {
			u.element(name, key, s, before)
		}
	}
	return u
}

func markAll[A, B any](marks map[string]bool, a map[string]A, b map[string]B) {
	for name := range a {
		marks[name] = true
	}
	for name := range b {
		marks[name] = true
	}
}

func (u *update) chain(r *ruleset, w *written, name string) {
	c, wanted := r.chains[name]
	before, exists := w.chains[name]
	switch {
	case !wanted && exists:
		u.oldChains = append(u.oldChains, name)
	case wanted && !exists:
		u.newChains = append(u.newChains, name)
		u.rules[name] = c
	case wanted && !slices.Equal(before, c.rules):
		u.rules[name] = c
	}
}

func (u *update) set(r *ruleset, w *written, name string) {
	s := r.sets[name]
	wanted := s != nil && s.users > 0
	_, exists := w.sets[name]
	switch {
	case !wanted && exists:
		u.oldSets = append(u.oldSets, name)
	case wanted && !exists:
		u.newSets = append(u.newSets, name)
		for _, key := range slices.Sorted(maps.Keys(s.elements)) {
			u.put = append(u.put, entry{name, key, s.elements[key].verdict})
		}
	}
}

func (u *update) element(name, key string, s *set, before map[string]string) {
	e, wanted := s.elements[key]
	verdict, exists := before[key]
	if exists && (!wanted || verdict != e.verdict) {
		u.gone = append(u.gone, entry{name, key, verdict})
	}
	if wanted && (!exists || verdict != e.verdict) {
		u.put = append(u.put, entry{name, key, e.verdict})
	}
}

// write words the update for nft.
func (u *update) write(tx *knftables.Transaction) {
	for _, name := range u.newSets {
		tx.Add(container(name))
	}
	for _, name := range u.newChains {
		tx.Add(&knftables.Chain{Name: name, Comment: commentOf(u.rules[name])})
	}
	for _, name := range slices.Sorted(maps.Keys(u.rules)) {
		tx.Flush(&knftables.Chain{Name: name})
		for _, rule := range u.rules[name].rules {
			tx.Add(&knftables.Rule{Chain: name, Rule: rule})
		}
	}
	for _, e := range u.gone {
		tx.Delete(e.object())
	}
	for _, e := range u.put {
		tx.Add(e.object())
	}
	for _, name := range u.oldChains {
		tx.Flush(&knftables.Chain{Name: name})
	}
	for _, name := range u.oldChains {
		tx.Delete(&knftables.Chain{Name: name})
	}
	for _, name := range u.oldSets {
		tx.Delete(container(name))
	}
}

// commit notes that the update was written.
func (w *written) commit(u *update) {
	for name, c := range u.rules {
		w.chains[name] = c.rules
	}
	for _, name := range u.newSets {
		w.sets[name] = map[string]string{}
	}
	for _, e := range u.gone {
		delete(w.sets[e.set], e.key)
	}
	for _, e := range u.put {
		w.sets[e.set][e.key] = e.verdict
	}
	for _, name := range u.oldChains {
		delete(w.chains, name)
	}
	for _, name := range u.oldSets {
		delete(w.sets, name)
	}
}

// container is a set or map without its elements.
func container(name string) knftables.Object {
	if isMap(name) {
		return &knftables.Map{Name: name, Type: typeOf(name)}
	}
	return &knftables.Set{Name: name, Type: typeOf(name)}
}

func (e entry) object() *knftables.Element {
	key := strings.Split(e.key, " . ")
	if isMap(e.set) {
		return &knftables.Element{Map: e.set, Key: key, Value: []string{e.verdict}}
	}
	return &knftables.Element{Set: e.set, Key: key}
}

// longestComment is what nft takes.
const longestComment = 120

func commentOf(c chain) *string {
	if c.comment == "" {
		return nil
	}
	text := c.comment[:min(len(c.comment), longestComment)]
	return &text
}

func sorted[K cmp.Ordered](of map[K]bool) []K { return slices.Sorted(maps.Keys(of)) }

// packetChains are the chains that judge packets.
func (w *written) packetChains() []string {
	names := slices.Sorted(maps.Keys(w.chains))
	for _, c := range fixedChains(w.bridge.Device) {
		names = append(names, c.Name)
	}
	return names
}

// frameChains are the chains that lead frames.
func (w *written) frameChains() []string {
	if w.bridge.Device == "" {
		return nil
	}
	var names []string
	for _, c := range frameChains("", nil) {
		names = append(names, c.Name)
	}
	return names
}
