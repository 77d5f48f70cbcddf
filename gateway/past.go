package gateway

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/timetravel"
	"github.com/wakehq/wake/gateway/ledgerapi"
)

const (
	// headerAt names the moment that a read is answered for, like the query parameter "at".
	headerAt = "Wake-At"
	// headerRevision tells which revision an answer about the past is of.
	headerRevision = "Wake-Revision"
	// headerAges asks, with the value agesThen, that the times in lists be moved as far as the moment lies back: a client that shows how long ago they
	// are then shows how long before the moment they were. Only for showing: the times themselves are wrong.
	headerAges = "Wake-Ages"
	agesThen   = "then"
	// pastPrefix, followed by a moment, goes before any path: a client whose server URL ends so reads the past without knowing.
	pastPrefix = "/at/"
)

type momentKey struct{}

// cutMoment takes a moment that a path begins with out of it and into the request's context, before the path is routed.
func cutMoment(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		rest, ok := strings.CutPrefix(r.URL.Path, pastPrefix)
		if !ok {
			return next(c)
		}
		text, path, _ := strings.Cut(rest, "/")
		if strings.TrimSpace(text) == "" {
			return next(c)
		}
		// In place: the router looks at the request that it was given.
		r.URL.Path = "/" + path
		if r.URL.RawPath != "" {
			_, raw, _ := strings.Cut(strings.TrimPrefix(r.URL.RawPath, pastPrefix), "/")
			r.URL.RawPath = "/" + raw
		}
		c.SetRequest(r.WithContext(context.WithValue(r.Context(), momentKey{}, text)))
		return next(c)
	}
}

// momentText returns the moment of the past that a request asks for, empty for the present: the path's, else the query's, else the header's.
func momentText(r *http.Request) string {
	text, _ := r.Context().Value(momentKey{}).(string)
	return cmp.Or(text, r.URL.Query().Get("at"), r.Header.Get(headerAt))
}

// parseMoment understands the moment that a request asks for; false for the present.
func parseMoment(r *http.Request) (timetravel.Moment, bool, error) {
	text := momentText(r)
	if text == "" {
		return timetravel.Moment{}, false, nil
	}
	m, err := timetravel.ParseMoment(text, time.Now())
	return m, true, ledgerapi.MomentFault(err)
}

// guardPast refuses what would change the past. A dry run may be made of what was then, and reviews are questions.
func (g *Gateway) guardPast(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		m, past, err := parseMoment(r)
		if err != nil {
			return err
		}
		if !past || r.Method == http.MethodGet || r.Method == http.MethodHead || asks(r) {
			return next(c)
		}
		point, err := g.past.Find(r.Context(), m, time.Now())
		if err != nil {
			return ledgerapi.MomentFault(err)
		}
		return g.refusePast(c, point)
	}
}

// asks says that a request which isn't a plain read changes nothing either.
func asks(r *http.Request) bool {
	if r.URL.Path == restorePath {
		return false // its moment is in its body
	}
	if strings.HasPrefix(r.URL.Path, "/apis/authorization.k8s.io/") || strings.HasPrefix(r.URL.Path, "/apis/authentication.k8s.io/") {
		return true
	}
	return r.Method != http.MethodDelete && slices.Equal(r.URL.Query()["dryRun"], []string{metav1.DryRunAll})
}

// refusePast words why a write is refused, and how to undo what has happened since.
func (g *Gateway) refusePast(c echo.Context, point timetravel.Point) error {
	at, err := g.past.When(c.Request().Context(), point)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("<kind>/<name> --at %d", point.Revision)
	if strings.HasPrefix(c.Path(), "/api") {
		r, err := g.newRequest(c)
		if err == nil && slices.Contains(onNodes, r.subresource) {
			return errNodes(r.subresource)
		}
		if err == nil && r.name != "" {
			what = fmt.Sprintf("%s/%s --at %d", r.kind.GroupResource(), r.name, point.Revision)
			if r.namespace != "" {
				what += " -n " + r.namespace
			}
		}
	}
	return failure(http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed,
		fmt.Sprintf("revision %d (%s) is the past, which can only be read: leave out the moment to write to the present, or bring back what was then with \"wake restore %s\"",
			point.Revision, at.UTC().Format(time.RFC3339), what))
}

// point finds the moment that r asks for in the ledger; false for the present. A table of the past shows ages as of then.
func (g *Gateway) point(r *request) (timetravel.Point, bool, error) {
	m, past, err := parseMoment(r.Request())
	if err != nil || !past {
		return timetravel.Point{}, false, err
	}
	ctx := r.Request().Context()
	point, err := g.past.Find(ctx, m, time.Now())
	if err != nil {
		return point, true, ledgerapi.MomentFault(err)
	}
	exact := metav1.ResourceVersionMatch(r.query.Get("resourceVersionMatch")) == metav1.ResourceVersionMatchExact && r.name == ""
	if wanted, err := parseResourceVersion(r.query.Get("resourceVersion")); err == nil && exact && wanted <= point.Revision {
		point = timetravel.Point{Revision: wanted}
	}
	return point, true, g.enter(r, point)
}

// enter notes that r is answered from the past.
func (g *Gateway) enter(r *request, point timetravel.Point) (err error) {
	r.Response().Header().Set(headerRevision, strconv.FormatUint(point.Revision, 10))
	r.past = true
	r.agesThen = r.Request().Header.Get(headerAges) == agesThen
	if r.format.shape == tabular || r.agesThen {
		r.then, err = g.past.When(r.Request().Context(), point)
	}
	return err
}

// pastObject returns one object as it was, without folding the whole cluster unless the object is made of others' events.
func (g *Gateway) pastObject(r *request, revision events.Revision) (*events.Object, error) {
	ctx, ref := r.Request().Context(), r.ref()
	if ref.GroupResource() == events.EventsResource {
		state, err := g.past.StateAt(ctx, revision)
		if err != nil {
			return nil, err
		}
		return find(state, r)
	}
	o, err := g.past.ObjectAt(ctx, ref, revision)
	if err != nil {
		return nil, err
	}
	if o == nil || !o.Live() {
		return nil, apierrors.NewNotFound(r.kind.GroupResource(), r.name)
	}
	return o, nil
}

// enterContinued is enter for the continuation of a list, whose token says which revision it is of, whatever the moment is by now.
func (g *Gateway) enterContinued(r *request, revision events.Revision) error {
	if _, past, err := parseMoment(r.Request()); err != nil || !past {
		return err
	}
	return g.enter(r, timetravel.Point{Revision: revision})
}

// errNodes says that something is done by nodes, which don't remember.
func errNodes(subresource string) error {
	what := "nodes do that, and only in the present"
	if subresource == "log" {
		what = "logs are kept by the node, not in the ledger: read those of a pod that is still there without the moment"
	}
	return apierrors.NewBadRequest(fmt.Sprintf("%s of the past can't be had: %s. What happened to the pod: wake log pod/<name>", subresource, what))
}

// onNodes are the subresources that a node answers.
var onNodes = []string{"log", "exec", "attach", "portforward", "proxy"}

// PastURL returns the URL of a server under which everything is as it was at a moment.
func PastURL(server string, m timetravel.Moment) string {
	return strings.TrimSuffix(server, "/") + pastPrefix + url.PathEscape(m.String())
}
