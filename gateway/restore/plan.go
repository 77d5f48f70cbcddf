package restore

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/schemas/fielddiff"
)

// Selection is what to restore: Refs; else a whole Namespace, itself included; else the objects of a Kind in a namespace (In; all if empty) with
// certain labels.
type Selection struct {
	Refs      []events.Ref
	Namespace string
	Kind      events.GroupResource
	In        string
	Labels    labels.Selector // nil: all
}

// Options are what may be asked for beyond the usual.
type Options struct {
	Owned bool // bring back what controllers make, too
	Prune bool // delete what is selected now and wasn't there then
	Rerun bool // bring back Jobs and pods that had run to their end, which runs them again
}

// Input is what a plan follows from.
type Input struct {
	Past, Present *events.State
	Selection
	Options
	User          user.Info
	Now           time.Time
	NewUID        func() types.UID
	PriorityClass func(name string) *schedulingv1.PriorityClass // of the present; see schemas.Write
}

// Action is what is to happen to an object.
type Action string

// The actions. Nothing happens for the last three; Blocked keeps the whole plan from being carried out.
const (
	Create    Action = "create"
	Change    Action = "change"
	Delete    Action = "delete"
	Unchanged Action = "unchanged"
	Skip      Action = "skip"
	Blocked   Action = "blocked"
)

// Step is what is to happen to one object. Reason says why, or what won't be as it was; Changes are fields as they are and as they were.
type Step struct {
	Ref      events.Ref
	Kind     string // as in manifests
	Action   Action
	Reason   string
	Changes  []fielddiff.Difference
	proposal *events.Proposal
}

// Plan is how to bring back what was at revision At, worked out on revision Basis.
type Plan struct {
	At, Basis events.Revision
	Steps     []Step
}

// Proposals returns the events that carry p out, to be appended in one batch. Only a plan without blocked steps may be.
func (p *Plan) Proposals() []events.Proposal {
	var out []events.Proposal
	for i := range p.Steps {
		if proposal := p.Steps[i].proposal; proposal != nil {
			out = append(out, *proposal)
		}
	}
	return out
}

// Blocked returns the steps that can't be done.
func (p *Plan) Blocked() []Step {
	return slices.DeleteFunc(slices.Clone(p.Steps), func(s Step) bool { return s.Action != Blocked })
}

// Digest identifies what p does in the words in which people see it: two plans with one digest look the same.
func (p *Plan) Digest() string {
	h := sha256.New()
	for i := range p.Steps {
		s := &p.Steps[i]
		changes, err := json.Marshal(s.Changes)
		if err != nil {
			changes = fmt.Append(nil, s.Changes)
		}
		_, _ = fmt.Fprintf(h, "%s\x00%s\x00%s\x00%s\x00", s.Ref, s.Action, s.Reason, changes)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

// NotFoundError says that what is to be restored wasn't there then.
type NotFoundError struct{ Reason string }

func (e *NotFoundError) Error() string { return e.Reason }

// Make works out the plan. The error is a *NotFoundError if nothing that is selected was there.
func Make(in Input) (*Plan, error) {
	p := &planner{Input: in, plan: &Plan{At: in.Past.Revision(), Basis: in.Present.Revision()}, uids: map[types.UID]types.UID{}, creating: map[events.Ref]bool{}, ending: map[types.UID]bool{}}
	chosen, err := p.choose()
	if err != nil {
		return nil, err
	}
	var coming []*events.Object
	for _, o := range chosen {
		if reason, left := p.leave(o); left {
			p.step(Step{Ref: o.Ref, Kind: o.Kind.KindName, Action: Skip, Reason: reason})
			continue
		}
		p.identify(o)
		coming = append(coming, o)
	}
	p.taken = takenBy(in.Present)
	late := p.latecomers()
	for _, o := range coming {
		p.step(p.bring(o))
	}
	for _, o := range late {
		p.step(p.remove(o))
	}
	order(p.plan.Steps)
	return p.plan, nil
}

// planner is a plan being made.
type planner struct {
	Input
	plan     *Plan
	uids     map[types.UID]types.UID // of objects of the past, to those of the present or to come
	creating map[events.Ref]bool
	taken    claims
	ending   map[types.UID]bool // of what is pruned
}

func (p *planner) step(s Step) { p.plan.Steps = append(p.plan.Steps, s) }

// identify notes which UID the object that o was has, or will have.
func (p *planner) identify(o *events.Object) {
	was := types.UID(o.UID())
	if now, ok := p.Present.Get(o.Ref); ok {
		p.uids[was] = types.UID(now.UID())
		return
	}
	p.uids[was] = p.NewUID()
	p.creating[o.Ref] = true
}

// write says of the restoring what the schemas want to know.
func (p *planner) write(ref events.Ref) *schemas.Write {
	return &schemas.Write{User: p.User, Namespace: ref.Namespace, Name: ref.Name, Now: p.Now, NewUID: p.NewUID, PriorityClass: p.PriorityClass,
		ServiceFamilies: p.Present.ServiceFamilies(), IngressClasses: p.Present.IngressClasses}
}

// ranks say in which order kinds come back: first what others need.
var ranks = map[string]int{"namespaces": -3, "priorityclasses": -2, "serviceaccounts": -2, "configmaps": -2, "secrets": -2, "persistentvolumeclaims": -2,
	"services": -1, "replicasets": 1, "pods": 2}

// order sorts steps: deletions last, else by what others need and by name.
func order(steps []Step) {
	slices.SortStableFunc(steps, func(a, b Step) int {
		last := func(s Step) int {
			if s.Action == Delete {
				return 1
			}
			return 0
		}
		return cmp.Or(last(a)-last(b), ranks[a.Ref.Resource]-ranks[b.Ref.Resource], cmp.Compare(a.Ref.GroupResource().String(), b.Ref.GroupResource().String()),
			cmp.Compare(a.Ref.Namespace, b.Ref.Namespace), cmp.Compare(a.Ref.Name, b.Ref.Name))
	})
}
