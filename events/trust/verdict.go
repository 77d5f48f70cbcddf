package trust

import (
	"time"

	"github.com/wakehq/wake/events"
)

// finish turns what deviates into findings.
func (k *comparison) finish() {
	k.closeTail()
	last := k.next - 1
	k.report.Last = last
	older := k.classify(last)
	for _, g := range k.gaps {
		switch {
		case g.from > k.report.Witnessed:
			k.found(finding(Missing, g.from, g.through, remedyRestore, "the broker claims to hold %s and doesn't; they were not witnessed yet.", span(g.from, g.through)))
		case g.through == last:
			k.found(finding(TailCut, g.from, g.through, remedyRestore, "%s witnessed and can't be read any more; the ledger ends there, though the broker still claims to hold more.", were(g.from, g.through)))
		default:
			k.found(finding(Missing, g.from, g.through, remedyRestore, "%s witnessed and can't be found in the ledger any more, which goes on after that.", were(g.from, g.through)))
		}
	}
	if k.readToEnd {
		k.compareEnd(last, older)
	}
}

// compareEnd sees that the ledger doesn't end too early.
func (k *comparison) compareEnd(last events.Revision, older bool) {
	for _, m := range k.o.Marks {
		if m.Revision > last && (k.o.To == 0 || m.Revision <= k.o.To) {
			k.found(finding(TailCut, last+1, m.Revision, remedyOlder, "the ledger ends at revision %d, but the checkpoint that you kept is of revision %d.", last, m.Revision))
		}
	}
	switch end, signed := k.end(), k.report.Signed.Time.Format(time.RFC3339); {
	case last == 0 && end > 0:
		k.found(finding(TailCut, 1, end, remedyOlder, "the ledger is empty, but events up to revision %d were witnessed, the last signed at %s.", end, signed))
	case last < end && !older:
		k.found(finding(TailCut, last+1, end, remedyOlder, "the ledger ends at revision %d, but events up to revision %d were witnessed, the last signed at %s: its end was cut off, or an older copy was restored.",
			last, end, signed))
	}
}

// end is the last revision that was witnessed and matters.
func (k *comparison) end() events.Revision {
	if k.o.To != 0 {
		return min(k.report.Witnessed, k.o.To)
	}
	return k.report.Witnessed
}

// closeTail takes what came after the last anchor that was reached. The records decide there, and the next anchor over the records.
func (k *comparison) closeTail() {
	s := k.segment
	k.keep(s)
	unsound := func(at events.Revision) {
		k.found(finding(ChainAltered, at, 0, remedyTrust, "the chain file has no sound record of revision %d, which was witnessed.", at))
	}
	if s.badRecord != 0 && s.badRecord <= k.report.Witnessed {
		unsound(s.badRecord)
		return
	}
	if len(k.anchors) == 0 || s.blind {
		return
	}
	a := k.anchors[0]
	for n := k.next; n <= a.Revision; n++ {
		d, ok := k.w.at(n)
		if !ok {
			unsound(n)
			return
		}
		s.records = s.records.Link(d)
	}
	if s.records != a.Chain {
		k.found(finding(ChainAltered, s.after+1, a.Revision, remedyTrust, "the chain file's records of %s are not what the checkpoint of revision %d signs.",
			span(s.after+1, a.Revision), a.Revision))
		return
	}
	k.report.Proven += s.count - uint64(len(s.deviating))
}

// classify says of each run of deviating events what happened to it. It returns true if one of them goes on to the end: then the ledger is another copy's.
func (k *comparison) classify(last events.Revision) (older bool) {
	belongs := k.belongs()
	told := map[events.Revision]bool{}
	for i := 0; i < len(k.deviating); {
		j := i + 1
		for j < len(k.deviating) && k.deviating[j].revision == k.deviating[j-1].revision+1 {
			j++
		}
		run := k.deviating[i:j]
		i = j
		from, through := run[0].revision, run[len(run)-1].revision
		if told[from] {
			continue
		}
		if f, ok := moved(run, belongs, told); ok {
			k.found(f)
			continue
		}
		toEnd := through == min(last, k.end())
		if toEnd && (len(run) > 1 || k.storedAfterWitnessed(&run[0])) {
			older = true
			k.found(finding(OlderCopy, from, k.end(), remedyOlder, "from revision %d on the ledger holds other events than were witnessed up to revision %d: an older copy, up to revision %d, was restored and went on.",
				from, k.end(), from-1))
			continue
		}
		k.found(finding(Altered, from, through, remedyWho, "what the ledger holds at %s is not what was witnessed there.", span(from, through)))
	}
	return older
}

// moved tells of a run whose first content was witnessed at another revision.
func moved(run []suspect, belongs map[events.Revision]events.Revision, told map[events.Revision]bool) (Finding, bool) {
	from, through := run[0].revision, run[len(run)-1].revision
	to, known := belongs[from]
	switch {
	case known && belongs[to] == from:
		told[to] = true
		return finding(Reordered, from, to, remedyWho, "the events of revisions %d and %d changed places.", from, to), true
	case known && to > from:
		return finding(Missing, from, to-1, remedyWho, "what was witnessed at %s was taken out, and what came after was moved up, as far as revision %d.", span(from, to-1), through), true
	case known:
		return finding(Reordered, from, through, remedyWho, "the event of revision %d stands at revision %d.", to, from), true
	}
	for _, s := range run {
		if to, known := belongs[s.revision]; known && to < s.revision {
			return finding(Inserted, from, s.revision-1, remedyWho, "%s put in; what was witnessed there and after was moved down, as far as revision %d.",
				were(from, s.revision-1), through), true
		}
	}
	return Finding{}, false
}

// belongs finds for deviating events the revision at which their content was witnessed.
func (k *comparison) belongs() map[events.Revision]events.Revision {
	out := map[events.Revision]events.Revision{}
	for i := range k.deviating {
		s := &k.deviating[i]
		if s.raw == nil {
			break
		}
		there := s.raw.Without(nil) // the payload is hashed once
		for j := range k.deviating {
			other := &k.deviating[j]
			if j == i || other.raw == nil {
				continue
			}
			there.Revision, there.Stored = other.revision, s.raw.Stored
			own := there.Digest()
			there.Stored = other.raw.Stored
			if own == other.record || there.Digest() == other.record {
				out[s.revision] = other.revision
				break
			}
		}
	}
	return out
}

// storedAfterWitnessed says that an event was stored after its revision was signed for: it is another one.
func (k *comparison) storedAfterWitnessed(s *suspect) bool {
	if s.raw == nil {
		return false
	}
	for _, a := range k.w.anchors {
		if a.Revision >= s.revision {
			return s.raw.Stored.After(a.Time)
		}
	}
	return false
}
