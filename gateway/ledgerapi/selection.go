package ledgerapi

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/timetravel"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/schemas/fielddiff"
)

// selection is what a client asks of the ledger.
type selection struct {
	query   events.Query // what the ledger itself narrows
	kinds   []events.GroupResource
	actors  []string
	types   []string // of events
	paths   []fielddiff.Path
	labels  labels.Selector // nil for any
	chain   events.Revision // 0 for any
	notable bool            // leave routine events out
	tail    int
	objects bool
	changes bool
	follow  bool
	empty   bool // nothing can match: the time asked for ended before the first event
}

// Which parameters a question takes.
var (
	objectParameters = []string{"ref", "namespace", "kind", "label"}
	eventParameters  = append([]string{"actor", "type", "path", "chain", "notable", "from", "to", "since", "until", "tail", "objects", "changes", "follow"}, objectParameters...)
)

// checkParameters refuses what a question doesn't take: a filter that is misspelt must not be ignored.
func checkParameters(q url.Values, known []string) error {
	for name := range q {
		if !slices.Contains(known, name) {
			slices.Sort(known)
			return apierrors.NewBadRequest(fmt.Sprintf("unknown parameter %q: there are %s", name, strings.Join(known, ", ")))
		}
	}
	return nil
}

func (a *API) parseSelection(ctx context.Context, q url.Values, now time.Time) (selection, error) {
	s := selection{}
	if err := checkParameters(q, slices.Clone(eventParameters)); err != nil {
		return s, err
	}
	if err := a.parseObjects(q, &s); err != nil {
		return s, err
	}
	s.actors, s.types = list(q, "actor"), list(q, "type")
	for _, text := range q["path"] {
		p, err := fielddiff.ParsePath(text)
		if err != nil {
			return s, apierrors.NewBadRequest(err.Error())
		}
		s.paths = append(s.paths, p)
	}
	chain := events.Revision(0)
	err := errors.Join(
		parse(q, "from", &s.query.From, parseRevision), parse(q, "to", &s.query.To, parseRevision), parse(q, "tail", &s.tail, strconv.Atoi),
		parse(q, "objects", &s.objects, strconv.ParseBool), parse(q, "changes", &s.changes, strconv.ParseBool), parse(q, "notable", &s.notable, strconv.ParseBool),
		parse(q, "follow", &s.follow, strconv.ParseBool), parse(q, "chain", &chain, parseRevision))
	if err != nil {
		return s, apierrors.NewBadRequest(err.Error())
	}
	if err := a.parseChain(ctx, chain, &s); err != nil {
		return s, err
	}
	return s, a.parseTimes(ctx, q, now, &s)
}

// parseObjects reads which objects are asked for.
func (a *API) parseObjects(q url.Values, s *selection) (err error) {
	s.query.Namespace = q.Get("namespace")
	if text := q.Get("ref"); text != "" {
		ref, err := parseRef(text)
		if err != nil {
			return err
		}
		s.query.Ref = &ref
	}
	for _, name := range list(q, "kind") {
		kind, ok := a.Registry.Lookup(name)
		if !ok {
			return apierrors.NewBadRequest(fmt.Sprintf("%q is no kind of object", name))
		}
		s.kinds = append(s.kinds, storedAs(kind))
	}
	if len(s.kinds) == 1 {
		s.query.Group, s.query.Resource = &s.kinds[0].Group, s.kinds[0].Resource
	}
	if text := q.Get("label"); text != "" {
		if s.labels, err = labels.Parse(text); err != nil {
			return apierrors.NewBadRequest(fmt.Sprintf("label=%q: %v", text, err))
		}
	}
	return nil
}

func storedAs(k *schemas.Kind) events.GroupResource {
	return events.GroupResource{Group: k.Storage.GroupVersion.Group, Resource: k.Storage.Resource}
}

// parseChain narrows s to the chain of an event: it began with the event that its correlation names.
func (a *API) parseChain(ctx context.Context, revision events.Revision, s *selection) error {
	if revision == 0 {
		return nil
	}
	e, err := a.event(ctx, revision)
	if err != nil {
		return err
	}
	s.chain = e.Chain()
	s.query.From = max(s.query.From, s.chain)
	return nil
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

// list splits a parameter's values at commas.
func list(q url.Values, name string) (out []string) {
	for _, value := range q[name] {
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	}
	return out
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

// reads says whether e is of an object that is asked for, as far as its name tells.
func (s *selection) reads(e *events.Event) bool {
	q := &s.query
	switch {
	case q.Ref != nil && e.Ref != *q.Ref, q.Namespace != "" && e.Ref.Namespace != q.Namespace:
		return false
	}
	return len(s.kinds) == 0 || slices.Contains(s.kinds, e.Ref.GroupResource())
}

// matches says whether e is asked for, as far as the event itself tells; see shows for the rest.
func (s *selection) matches(e *events.Event) bool {
	switch {
	case !s.reads(e), e.Revision < s.query.From, s.chain != 0 && e.Chain() != s.chain:
		return false
	case len(s.actors) > 0 && !slices.ContainsFunc(s.actors, func(wanted string) bool { return isActor(e.Actor, wanted) }):
		return false
	}
	return len(s.types) == 0 || slices.ContainsFunc(s.types, func(wanted string) bool { return glob(strings.ToLower(wanted), strings.ToLower(e.Type)) })
}

// isActor understands "user:ada", "user", "ada" and "service:*".
func isActor(actor, wanted string) bool {
	if strings.Contains(wanted, ":") {
		return glob(wanted, actor)
	}
	role, name, _ := strings.Cut(actor, ":")
	return glob(wanted, role) || glob(wanted, name)
}

func glob(pattern, text string) bool {
	ok, err := path.Match(pattern, text)
	return pattern == text || err == nil && ok
}

// mayTouch says whether an event of a facet can concern the fields that are asked for: status is stated apart from the rest.
func (s *selection) mayTouch(facet events.Facet) bool {
	return len(s.paths) == 0 || slices.ContainsFunc(s.paths, func(p fielddiff.Path) bool {
		return p.Begins("status") == (facet == events.Observed)
	})
}

// looksInside says that it takes the objects to know which events are asked for.
func (s *selection) looksInside() bool { return len(s.paths) > 0 || s.labels != nil }
