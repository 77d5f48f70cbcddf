package ledgerapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas/fielddiff"
)

// Why is one step of the answer to why something is as it is: an event, what it changed, and what is known beside it.
type Why struct {
	Event
	Path        string          `json:"path,omitempty"`        // of the first step: the field that was asked about
	Explanation json.RawMessage `json:"explanation,omitempty"` // of the first step, if a pod waits for a node: see API.Explain
	Lost        uint64          `json:"lost,omitempty"`        // of the last step: its cause, which is not held any more
}

var whyParameters = []string{"ref", "event", "path", "at"}

// why tells the event that made an object, or a field of it, what it is, and then what caused that, step by step, to the first.
func (a *API) why(c echo.Context) error {
	ctx, q := c.Request().Context(), c.QueryParams()
	if err := checkParameters(q, slices.Clone(whyParameters)); err != nil {
		return err
	}
	at, err := a.momentOrNow(ctx, q.Get("at"))
	if err != nil {
		return err
	}
	start, path, err := a.startOfWhy(ctx, q, at)
	if err != nil {
		return err
	}
	out := newLines(c)
	for e, first := start, true; ; first = false {
		step, err := a.step(ctx, &e)
		if err != nil {
			return err
		}
		next, err := a.causeOf(ctx, &e)
		if err != nil {
			return err
		}
		if first {
			step.Path = path
			if step.Explanation, err = a.explanation(ctx, &e, at.Revision); err != nil {
				return err
			}
		}
		if next.Revision == 0 {
			step.Lost = e.Cause
		}
		if err := out.write(step); err != nil {
			return err
		}
		if next.Revision == 0 {
			return out.flush()
		}
		e = next
	}
}

// causeOf reads an event's cause; the zero event if there is none, or if it isn't held any more.
func (a *API) causeOf(ctx context.Context, e *events.Event) (events.Event, error) {
	if e.Cause == 0 || e.Cause >= e.Revision { // a cause is always older, so that every walk ends
		return events.Event{}, nil
	}
	cause, err := a.event(ctx, e.Cause)
	if apierrors.IsNotFound(err) {
		return events.Event{}, nil
	}
	return cause, err
}

// step words an event with the fields that it changed.
func (a *API) step(ctx context.Context, e *events.Event) (Why, error) {
	out := Why{Event: wireEvent(e)}
	before, after, err := a.foldFrom(e.Revision).step(ctx, e)
	if err != nil || e.Tombstone || before == nil {
		return out, err
	}
	out.Fields, err = pictures{}.changes(e, before, after)
	return out, err
}

// startOfWhy finds the event that a question is about, and the field if it is about one.
func (a *API) startOfWhy(ctx context.Context, q url.Values, at Moment) (events.Event, string, error) {
	if text := q.Get("event"); text != "" {
		revision, err := parseRevision(text)
		if err != nil {
			return events.Event{}, "", apierrors.NewBadRequest(fmt.Sprintf("event=%q is no revision", text))
		}
		e, err := a.event(ctx, revision)
		return e, "", err
	}
	ref, err := parseRef(q.Get("ref"))
	if err != nil {
		return events.Event{}, "", err
	}
	if q.Get("path") != "" {
		e, err := a.setter(ctx, ref, q.Get("path"), at)
		return e, q.Get("path"), err
	}
	// A name may hold dots, and so may a path that follows it: the longest name that there ever was is meant.
	for name := ref.Name; name != ""; name = name[:max(strings.LastIndexByte(name, '.'), 0)] {
		named := ref
		named.Name = name
		e, err := a.newest(ctx, named, at.Revision)
		if err != nil {
			return e, "", err
		}
		if path := strings.TrimPrefix(ref.Name[len(name):], "."); e.Revision != 0 && path != "" {
			e, err := a.setter(ctx, named, path, at)
			return e, path, err
		}
		if e.Revision != 0 {
			return e, "", nil
		}
	}
	return events.Event{}, "", a.neverWas(ref, at)
}

// newest returns the event that tells best why an object is as it is: its end; else the newest that anybody wanted, or that a node or a warning told of, or
// else the newest. The zero event if there never was such an object.
func (a *API) newest(ctx context.Context, ref events.Ref, to events.Revision) (best events.Event, err error) {
	var last events.Event
	if to == 0 {
		return last, nil
	}
	err = a.Ledger.Read(ctx, events.Query{Ref: &ref, To: to}, func(e events.Event) bool {
		last = e
		if telling(&e) || best.Tombstone {
			best = e
		}
		return true
	})
	if best.Revision == 0 {
		best = last
	}
	return best, err
}

func telling(e *events.Event) bool {
	if e.Note != nil && e.Note.Warning {
		return true
	}
	return !routine(e) && (e.Facet != events.Observed || strings.HasPrefix(e.Actor, "node:") || strings.HasPrefix(e.Actor, "user:"))
}

// setter returns the event that set a field of an object last.
func (a *API) setter(ctx context.Context, ref events.Ref, text string, at Moment) (events.Event, error) {
	path, err := fielddiff.ParsePath(text)
	if err != nil {
		return events.Event{}, apierrors.NewBadRequest(err.Error())
	}
	s, err := a.follow(ctx, ref, at.Revision, path.Begins("status"))
	if err != nil {
		return events.Event{}, err
	}
	if s.marks == nil {
		return events.Event{}, a.neverWas(ref, at)
	}
	if found := s.setter(path); found != nil {
		return *found, nil
	}
	if found, err := a.remover(ctx, ref, path, at); err != nil || found.Revision != 0 {
		return found, err
	}
	missing := apierrors.NewNotFound(schema.GroupResource{Group: ref.Group, Resource: ref.Resource}, ref.Name)
	missing.ErrStatus.Message = fmt.Sprintf("%s has no field %s, and never had: its fields are in %s, as in spec.template.spec.containers[web].image", ref, text, topLevel(s.fields))
	return events.Event{}, missing
}

// setter returns the newest event that set something at a path, if there is something.
func (s *story) setter(path fielddiff.Path) (found *events.Event) {
	s.marks.Each(s.fields, func(at string, value any, mark uint64) {
		if path.Touches(fielddiff.Difference{Path: at, After: value}) && (found == nil || mark > found.Revision) {
			found = s.events[mark]
		}
	})
	return found
}

// remover returns the event that took away what was at a path.
func (a *API) remover(ctx context.Context, ref events.Ref, path fielddiff.Path, at Moment) (found events.Event, err error) {
	selection := &selection{query: events.Query{Ref: &ref, To: at.Revision}, paths: []fielddiff.Path{path}}
	t := &teller{api: a, selection: selection}
	last := uint64(0)
	if err := t.read(ctx, selection.query, func(e *Event) error { last = e.Revision; return nil }); err != nil || last == 0 {
		return found, err
	}
	return a.event(ctx, last)
}

// explanation tells what a pod that waits for a node waits for.
func (a *API) explanation(ctx context.Context, e *events.Event, at events.Revision) (json.RawMessage, error) {
	if a.Explain == nil || e.Ref.GroupResource() != (events.GroupResource{Resource: "pods"}) || e.Tombstone {
		return nil, nil
	}
	state, err := a.Past.StateAt(ctx, at)
	if err != nil {
		return nil, err
	}
	explained := a.Explain(state, e.Ref)
	if explained == nil {
		return nil, nil
	}
	return json.Marshal(explained)
}
