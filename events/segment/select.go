package segment

import (
	"runtime"
	"slices"
	"sort"
	"strings"

	"github.com/wakehq/wake/events"
)

// ahead works on items, some at once, and yields the results in order until yield returns false.
func ahead[I, T any](items []I, work func(I) (T, error), yield func(T) bool) error {
	type result struct {
		value T
		err   error
	}
	if len(items) == 1 {
		value, err := work(items[0])
		if err == nil {
			yield(value)
		}
		return err
	}
	workers := runtime.GOMAXPROCS(0)
	pending := make([]chan result, 0, workers+1)
	next := 0
	begin := func() {
		done, item := make(chan result, 1), items[next]
		next++
		pending = append(pending, done)
		go func() {
			value, err := work(item)
			done <- result{value, err}
		}()
	}
	for next < len(items) || len(pending) > 0 {
		for next < len(items) && len(pending) <= workers {
			begin()
		}
		r := <-pending[0]
		pending = pending[1:]
		if r.err != nil {
			return r.err
		}
		if !yield(r.value) {
			return nil
		}
	}
	return nil
}

// prefix is what the subjects that a pattern matches begin with, or all of the one that it matches.
type prefix struct {
	text  string
	whole bool
}

// keyed returns the blocks, ordered by key, that can hold subjects with a prefix.
func keyed(blocks []block, p prefix) []block {
	begin := sort.Search(len(blocks), func(i int) bool { return blocks[i].key > p.text })
	end := sort.Search(len(blocks), func(i int) bool {
		return blocks[i].key > p.text && (p.whole || !strings.HasPrefix(blocks[i].key, p.text))
	})
	return blocks[max(begin-1, 0):end]
}

// merged returns the blocks of several prefixes, each once and in order.
func merged(blocks []block, prefixes []prefix) []block {
	var out []block
	for _, p := range prefixes {
		out = append(out, keyed(blocks, p)...)
	}
	slices.SortFunc(out, func(a, b block) int { return int(a.offset - b.offset) })
	return slices.CompactFunc(out, func(a, b block) bool { return a.offset == b.offset })
}

// Revisions returns those of the events from from to to (inclusive; 0 is open) whose subject one of patterns matches, ascending. A pattern is a subject that may
// have NATS' wildcard * for a whole token (see Patterns); nil matches every subject, those that aren't Wake's too.
func (r *Reader) Revisions(patterns []string, from, to events.Revision) ([]events.Revision, error) {
	var out []events.Revision
	err := r.eachPosting(patterns, from, to, func(_ string, revisions []events.Revision) { out = append(out, revisions...) })
	slices.Sort(out)
	return out, err
}

// LastRevisions returns the last of the events up to at of each subject that one of patterns matches.
func (r *Reader) LastRevisions(patterns []string, at events.Revision) (map[string]events.Revision, error) {
	out := map[string]events.Revision{}
	if at <= r.header.Base {
		return out, nil
	}
	return out, r.eachPosting(patterns, 0, at, func(subject string, revisions []events.Revision) {
		out[subject] = revisions[len(revisions)-1]
	})
}

// eachPosting gives the subjects in the index that one of patterns matches, with their revisions from from to to if there are any.
func (r *Reader) eachPosting(patterns []string, from, to events.Revision, yield func(subject string, revisions []events.Revision)) error {
	if to == 0 {
		to = r.footer.Last
	}
	match := newMatcher(patterns)
	var revisions []events.Revision
	for _, b := range merged(r.index, match.prefixes) {
		raw, err := readBlock(r.file, r.name, b)
		if err != nil {
			return err
		}
		in := cursor{raw: raw}
		for range b.count {
			subject, revision := in.text(), r.header.Base
			matches := match.matches(subject)
			revisions = revisions[:0]
			for left := in.uvarint(); left > 0 && !in.failed; left-- {
				revision += in.uvarint()
				if matches && revision >= from && revision <= to {
					revisions = append(revisions, revision)
				}
			}
			if in.failed {
				break
			}
			if len(revisions) > 0 {
				yield(subject, revisions)
			}
		}
		if in.failed || len(in.raw) > 0 {
			return r.damaged(b, "it is malformed")
		}
	}
	return nil
}

// pick is some of the events of a block.
type pick struct {
	block     block
	revisions []events.Revision
}

// picks finds out which blocks have revisions, which ascend.
func (r *Reader) picks(revisions []events.Revision) ([]pick, error) {
	var out []pick
	for len(revisions) > 0 {
		at := sort.Search(len(r.bodys), func(k int) bool { return r.bodys[k].last >= revisions[0] })
		if at == len(r.bodys) || r.bodys[at].first > revisions[0] {
			return nil, r.damaged(block{kind: indexFrame}, "it tells of events that the file doesn't have")
		}
		n := sort.Search(len(revisions), func(i int) bool { return revisions[i] > r.bodys[at].last })
		out = append(out, pick{r.bodys[at], revisions[:n]})
		revisions = revisions[n:]
	}
	return out, nil
}

// picked returns the events of p.
func (r *Reader) picked(p pick) ([]events.Raw, error) {
	records, err := r.records(p.block)
	if err != nil {
		return nil, err
	}
	out := records[:0]
	for i := range records {
		if len(p.revisions) > 0 && records[i].Revision == p.revisions[0] {
			p.revisions = p.revisions[1:]
			out = append(out, records[i])
		}
	}
	if len(p.revisions) > 0 {
		return nil, r.damaged(p.block, "the index tells of events that it doesn't have")
	}
	return slim(out, int(p.block.count)), nil
}

// fewOf is the part of a block's records, one in so many, up to which they are given memory of their own.
const fewOf = 8

// slim sees to it that a few records don't keep the memory of all those of their block.
func slim(records []events.Raw, of int) []events.Raw {
	if len(records) <= of/fewOf {
		for i := range records {
			records[i] = own(records[i])
		}
	}
	return records
}

// Pick gives the events of revisions, which ascend, until yield returns false.
func (r *Reader) Pick(revisions []events.Revision, yield func(events.Raw) bool) error {
	picks, err := r.picks(revisions)
	if err != nil {
		return err
	}
	return ahead(picks, r.picked, func(records []events.Raw) bool { return each(records, yield) })
}

func each(records []events.Raw, yield func(events.Raw) bool) bool {
	for i := range records {
		if !yield(records[i]) {
			return false
		}
	}
	return true
}

// StateOf gives the part of the state whose subjects one of patterns matches, ordered by subject.
func (r *Reader) StateOf(patterns []string, yield func(events.Raw) bool) error {
	match := newMatcher(patterns)
	return r.eachRecord(merged(r.states, match.prefixes), func(e events.Raw) bool {
		return !match.matches(e.Subject) || yield(e)
	})
}

// matcher knows the subjects that patterns match.
type matcher struct {
	patterns [][]string
	prefixes []prefix
	all      bool
}

// newMatcher knows patterns; none match everything.
func newMatcher(patterns []string) *matcher {
	if patterns == nil {
		return &matcher{all: true, prefixes: []prefix{{}}}
	}
	m := &matcher{}
	for _, pattern := range patterns {
		tokens := strings.Split(pattern, ".")
		known := 0
		for known < len(tokens) && tokens[known] != "*" {
			known++
		}
		p := prefix{text: strings.Join(tokens[:known], "."), whole: known == len(tokens)}
		if !p.whole && known > 0 {
			p.text += "."
		}
		m.patterns = append(m.patterns, tokens)
		m.prefixes = append(m.prefixes, p)
	}
	return m
}

func (m *matcher) matches(subject string) bool {
	return m.all || slices.ContainsFunc(m.patterns, func(tokens []string) bool {
		rest := subject
		for i, token := range tokens {
			part, after, more := strings.Cut(rest, ".")
			if token != "*" && token != part || more != (i < len(tokens)-1) {
				return false
			}
			rest = after
		}
		return true
	})
}

// Patterns returns what q selects as patterns that begin with as much as is known, one for each facet; nil if it selects everything.
func Patterns(q events.Query) []string {
	if !narrow(&q) {
		return nil
	}
	if q.Facet != nil {
		return q.Subjects()
	}
	var out []string
	for _, facet := range []events.Facet{events.Desired, events.Assigned, events.Observed} {
		q.Facet = &facet
		out = append(out, q.Subjects()...)
	}
	return out
}

// narrow says that q selects by more than revisions.
func narrow(q *events.Query) bool {
	return q.Ref != nil || q.Facet != nil || q.Group != nil || q.Resource != "" || q.Namespace != ""
}

// Select gives the events that q selects (LastPerFacet aside) of those that the file has, in order.
func (r *Reader) Select(q events.Query, yield func(events.Raw) bool) error {
	if !narrow(&q) {
		return r.Events(q.From, q.To, yield)
	}
	revisions, err := r.Revisions(Patterns(q), q.From, q.To)
	if err != nil {
		return err
	}
	return r.Pick(revisions, yield)
}
