package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	authuser "k8s.io/apiserver/pkg/authentication/user"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

// maxAttempts bounds how often a write is decided again because somebody else wrote the same facet first.
const maxAttempts = 20

// draft is what a write comes to.
type draft struct {
	proposals []events.Proposal // none: nothing changes
	object    runtime.Object    // what the client is shown, in the storage version
	removed   bool              // the object is gone
	warnings  []string
}

// commit decides a write on the newest state and appends what it comes to, again and again while others write the same facet first. It returns
// when the view shows the result. Whoever must not overwrite what they haven't seen says so in decide.
func (g *Gateway) commit(r *request, decide func(state *events.State) (draft, error)) (draft, error) {
	ctx := r.Request().Context()
	for attempt := 1; ; attempt++ {
		state, err := g.basis(r)
		if err != nil {
			return draft{}, err
		}
		d, err := decide(state)
		if err != nil || len(d.proposals) == 0 || r.dryRun() {
			return d, err
		}
		events.Audit{Actor: r.user.actor(), Basis: state.Revision(), At: time.Now()}.Sign(d.proposals)
		revision, err := g.config.Ledger.Append(ctx, d.proposals...)
		switch {
		case err == nil:
			return g.settle(ctx, d, revision)
		case !errors.Is(err, events.ErrConflict):
			return d, appendFailure(err, &d.proposals[0].Ref)
		case attempt == maxAttempts:
			return d, apierrors.NewConflict(r.kind.GroupResource(), r.name, fmt.Errorf("%d attempts to write it were overtaken by others; try again", attempt))
		}
		if err := g.catchUp(ctx); err != nil {
			return d, err
		}
	}
}

// basis returns the state on which a write is decided: the present, or for a dry run of the past that.
func (g *Gateway) basis(r *request) (*events.State, error) {
	if point, past, err := g.point(r); err != nil {
		return nil, err
	} else if past {
		return g.past.StateAt(r.Request().Context(), point.Revision)
	}
	return g.config.View.State(), nil
}

func appendFailure(err error, ref *events.Ref) error {
	if errors.Is(err, events.ErrTooLarge) {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("%s: %v", ref, err))
	}
	return fmt.Errorf("writing %s to the ledger: %w", ref, err)
}

// catchUp waits until the view has folded what is in the ledger now.
func (g *Gateway) catchUp(ctx context.Context) error {
	last, _, err := g.config.Ledger.Last(ctx)
	if err == nil {
		_, err = g.config.View.WaitFor(ctx, last)
	}
	return err
}

// settle waits for the view to reach what was appended, and for what is given out to it, and shows the object as it then is.
func (g *Gateway) settle(ctx context.Context, d draft, revision events.Revision) (draft, error) {
	state, err := g.config.View.WaitFor(ctx, revision)
	if err != nil {
		return d, err
	}
	first := &d.proposals[0].Event
	state = g.allotted(ctx, first.Ref, state)
	if o, ok := state.Get(first.Ref); ok && o.UID() == first.UID {
		d.object = o.Typed()
		return d, nil
	}
	m, err := meta.Accessor(d.object)
	if err != nil {
		return d, err
	}
	m.SetResourceVersion(strconv.FormatUint(revision, 10))
	return d, nil
}

// write says of a request what the schemas want to know.
func (r *request) write(state *events.State) *schemas.Write {
	return &schemas.Write{
		User:      &authuser.DefaultInfo{Name: r.user.name, Groups: r.user.groups},
		Namespace: r.namespace,
		Name:      r.name,
		Now:       time.Now(),
		PriorityClass: func(name string) *schedulingv1.PriorityClass {
			return priorityClass(state, name)
		},
		ServiceFamilies: state.ServiceFamilies(),
		IngressClasses:  state.IngressClasses,
	}
}

// priorityClass finds a class by name; the empty name stands for the default one, the lowest if there are several, as in Kubernetes.
func priorityClass(state *events.State, name string) *schedulingv1.PriorityClass {
	var found *schedulingv1.PriorityClass
	for o := range state.All(events.GroupResource{Group: schedulingv1.GroupName, Resource: "priorityclasses"}, "") {
		class, ok := o.Typed().(*schedulingv1.PriorityClass)
		switch {
		case !ok:
		case name != "" && class.Name == name:
			return class
		case name == "" && class.GlobalDefault && (found == nil || class.Value < found.Value):
			found = class
		}
	}
	return found
}

// checkVersion refuses a write of a facet that has changed after the version that the writer saw.
func checkVersion(r *request, o *events.Object, facet events.Facet, seen string) error {
	if seen == "" || seen == "0" {
		return nil
	}
	revision, err := strconv.ParseUint(seen, 10, 64)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("metadata.resourceVersion: Invalid value: %q: must be a number", seen))
	}
	if written := o.Facet(facet); written != nil && written.Revision > revision {
		return errModified(r.kind.GroupResource(), o.Ref.Name)
	}
	return nil
}

// checkNote refuses to write what isn't an object of its own: a note belongs to the event in the ledger that it came with.
func checkNote(r *request, o *events.Object) error {
	if !o.IsNote() {
		return nil
	}
	return apierrors.NewForbidden(r.kind.GroupResource(), o.Ref.Name, errors.New("it shows an event of the ledger, and what has happened can't be changed"))
}

func errModified(gr schema.GroupResource, name string) error {
	return apierrors.NewConflict(gr, name, errors.New("the object has been modified; please apply your changes to the latest version and try again"))
}
