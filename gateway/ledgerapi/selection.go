package ledgerapi

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/timetravel"
)

// selection is what a client asks of the ledger.
type selection struct {
	query       events.Query
	actor, kind string // kind of event
	tail        int
	objects     bool
	follow      bool
	empty       bool // nothing can match: the time asked for ended before the first event
}

var parameters = map[string]bool{"ref": true, "namespace": true, "actor": true, "type": true, "from": true, "to": true,
	"since": true, "until": true, "tail": true, "objects": true, "follow": true}

func (a *API) parseSelection(ctx context.Context, q url.Values, now time.Time) (selection, error) {
	s := selection{actor: q.Get("actor"), kind: q.Get("type"), query: events.Query{Namespace: q.Get("namespace")}}
	for name := range q {
		if !parameters[name] {
			return s, apierrors.NewBadRequest(fmt.Sprintf("unknown parameter %q", name))
		}
	}
	if text := q.Get("ref"); text != "" {
		ref, err := parseRef(text)
		if err != nil {
			return s, err
		}
		s.query.Ref = &ref
	}
	err := errors.Join(
		parse(q, "from", &s.query.From, parseRevision), parse(q, "to", &s.query.To, parseRevision), parse(q, "tail", &s.tail, strconv.Atoi),
		parse(q, "objects", &s.objects, strconv.ParseBool), parse(q, "follow", &s.follow, strconv.ParseBool))
	if err != nil {
		return s, apierrors.NewBadRequest(err.Error())
	}
	return s, a.parseTimes(ctx, q, now, &s)
}

func (a *API) parseTimes(ctx context.Context, q url.Values, now time.Time, s *selection) error {
	revisionAt := func(name string) (events.Revision, error) {
		at, err := timetravel.ParseTime(q.Get(name), now)
		if err != nil {
			return 0, apierrors.NewBadRequest(name + ": " + err.Error())
		}
		return a.Ledger.RevisionAt(ctx, at)
	}
	if q.Get("since") != "" {
		revision, err := revisionAt("since")
		if err != nil {
			return err
		}
		s.query.From = max(s.query.From, revision+1)
	}
	if q.Get("until") != "" {
		revision, err := revisionAt("until")
		if err != nil {
			return err
		}
		if s.query.To == 0 || revision < s.query.To {
			s.query.To, s.empty = revision, revision == 0
		}
	}
	return nil
}

func parse[T any](q url.Values, name string, into *T, parser func(string) (T, error)) error {
	text := q.Get(name)
	if text == "" {
		return nil
	}
	value, err := parser(text)
	if err != nil {
		return fmt.Errorf("%s=%q: %w", name, text, errors.Unwrap(err))
	}
	*into = value
	return nil
}

func parseRevision(text string) (events.Revision, error) { return strconv.ParseUint(text, 10, 64) }

// parseRef is the inverse of events.Ref.String.
func parseRef(text string) (events.Ref, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 2 && len(parts) != 3 {
		return events.Ref{}, apierrors.NewBadRequest(fmt.Sprintf("ref=%q names no object: say deployments.apps/default/web, or nodes/n1", text))
	}
	r := events.Ref{Name: parts[len(parts)-1]}
	r.Resource, r.Group, _ = strings.Cut(parts[0], ".")
	if len(parts) == 3 {
		r.Namespace = parts[1]
	}
	return r, nil
}

// matches says whether e is asked for; a ledger that is followed gives all events.
func (s *selection) matches(e *events.Event) bool {
	q := &s.query
	switch {
	case s.actor != "" && e.Actor != s.actor, s.kind != "" && e.Type != s.kind:
		return false
	case q.Ref != nil:
		return e.Ref == *q.Ref
	}
	return q.Namespace == "" || e.Ref.Namespace == q.Namespace
}
