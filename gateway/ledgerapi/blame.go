package ledgerapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas/fielddiff"
)

// Blame tells of each field of an object which event set it last.
type Blame struct {
	Ref     Ref             `json:"ref"`
	UID     string          `json:"uid"`
	At      Moment          `json:"at"`
	Deleted *Event          `json:"deleted,omitempty"` // the event that ended the object; then At is before it
	Object  json.RawMessage `json:"object"`            // without bookkeeping; with its status only if that was asked for
	Fields  []BlamedField   `json:"fields"`            // those that hold no others, in the order of YAML with sorted keys
	Events  []Event         `json:"events"`            // those that Fields names, oldest first
}

// BlamedField is a field and the event that set it last.
type BlamedField struct {
	Path     string    `json:"path"`
	Value    any       `json:"value"`
	Revision uint64    `json:"revision"`
	Stored   time.Time `json:"stored"`
	Actor    string    `json:"actor"`
	Type     string    `json:"type"`
}

var blameParameters = []string{"ref", "at", "status"}

func (a *API) blame(c echo.Context) error {
	ctx, q, status := c.Request().Context(), c.QueryParams(), false
	if err := checkParameters(q, slices.Clone(blameParameters)); err != nil {
		return err
	}
	if err := parse(q, "status", &status, strconv.ParseBool); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	ref, err := parseRef(q.Get("ref"))
	if err != nil {
		return err
	}
	at, err := a.momentOrNow(ctx, q.Get("at"))
	if err != nil {
		return err
	}
	answer, err := a.blameObject(ctx, ref, at, status)
	if err != nil {
		return err
	}
	c.Response().Header().Set(headerRevision, strconv.FormatUint(answer.At.Revision, 10))
	return c.JSON(http.StatusOK, answer)
}

// momentOrNow finds a moment; an empty text is now.
func (a *API) momentOrNow(ctx context.Context, text string) (Moment, error) {
	if text != "" {
		return a.moment(ctx, text, time.Now())
	}
	last, _, err := a.Ledger.Last(ctx)
	return Moment{Revision: last, Time: time.Now().UTC()}, err
}

// story is what happened to one object and what came of it: its fields, each with the event that set it.
type story struct {
	marks  *fielddiff.Blame
	fields map[string]any // without bookkeeping
	uid    string
	secret bool
	ended  *events.Event // the object's tombstone
	events map[events.Revision]*events.Event
}

// blameObject tells of the object that ref names at a moment, or, if it was deleted before, of what it was last.
func (a *API) blameObject(ctx context.Context, ref events.Ref, at Moment, status bool) (*Blame, error) {
	s, err := a.follow(ctx, ref, at.Revision, status)
	if err != nil {
		return nil, err
	}
	if s.marks == nil {
		return nil, a.neverWas(ref, at)
	}
	out := &Blame{Ref: wireRef(ref), UID: s.uid, At: at}
	if s.ended != nil {
		ended := wireEvent(s.ended)
		out.Deleted, out.At = &ended, Moment{Revision: s.ended.Revision - 1, Time: s.ended.Stored}
	}
	if out.Object, err = json.Marshal(s.told()); err != nil {
		return nil, err
	}
	named := map[events.Revision]bool{}
	s.marks.Each(s.fields, func(path string, value any, mark uint64) {
		e := s.events[mark]
		named[mark] = true
		if s.secret {
			value = conceal(Field{Path: path, After: value}).After
		}
		out.Fields = append(out.Fields, BlamedField{Path: path, Value: value, Revision: mark, Stored: e.Stored, Actor: e.Actor, Type: e.Type})
	})
	for revision, e := range s.events {
		if named[revision] {
			out.Events = append(out.Events, wireEvent(e))
		}
	}
	slices.SortFunc(out.Events, func(a, b Event) int { return int(a.Revision) - int(b.Revision) })
	return out, nil
}

// neverWas is the error about an object that the ledger knows nothing of.
func (a *API) neverWas(ref events.Ref, at Moment) error {
	missing := apierrors.NewNotFound(schema.GroupResource{Group: ref.Group, Resource: ref.Resource}, ref.Name)
	missing.ErrStatus.Message = fmt.Sprintf("the ledger knows of no %s up to revision %d: there never was one by that name", ref, at.Revision)
	return missing
}

// follow goes through what happened to an object up to a revision. Of several objects that had the name it tells of the last.
func (a *API) follow(ctx context.Context, ref events.Ref, to events.Revision, status bool) (*story, error) {
	s, f := &story{events: map[events.Revision]*events.Event{}}, a.foldFrom(1)
	if to == 0 {
		return s, nil
	}
	var failed error
	err := a.Ledger.Read(ctx, events.Query{Ref: &ref, To: to}, func(e events.Event) bool {
		if e.Facet == events.Observed && !status {
			return true // neither who nor what of the rest
		}
		failed = s.take(ctx, f, &e, status)
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	return s, err
}

func (s *story) take(ctx context.Context, f *fold, e *events.Event, status bool) error {
	_, after, err := f.step(ctx, e)
	if err != nil {
		return err
	}
	if after == nil {
		if e.Tombstone {
			s.ended = e
		}
		return nil
	}
	if after.UID() != s.uid {
		*s = story{uid: after.UID(), secret: isSecret(&picture{of: after}), events: map[events.Revision]*events.Event{}}
	}
	rest, observed, err := whole(after.Typed())
	if err != nil {
		return err
	}
	fields := legible(rest, observed, status)
	s.marks = s.marks.Blamed(s.fields, fields, e.Revision)
	s.fields, s.events[e.Revision], s.ended = fields, e, nil
	return nil
}

// legible returns an object's fields as people read them: without bookkeeping, but with what names it.
func legible(rest, status map[string]any, withStatus bool) map[string]any {
	fields := maps.Clone(rest)
	if metadata, ok := rest["metadata"].(map[string]any); ok {
		fields["metadata"] = legibleMetadata(metadata)
	}
	if withStatus && len(status) > 0 {
		fields["status"] = status
	}
	return fields
}

// told returns the fields without what a Secret holds.
func (s *story) told() map[string]any {
	if !s.secret || s.fields["data"] == nil {
		return s.fields
	}
	out := maps.Clone(s.fields)
	out["data"] = concealed(out["data"])
	return out
}

func legibleMetadata(metadata map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range metadata {
		path := "metadata." + key
		if key != "name" && key != "namespace" && isBookkeeping(path) {
			continue
		}
		if annotations, ok := value.(map[string]any); ok && key == "annotations" {
			kept := map[string]any{}
			for name, text := range annotations {
				if !isBookkeeping(fielddiff.Join(path, name)) {
					kept[name] = text
				}
			}
			if len(kept) == 0 {
				continue
			}
			value = kept
		}
		out[key] = value
	}
	return out
}

// topLevel names the fields that an object has, for those who looked for another.
func topLevel(fields map[string]any) string {
	var names []string
	for key := range fields {
		names = append(names, key)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
