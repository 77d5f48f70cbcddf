package verify

import (
	"fmt"
	"slices"
	"time"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// service is the deciders that share a name, and how they fared.
type service struct {
	Service
	seats []*seat
}

// seat is a decider and whether it has been shown the state.
type seat struct {
	decider runner.Decider
	folder  runner.Folder // nil if it keeps no account
	begun   bool
}

func newServices(deciders []runner.Decider) map[string]*service {
	services := map[string]*service{}
	for _, decider := range deciders {
		s := services[decider.Name()]
		if s == nil {
			s = &service{Service: Service{Name: decider.Name()}}
			services[decider.Name()] = s
		}
		folder, _ := decider.(runner.Folder)
		s.seats = append(s.seats, &seat{decider: decider, folder: folder})
	}
	return services
}

// holding returns the seat that decides about a key; nil if none does.
func (s *service) holding(key events.Ref) *seat {
	for _, seat := range s.seats {
		sharer, shares := seat.decider.(runner.Sharer)
		if !shares || sharer.Holds(key) {
			return seat
		}
	}
	return nil
}

// see shows what an event changed to the deciders that have begun.
func (s *service) see(changes []events.Change) {
	for _, seat := range s.seats {
		if !seat.begun || seat.folder == nil {
			continue
		}
		for _, change := range changes {
			seat.folder.Fold(change)
		}
	}
}

// begin shows a decider all that exists, as a runner does when it starts.
func (s *seat) begin(state *events.State) {
	if s.begun {
		return
	}
	s.begun = true
	if s.folder == nil {
		return
	}
	for _, gr := range state.Resources() {
		for o := range state.All(gr, "") {
			s.folder.Fold(events.Change{Revision: o.Revision(), Event: o.Newest(), New: o})
		}
	}
}

// decision is one that is recorded.
type decision struct {
	identity
	service *service
	ref     events.Ref // what its key names
	at      time.Time
	last    events.Revision // of the events that are known to record it

	impossible string // why nothing can have been decided like that
	failure    string // why it can't be decided again
	skipped    Reason
	proposals  []*proposal
	recorded   []*events.Event
}

// proposal is what a decision, made again, wants to be written.
type proposal struct {
	events.Proposal
	group  int // index in Together; -1 for Each
	place  int // in its group
	fate   *unrecorded
	record *events.Event // what was recorded of it; nil if nothing was
}

// decide makes a decision again: the state is at its basis, and the decider has seen what led there.
func (v *verification) decide(d *decision) {
	switch {
	case d.last < v.From:
		delete(v.open, d.identity)
		return
	case v.lacking.concerns(d.ref):
		d.skipped = NotWhole
		return
	}
	seat := d.service.holding(d.ref)
	if seat == nil {
		d.skipped = UnknownService
		return
	}
	seat.begin(v.state)
	d.service.Decisions++
	v.decisions++
	again, failure := decideSafely(seat.decider, runner.Input{State: v.state, Key: d.ref, Now: d.at})
	if d.failure = failure; failure != "" {
		return
	}
	for i, group := range again.Together {
		for j, p := range group {
			v.expect(d, &proposal{Proposal: p, group: i, place: j})
		}
	}
	for i, p := range again.Each {
		v.expect(d, &proposal{Proposal: p, group: -1, place: i})
	}
}

func decideSafely(decider runner.Decider, in runner.Input) (d runner.Decision, failure string) {
	defer func() {
		if p := recover(); p != nil {
			failure = fmt.Sprintf("the decider panics: %v", p)
		}
	}()
	return decider.Decide(in), ""
}

// expect notes a proposal, and watches who writes its facet.
func (v *verification) expect(d *decision, p *proposal) {
	p.fate = &unrecorded{decision: d, slot: slot{p.Facet, p.Ref}, eventType: p.Type}
	v.watched[p.fate.slot] = append(v.watched[p.fate.slot], p.fate)
	d.proposals = append(d.proposals, p)
}

// record takes note of an event that records d, before it is folded.
func (v *verification) record(d *decision, e *events.Event) {
	switch changed := v.state.Slot(e.Ref).Expect(e.Facet); {
	case d.skipped != "":
		v.skip(d.identity.service, d.skipped, e.Revision)
	case d.impossible != "":
		d.service.Recorded++
		v.diverge(d, Divergence{Kind: Impossible, Revision: e.Revision, Recorded: factOf(e), Reason: d.impossible})
	case d.failure != "":
		d.service.Recorded++
		v.diverge(d, Divergence{Kind: Failed, Revision: e.Revision, Recorded: factOf(e), Reason: d.failure})
	case changed > d.basis:
		d.service.Recorded++
		v.diverge(d, Divergence{Kind: Impossible, Revision: e.Revision, Recorded: factOf(e),
			Reason: fmt.Sprintf("its facet had changed at %d, after the state that it was decided on: no ledger takes it then", changed)})
	default:
		d.service.Recorded++
		kept := *e
		d.recorded = append(d.recorded, &kept)
	}
}

// settle compares what was recorded of d with what is decided now. Nothing more is to come.
func (v *verification) settle(d *decision) {
	delete(v.open, d.identity)
	var unmatched []*events.Event
	for _, e := range d.recorded {
		p := d.matching(e)
		if p == nil {
			unmatched = append(unmatched, e)
			continue
		}
		p.record = e
		if reason := causeFault(p, e); reason != "" {
			v.diverge(d, Divergence{Kind: Impossible, Revision: e.Revision, Recorded: factOf(e), Reason: reason})
		} else if fields := v.compare(e, p); len(fields) == 0 && thinned(e) && len(p.Payload) > 0 {
			d.service.Recorded--
			v.skip(d.identity.service, Thinned, e.Revision)
		} else if len(fields) > 0 {
			v.diverge(d, Divergence{Kind: kindOf(fields), Revision: e.Revision, Recorded: factOf(e), Decided: factOf(&p.Event), Fields: fields})
		}
	}
	for _, e := range unmatched {
		found := Divergence{Kind: Absent, Revision: e.Revision, Recorded: factOf(e)}
		i := slices.IndexFunc(d.proposals, func(p *proposal) bool { return p.record == nil && p.Type == e.Type && p.Facet == e.Facet })
		if i >= 0 {
			p := d.proposals[i]
			p.record = e
			found.Decided, found.Fields = factOf(&p.Event), v.compare(e, p)
		}
		v.diverge(d, found)
	}
	v.added(d)
	for _, p := range d.proposals {
		v.settleFate(p.fate, p.record != nil)
	}
}

// causeFault says why an event can't have the cause that it names. One that its decision names is compared with the rest.
func causeFault(p *proposal, e *events.Event) string {
	if p.Cause == 0 && e.Cause > e.Basis {
		return fmt.Sprintf("it says that event %d asked for it, which came after the state that it was decided on", e.Cause)
	}
	return ""
}

// matching returns the proposal of the same facet that no event was found for yet: the equal one if there are several.
func (d *decision) matching(e *events.Event) *proposal {
	var first *proposal
	for _, p := range d.proposals {
		if p.record != nil || p.Facet != e.Facet || p.Ref != e.Ref {
			continue
		}
		if same(e, &p.Event) {
			return p
		}
		if first == nil {
			first = p
		}
	}
	return first
}

// added finds proposals that would have gone in one batch with recorded events, and aren't recorded. A batch that Config.To cuts in two is no proof.
func (v *verification) added(d *decision) {
	begins := map[int]*proposal{} // of each batch, the first that was recorded
	for _, p := range d.proposals {
		if p.group >= 0 && p.record != nil && begins[p.group] == nil {
			begins[p.group] = p
		}
	}
	for _, p := range d.proposals {
		begin := begins[p.group]
		if p.record != nil || begin == nil || int(begin.record.Revision)+p.place-begin.place > int(v.To) {
			continue
		}
		p.record = begin.record
		v.diverge(d, Divergence{Kind: Added, Revision: d.last, Decided: factOf(&p.Event)})
	}
}

func (v *verification) diverge(d *decision, found Divergence) {
	found.Service, found.Key, found.Basis, found.At = d.identity.service, d.key, d.basis, d.at
	r := &v.report
	if r.Diverged++; len(r.Divergences) < v.MaxDivergences {
		r.Divergences = append(r.Divergences, found)
	}
	if found.Kind == Differs && found.Fields[0].Path == nodePath {
		if r.Moved++; r.FirstMoved == nil || found.Revision < r.FirstMoved.Revision {
			r.FirstMoved = &found
		}
	}
	d.service.Diverged++
}

func factOf(e *events.Event) *Fact {
	return &Fact{Type: e.Type, Facet: e.Facet.String(), Object: e.Ref.String()}
}
