package ledgerapi

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/timetravel"
)

// Moment is a point of the past: the revision that held then, and when. For a moment named by its revision, Time is when that event was stored.
type Moment struct {
	Revision uint64    `json:"revision"`
	Time     time.Time `json:"time,omitzero"`
}

// Between is the first line of a diff's answer.
type Between struct {
	From Moment `json:"from"`
	To   Moment `json:"to"`
}

// What became of an object between two moments.
const (
	VerbCreated  = "created"
	VerbChanged  = "changed"
	VerbDeleted  = "deleted"
	VerbReplaced = "replaced" // deleted, and another of that name created
	VerbPassed   = "passed"   // created and deleted in between
	VerbReverted = "reverted" // changed, and changed back
	VerbObserved = "observed" // nothing but its status changed, which wasn't asked for
)

// ObjectDiff is what became of one object.
type ObjectDiff struct {
	Ref     Ref         `json:"ref"`
	Verb    string      `json:"verb"`
	Derived bool        `json:"derived,omitempty"` // of a kind that the cluster itself keeps account of
	Events  []DiffEvent `json:"events,omitempty"`  // all that brought it about, oldest first; those of the status only if that was asked for
	Fields  []Field     `json:"fields,omitempty"`  // the net effect; not of deleted objects
}

// DiffEvent is an event that contributed to a difference.
type DiffEvent struct {
	Revision uint64    `json:"revision"`
	Stored   time.Time `json:"stored"`
	Type     string    `json:"type"`
	Actor    string    `json:"actor"`
	Cause    uint64    `json:"cause,omitempty"`
}

var diffParameters = append([]string{"from", "to", "status"}, objectParameters...)

// diff answers with the two moments, and then what became of each object that something happened to.
func (a *API) diff(c echo.Context) error {
	ctx, q := c.Request().Context(), c.QueryParams()
	s, status := selection{}, false
	if err := checkParameters(q, slices.Clone(diffParameters)); err != nil {
		return err
	}
	if err := a.parseObjects(q, &s); err != nil {
		return err
	}
	if err := parse(q, "status", &status, strconv.ParseBool); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	between, err := a.between(ctx, q, time.Now())
	if err != nil {
		return err
	}
	out := newLines(c)
	c.Response().Header().Set(headerRevision, strconv.FormatUint(between.To.Revision, 10))
	if err := out.write(between); err != nil {
		return err
	}
	if between.From.Revision < between.To.Revision {
		s.query.From, s.query.To = between.From.Revision+1, between.To.Revision
		d := &differ{api: a, selection: &s, status: status, fold: a.foldFrom(s.query.From), spans: map[events.Ref]*span{}}
		if err := d.run(ctx, out); err != nil {
			return err
		}
	}
	return out.flush()
}

// between finds the moments from and to; without to it is now.
func (a *API) between(ctx context.Context, q url.Values, now time.Time) (b Between, err error) {
	if b.From, err = a.moment(ctx, q.Get("from"), now); err != nil {
		return b, err
	}
	if q.Get("to") != "" {
		b.To, err = a.moment(ctx, q.Get("to"), now)
	} else {
		b.To.Revision, _, err = a.Ledger.Last(ctx)
		b.To.Time = now.UTC()
	}
	if err == nil && b.To.Revision < b.From.Revision {
		err = apierrors.NewBadRequest("the second moment lies before the first: give the older one first")
	}
	return b, err
}

// moment finds a moment. A time before the first event is the empty cluster's.
func (a *API) moment(ctx context.Context, text string, now time.Time) (Moment, error) {
	m, err := timetravel.ParseMoment(text, now)
	if err != nil {
		return Moment{}, MomentFault(err)
	}
	point, err := a.Past.Find(ctx, m, now)
	var early *timetravel.MomentError
	if errors.As(err, &early) && early.Early {
		at, _ := m.Time(now)
		return Moment{Time: at.UTC()}, nil
	}
	if err != nil {
		return Moment{}, MomentFault(err)
	}
	at, err := a.Past.When(ctx, point)
	return Moment{Revision: point.Revision, Time: at.UTC()}, err
}

// span is what happened to one object.
type span struct {
	before   *events.Object
	created  bool
	observed int // events of the status
	events   []DiffEvent
}

type differ struct {
	api       *API
	selection *selection
	status    bool
	fold      *fold
	spans     map[events.Ref]*span
}

func (d *differ) run(ctx context.Context, out *lines) error {
	var failed error
	err := d.api.Ledger.Read(ctx, d.selection.query, func(e events.Event) bool {
		failed = d.take(ctx, &e)
		return failed == nil
	})
	if err = cmp.Or(err, failed); err != nil {
		return err
	}
	for _, ref := range d.inOrder() {
		shown, err := d.describe(ctx, ref)
		if err == nil && shown != nil {
			err = out.write(shown)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) take(ctx context.Context, e *events.Event) (err error) {
	if !d.selection.reads(e) {
		return nil
	}
	s, known := d.spans[e.Ref]
	if !known {
		s = &span{}
		d.spans[e.Ref] = s
		if s.before, err = d.fold.object(ctx, e.Ref); err != nil {
			return err
		}
	}
	d.fold.note(e)
	if e.Facet == events.Observed && !d.status {
		s.observed++
		return nil
	}
	s.created = s.created || e.Facet == events.Desired && !e.Tombstone
	s.events = append(s.events, DiffEvent{Revision: e.Revision, Stored: e.Stored, Type: e.Type, Actor: e.Actor, Cause: e.Cause})
	return nil
}

// inOrder sorts objects as people look for them: by namespace, kind and name.
func (d *differ) inOrder() []events.Ref {
	refs := make([]events.Ref, 0, len(d.spans))
	for ref := range d.spans {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b events.Ref) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name))
	})
	return refs
}

// describe words one object's difference; nil if there is none.
func (d *differ) describe(ctx context.Context, ref events.Ref) (*ObjectDiff, error) {
	s := d.spans[ref]
	after, err := d.fold.object(ctx, ref)
	if err != nil {
		return nil, err
	}
	if d.selection.labels != nil && !labelled(d.selection, s.before) && !labelled(d.selection, after) {
		return nil, nil
	}
	out := &ObjectDiff{Ref: wireRef(ref), Derived: isDerived(ref.GroupResource()), Events: s.events}
	switch {
	case s.before == nil && after == nil && !s.created:
		return nil, nil
	case s.before == nil && after == nil:
		out.Verb = VerbPassed
		return out, nil
	case after == nil:
		out.Verb = VerbDeleted
		return out, nil
	case s.before == nil:
		out.Verb = VerbCreated
	case s.before.UID() != after.UID():
		out.Verb = VerbReplaced
	default:
		out.Verb = VerbChanged
	}
	drawn := pictures{}
	was, err := drawn.draw(s.before)
	if err != nil {
		return nil, err
	}
	is, err := drawn.draw(after)
	if err != nil {
		return nil, err
	}
	out.Fields = compare(was, is, true, d.status)
	if out.Verb == VerbChanged && len(out.Fields) == 0 {
		if out.Verb = VerbObserved; len(s.events) > 0 {
			out.Verb = VerbReverted
		}
	}
	return out, nil
}

func labelsOf(o *events.Object) labels.Set { return o.Meta().GetLabels() }
