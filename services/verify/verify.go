package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/runner"
)

// Config says what is to be verified.
type Config struct {
	Ledger   events.Ledger // is only read
	Registry *schemas.Registry
	// Deciders returns new deciders, all that this code has, set up as those were that recorded the history.
	Deciders func() []runner.Decider
	// From and To bound the recorded events that are looked at, both inclusive; 0 is open. What lies before From is folded, not decided.
	From, To events.Revision
	// Start is the state before the first event that Ledger gives; nil is the empty state before revision 1. It is not changed.
	Start *events.State
	// Ahead is how many revisions after its basis a recorded event is looked for; 0 is 1<<17. It bounds memory: some 200 bytes each.
	Ahead int
	// MaxDivergences is how many divergences are told in full; 0 is 100.
	MaxDivergences int
	// Progress, if not nil, is called now and then from Run's goroutine.
	Progress func(Progress)
}

// Progress is how far a verification has come.
type Progress struct {
	Revision, Last events.Revision
	Decisions      int
	Diverged       int
}

const (
	defaultAhead          = 1 << 17
	defaultMaxDivergences = 100
	maxAside              = 100
	progressEvery         = 4096 // events
)

// Run verifies history. It fails if the ledger can't be read, or if it begins after Config.Start.
func Run(ctx context.Context, config Config) (Report, error) {
	began := time.Now()
	if config.Ahead == 0 {
		config.Ahead = defaultAhead
	}
	if config.MaxDivergences == 0 {
		config.MaxDivergences = defaultMaxDivergences
	}
	last, _, err := config.Ledger.Last(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("verifying: finding the end of the ledger: %w", err)
	}
	if config.To == 0 || config.To > last {
		config.To = last
	}
	v := newVerification(config)
	first := v.state.Revision() + 1
	if config.To < first { // there is nothing after the state given
		v.To = v.first
		v.end()
		return v.report, nil
	}
	if err := v.begin(ctx, first); err != nil {
		return Report{}, err
	}
	reading, cancel := context.WithCancel(ctx)
	v.ahead = scout(reading, config)
	err = config.Ledger.Read(reading, events.Query{From: first, To: config.To}, func(e events.Event) bool {
		v.failed = v.take(&e)
		return v.failed == nil
	})
	cancel()
	for range v.ahead { // until it has ended
	}
	if err = errors.Join(err, v.failed); err != nil {
		return Report{}, fmt.Errorf("verifying revisions %d to %d, at %d: %w", first, config.To, v.state.Revision(), err)
	}
	v.end()
	v.report.Took = time.Since(began)
	return v.report, nil
}

// begin makes sure that history goes on from the state that there is.
func (v *verification) begin(ctx context.Context, first events.Revision) error {
	held, ok := v.Ledger.(events.RawReader)
	if !ok {
		return nil
	}
	oldest, _, err := held.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("verifying: finding the beginning of the ledger: %w", err)
	}
	if oldest > first {
		return fmt.Errorf("verifying: history is held from revision %d on, and without the state at %d nothing after it can be decided again; the state given is that at %d: "+
			"read through the archive, or begin with its snapshot", oldest, oldest-1, first-1)
	}
	return nil
}

// verification is a Run under way.
type verification struct {
	Config
	report   Report
	state    *events.State
	first    events.Revision // of the states that are known
	services map[string]*service
	failed   error

	decisions int

	ahead   <-chan sightings
	scouted events.Revision                 // up to here it is known what was recorded
	waiting map[events.Revision][]*decision // by basis, to be decided when the state gets there
	open    map[identity]*decision          // until all that is recorded of them was seen
	watched map[slot][]*unrecorded          // facets of which it matters who writes them next
	missing map[[2]string]*Unrecorded       // by service and type
	skipped map[skip]*NotVerified
	expiry  []*unrecorded // of those watched without an end, oldest first
	lacking lacking
}

// slot is a facet of an object.
type slot struct {
	facet events.Facet
	ref   events.Ref
}

type skip struct {
	service string
	reason  Reason
}

func newVerification(config Config) *verification {
	v := &verification{Config: config, waiting: map[events.Revision][]*decision{}, open: map[identity]*decision{}, watched: map[slot][]*unrecorded{},
		missing: map[[2]string]*Unrecorded{}, skipped: map[skip]*NotVerified{}, lacking: newLacking(), services: newServices(config.Deciders())}
	if v.state = events.NewState(config.Registry); config.Start != nil {
		v.state = config.Start.Fork()
	}
	v.first = v.state.Revision()
	return v
}

// take deals with the next event of history: it decides what was decided before it, compares it, and folds it.
func (v *verification) take(e *events.Event) error {
	if v.report.First == 0 {
		v.report.First = e.Revision
	}
	if err := v.lookAhead(e.Revision + events.Revision(v.Ahead)); err != nil {
		return err
	}
	v.report.SetAside += int(e.Revision - v.state.Revision() - 1) // by the ledger, which doesn't give them
	v.decideBefore(e.Revision)
	d := v.open[identityOf(e)]
	if d != nil {
		v.record(d, e)
	}
	v.fold(e)
	v.written(e, d)
	if d != nil && d.last <= e.Revision {
		v.settle(d)
	}
	v.expire(e.Revision)
	if v.report.Events++; v.Progress != nil && v.report.Events%progressEvery == 0 {
		v.Progress(Progress{Revision: e.Revision, Last: v.To, Decisions: v.decisions, Diverged: v.report.Diverged})
	}
	return nil
}

// decideBefore makes the decisions that were made on the states from the present one up to that before revision.
func (v *verification) decideBefore(revision events.Revision) {
	for basis := v.state.Revision(); basis < revision; basis++ {
		decisions := v.waiting[basis]
		if len(decisions) == 0 {
			continue
		}
		delete(v.waiting, basis)
		v.state.Advance(basis)
		for _, d := range decisions {
			v.decide(d)
		}
	}
}

// fold applies an event, and shows what it changed to the deciders that have begun.
func (v *verification) fold(e *events.Event) {
	changes, err := v.state.Apply(*e)
	if err != nil {
		v.setAside(events.SetAside{Revision: e.Revision, Subject: events.Subject(e.Facet, e.Ref), Reason: err.Error()})
	}
	v.lacking.note(e, err)
	for _, s := range v.services {
		s.see(changes)
	}
}

func (v *verification) setAside(a events.SetAside) {
	if v.report.SetAside++; len(v.report.Aside) < maxAside {
		v.report.Aside = append(v.report.Aside, a)
	}
}

// end says what can only be said when all of history is known.
func (v *verification) end() {
	v.report.SetAside += int(v.To - v.state.Revision())
	v.state.Advance(v.To)
	v.expire(math.MaxUint64)
	r := &v.report
	r.Revision, r.Hash = v.state.Revision(), v.state.Hash()
	for _, name := range slices.Sorted(maps.Keys(v.services)) {
		if s := v.services[name]; s.Decisions > 0 {
			r.Services = append(r.Services, s.Service)
		}
	}
	slices.SortStableFunc(r.Divergences, func(a, b Divergence) int { return cmp.Compare(a.Revision, b.Revision) })
	for _, u := range v.missing {
		r.Unrecorded = append(r.Unrecorded, *u)
	}
	slices.SortFunc(r.Unrecorded, func(a, b Unrecorded) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Type, b.Type))
	})
	for _, n := range v.skipped {
		r.NotVerified = append(r.NotVerified, *n)
	}
	slices.SortFunc(r.NotVerified, func(a, b NotVerified) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Reason, b.Reason))
	})
}
