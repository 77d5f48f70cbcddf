package ledgerapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/timetravel"
	"github.com/wakehq/wake/schemas"
)

// Prefix is where the API is served.
const Prefix = "/apis/ledger.wake.dev/v1"

// headerRevision names the revision up to which an answer is complete.
const headerRevision = "Wake-Revision"

// headerLeftOut is a trailer: how many routine events an answer leaves out because only notable ones were asked for.
const headerLeftOut = "Wake-Left-Out"

// API answers questions about a ledger.
type API struct {
	Ledger   events.Ledger
	Registry *schemas.Registry
	Past     *timetravel.Past
	View     *events.View
	Health   func() error // nil, or why appends are refused; may be nil itself

	Recorder *Recorder                        // nil: no exports
	Witness  Witness                          // nil: no proofs
	Archive  Archive                          // nil: there is none
	Actor    func(ctx context.Context) string // who makes a request

	// Explain tells what a pod that waits for a node waits for, and what would make it fit, as JSON; nil if it doesn't wait. Nil: nobody can tell.
	Explain func(state *events.State, pod events.Ref) any
}

// Register adds the API's routes to g, which serves Prefix.
func (a *API) Register(g *echo.Group) {
	g.GET("/events", a.events)
	g.GET("/history/:group/:resource/:namespace/:name", a.history)
	g.GET("/causes/:revision", a.causes)
	g.GET("/diff", a.diff)
	g.GET("/blame", a.blame)
	g.GET("/why", a.why)
	g.GET("/impact", a.impact)
	g.GET("/state", a.state)
	g.GET("/status", a.status)
	g.GET("/export", a.export)
	g.GET("/proof", a.proof)
	g.POST("/proof/acceptances", a.accept)
}

func (a *API) events(c echo.Context) error { return a.answer(c, c.QueryParams()) }

func (a *API) history(c echo.Context) error {
	ref := events.Ref{Group: c.Param("group"), Resource: c.Param("resource"), Namespace: c.Param("namespace"), Name: c.Param("name")}
	if ref.Group == "core" {
		ref.Group = ""
	}
	if ref.Namespace == "_" {
		ref.Namespace = ""
	}
	query := c.QueryParams()
	query.Set("ref", ref.String())
	return a.answer(c, query)
}

func (a *API) answer(c echo.Context, query url.Values) error {
	ctx := c.Request().Context()
	s, err := a.parseSelection(ctx, query, time.Now())
	if err != nil {
		return err
	}
	last, _, err := a.Ledger.Last(ctx)
	if err != nil {
		return err
	}
	if s.query.To == 0 && !s.empty {
		s.query.To = last
	}
	out := newLines(c)
	if !s.follow {
		c.Response().Header().Set(headerRevision, strconv.FormatUint(min(last, s.query.To), 10))
	}
	t := &teller{api: a, selection: &s, out: out}
	if last > 0 && !s.empty && s.query.From <= last {
		if err := t.past(ctx); err != nil {
			return err
		}
	}
	if s.follow {
		return t.future(ctx, max(last, s.query.From-min(s.query.From, 1)))
	}
	if err := out.flush(); err != nil {
		return err
	}
	c.Response().Header().Set(http.TrailerPrefix+headerLeftOut, strconv.Itoa(t.leftOut))
	return nil
}

// causes tells an event, then the one that caused it, and so on. A cause is always older, so that the walk ends.
func (a *API) causes(c echo.Context) error {
	revision, err := parseRevision(c.Param("revision"))
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("%q is no revision", c.Param("revision")))
	}
	out := newLines(c)
	for first := true; revision != 0; first = false {
		e, err := a.event(c.Request().Context(), revision)
		if err != nil && (first || !apierrors.IsNotFound(err)) {
			return err
		}
		if err != nil {
			break
		}
		if err := out.write(wireEvent(&e)); err != nil {
			return err
		}
		if e.Cause >= revision {
			break
		}
		revision = e.Cause
	}
	return out.flush()
}

// event reads one event; a revision that there is no event of is the client's mistake.
func (a *API) event(ctx context.Context, revision events.Revision) (found events.Event, err error) {
	err = a.Ledger.Read(ctx, events.Query{From: revision, To: revision}, func(e events.Event) bool {
		found = e
		return false
	})
	if err == nil && found.Revision != revision {
		err = a.noEvent(ctx, revision)
	}
	return found, err
}

// noEvent words that there is no event of a revision, and which there are.
func (a *API) noEvent(ctx context.Context, revision events.Revision) error {
	last, _, err := a.Ledger.Last(ctx)
	if err != nil {
		return err
	}
	missing := apierrors.NewNotFound(schema.GroupResource{Resource: "events"}, strconv.FormatUint(revision, 10))
	missing.ErrStatus.Message = fmt.Sprintf("there is no event %d: the newest is %d", revision, last)
	if revision != 0 && revision <= last {
		missing.ErrStatus.Message = fmt.Sprintf("event %d is not held any more, or could not be understood (see wake status)", revision)
	}
	return missing
}

func (a *API) state(c echo.Context) error {
	ctx := c.Request().Context()
	revision, err := a.Past.Resolve(ctx, c.QueryParam("at"), time.Now())
	if err != nil {
		return MomentFault(err)
	}
	state, err := a.Past.StateAt(ctx, revision)
	if err != nil {
		return err
	}
	c.Response().Header().Set(headerRevision, strconv.FormatUint(revision, 10))
	out := newLines(c)
	for _, gr := range state.Resources() {
		if g, set := c.QueryParams()["group"]; set && g[0] != gr.Group || c.QueryParam("resource") != "" && c.QueryParam("resource") != gr.Resource {
			continue
		}
		for o := range state.All(gr, c.QueryParam("namespace")) {
			content, err := wireObject(o)
			if err == nil {
				err = out.write(Object{Ref: wireRef(o.Ref), Revision: o.Revision(), Object: content})
			}
			if err != nil {
				return err
			}
		}
	}
	return out.flush()
}

// MomentFault makes a moment that can't be served the client's fault; other errors stay what they are.
func MomentFault(err error) error {
	var moment *timetravel.MomentError
	if errors.As(err, &moment) {
		return apierrors.NewBadRequest(moment.Error())
	}
	return err
}

// lines writes JSON values, one per line. Nothing is sent, not even the status, before the first is written or flushed.
type lines struct {
	response *echo.Response
	buffer   *bufio.Writer
	encoder  *json.Encoder
}

func newLines(c echo.Context) *lines {
	c.Response().Header().Set(echo.HeaderContentType, "application/x-ndjson")
	buffer := bufio.NewWriterSize(c.Response(), 64<<10)
	return &lines{response: c.Response(), buffer: buffer, encoder: json.NewEncoder(buffer)}
}

func (l *lines) write(value any) error { return l.encoder.Encode(value) }

func (l *lines) flush() error {
	if !l.response.Committed {
		l.response.WriteHeader(http.StatusOK)
	}
	if err := l.buffer.Flush(); err != nil {
		return err
	}
	l.response.Flush()
	return nil
}
