package trust

import (
	"encoding/hex"

	"github.com/wakehq/wake/events"
)

// maxSuspects bounds for how many deviating events the content is kept, to find where it belongs.
const maxSuspects = 64

// comparison goes through a ledger beside what was witnessed of it, segment by segment: a segment ends at a signed anchor, which decides whether the events or the
// records are right where they differ.
type comparison struct {
	w      *witness
	o      Options
	report Report

	next    events.Revision // that is to come
	anchors []anchor        // yet to come; the first ends the present segment
	segment segment

	deviating []suspect // events that differ from their records, the records being right as far as can be known
	gaps      []gap
	readToEnd bool
}

// segment is what came since the last anchor.
type segment struct {
	after        events.Revision
	events       events.Digest // the chain over the events
	records      events.Digest // the chain over the records
	eventsWhole  bool
	recordsWhole bool
	blind        bool            // it begins in the middle, and what the chain came to there isn't known
	badRecord    events.Revision // the first that is unsound or missing
	count        uint64
	deviating    []suspect
	gaps         []gap
}

// suspect is an event that is not what was witnessed.
type suspect struct {
	revision events.Revision
	record   events.Digest
	raw      *events.Raw // nil past maxSuspects
}

// gap is a run of revisions that the ledger should hold and doesn't.
type gap struct{ from, through events.Revision }

func newComparison(w *witness, o Options) *comparison {
	r := Report{Witnessed: w.end(), Signed: w.signed().Checkpoint, Key: hex.EncodeToString(w.pin.Key), Breaks: w.breaks, Accepted: w.accepted, Findings: w.findings}
	return &comparison{w: w, o: o, report: r}
}

func (k *comparison) found(f Finding) { k.report.Findings = append(k.report.Findings, f) }

// begin begins at the ledger's first revision.
func (k *comparison) begin(from events.Revision) {
	expected := max(k.w.first(), k.o.From)
	k.next = max(from, k.w.first())
	if from > expected {
		k.found(finding(Missing, expected, from-1, remedyRestore, "%s witnessed, but what is read begins at revision %d: the stream's beginning was purged, or its archive wasn't given.",
			were(expected, from-1), from))
	}
	k.report.First = k.next
	chain, whole := k.w.chainAt(k.next - 1)
	for _, a := range k.w.anchors {
		if a.Revision >= k.next {
			k.anchors = append(k.anchors, a)
		}
	}
	k.segment = segment{after: k.next - 1, events: chain, records: chain, eventsWhole: whole, recordsWhole: whole, blind: !whole}
	if !whole && k.next-1 <= k.report.Witnessed {
		k.found(finding(ChainAltered, k.w.first(), k.next-1, remedyTrust, "the chain file's records before revision %d, where the ledger begins, are not sound.", k.next))
	}
	k.compareMarks(k.next - 1)
}

// take takes the next event of the ledger.
func (k *comparison) take(r events.Raw) bool {
	if r.Revision < k.next {
		return true // before the witness begins
	}
	k.absent(r.Revision)
	k.report.Events++
	if r.Kept != nil {
		k.report.Partial++
		if !mayBePartial(&r) {
			k.found(finding(Altered, r.Revision, 0, remedyWho, "the payload of the event at revision %d was left out or replaced, which is not done to such an event.", r.Revision))
		}
	}
	s := &k.segment
	d := r.Digest()
	s.events = s.events.Link(d)
	s.count++
	if record, ok := k.record(); ok && record != d {
		bad := suspect{revision: r.Revision, record: record}
		if len(k.deviating)+len(s.deviating) < maxSuspects {
			bad.raw = &r
		}
		s.deviating = append(s.deviating, bad)
	}
	k.advance()
	return true
}

// mayBePartial says that r is of the sort whose payload an archive thins or an export leaves out. Its subject is proven by its digest.
func mayBePartial(r *events.Raw) bool {
	facet, ref, err := events.ParseSubject(r.Subject)
	if err != nil {
		return false
	}
	return facet == events.Observed && len(r.Payload) == 0 || facet == events.Desired && ref.Group == "" && ref.Resource == "secrets"
}

// record links the record of the next revision, if there is one.
func (k *comparison) record() (events.Digest, bool) {
	s := &k.segment
	record, ok := k.w.at(k.next)
	if !ok {
		if s.recordsWhole {
			s.badRecord = k.next
		}
		s.recordsWhole = false
		return record, false
	}
	s.records = s.records.Link(record)
	return record, true
}

// absent passes over the revisions before until, which the ledger doesn't hold.
func (k *comparison) absent(until events.Revision) {
	for k.next < until {
		s := &k.segment
		record, ok := k.record()
		if ok && record == hole && k.next <= k.w.holesUntil(k.next) {
			s.events = s.events.Link(hole)
		} else {
			s.eventsWhole = false
			if n := len(s.gaps); n > 0 && s.gaps[n-1].through == k.next-1 {
				s.gaps[n-1].through = k.next
			} else {
				s.gaps = append(s.gaps, gap{k.next, k.next})
			}
		}
		k.advance()
	}
}

func (k *comparison) advance() {
	at := k.next
	k.next++
	k.compareMarks(at)
	if len(k.anchors) > 0 && k.anchors[0].Revision == at {
		k.closeSegment(k.anchors[0])
		k.anchors = k.anchors[1:]
	}
}

// closeSegment decides by a signed anchor what is right in the segment before it.
func (k *comparison) closeSegment(a anchor) {
	s := k.segment
	k.segment = segment{after: a.Revision, events: a.Chain, records: a.Chain, eventsWhole: true, recordsWhole: true}
	eventsHold, recordsHold := s.eventsWhole && s.events == a.Chain, s.recordsWhole && s.records == a.Chain
	if eventsHold {
		k.report.Proven += s.count
		if !recordsHold {
			k.chainAltered(s, a.Revision)
		}
		return
	}
	k.keep(s)
	switch {
	case recordsHold:
		k.report.Proven += s.count - uint64(len(s.deviating))
	case s.blind:
	case s.badRecord != 0:
		k.chainAltered(s, a.Revision)
		if len(s.deviating)+len(s.gaps) == 0 {
			k.found(finding(Altered, s.after+1, a.Revision, remedyWho, "the events of %s are not what the checkpoint of revision %d signs; which of them were changed can't be told, because records of the chain file are gone.",
				span(s.after+1, a.Revision), a.Revision))
		}
	case len(s.deviating)+len(s.gaps) == 0:
		k.found(finding(Altered, s.after+1, a.Revision, remedyWho, "the events of %s are not what the checkpoint of revision %d signs, and the chain file was changed along with them.",
			span(s.after+1, a.Revision), a.Revision))
	default:
		k.found(finding(ChainAltered, s.after+1, a.Revision, remedyTrust, "the chain file's records of %s are not what the checkpoint of revision %d signs, and neither are the events.",
			span(s.after+1, a.Revision), a.Revision))
	}
}

// keep keeps what deviates in a segment whose records are right, or can't be shown to be wrong.
func (k *comparison) keep(s segment) {
	k.deviating = append(k.deviating, s.deviating...)
	for _, g := range s.gaps {
		if n := len(k.gaps); n > 0 && k.gaps[n-1].through == g.from-1 {
			k.gaps[n-1].through = g.through
		} else {
			k.gaps = append(k.gaps, g)
		}
	}
}

// chainAltered tells of a segment whose records are wrong.
func (k *comparison) chainAltered(s segment, until events.Revision) {
	at := s.badRecord
	if len(s.deviating) > 0 && (at == 0 || s.deviating[0].revision < at) {
		at = s.deviating[0].revision
	}
	if at == 0 {
		at = s.after + 1
	}
	k.found(finding(ChainAltered, at, 0, remedyTrust, "the chain file's record of revision %d is not what was written there, as the signed checkpoint of revision %d proves.", at, until))
}

// compareMarks compares what the chain came to with the checkpoints that were kept elsewhere.
func (k *comparison) compareMarks(at events.Revision) {
	for _, m := range k.o.Marks {
		if m.Revision != at {
			continue
		}
		if s := &k.segment; !s.eventsWhole || s.events != m.Chain {
			k.found(finding(Contradicted, at, 0, remedyWho, "up to revision %d the chain over the events comes to %s, but the checkpoint that you kept says %s: something up to there was changed.",
				at, s.events, m.Chain))
		}
	}
}

func (k *comparison) unreadable(at events.Revision, err error) {
	k.found(finding(Unreadable, at, 0, remedyDisk, "the ledger can't be read from revision %d on: %v.", at, err))
}
