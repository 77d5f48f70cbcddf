package ledgerapi

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wakehq/wake/events"
)

var impactParameters = []string{"ref", "event", "at"}

// impact tells an event, and then everything that followed from it, in order: each names its cause, which was told before.
func (a *API) impact(c echo.Context) error {
	ctx, q := c.Request().Context(), c.QueryParams()
	if err := checkParameters(q, slices.Clone(impactParameters)); err != nil {
		return err
	}
	at, err := a.momentOrNow(ctx, q.Get("at"))
	if err != nil {
		return err
	}
	start, err := a.startOfImpact(ctx, q, at)
	if err != nil {
		return err
	}
	out := newLines(c)
	c.Response().Header().Set(headerRevision, strconv.FormatUint(at.Revision, 10))
	if err := out.write(wireEvent(&start)); err != nil {
		return err
	}
	if start.Revision < at.Revision {
		if err := a.consequences(ctx, &start, at.Revision, out); err != nil {
			return err
		}
	}
	return out.flush()
}

// consequences tells what followed from start. Every event of a chain carries the chain's first as its correlation, and a cause is always older.
func (a *API) consequences(ctx context.Context, start *events.Event, to events.Revision, out *lines) error {
	chain := start.Chain()
	followed := map[events.Revision]bool{start.Revision: true}
	var failed error
	err := a.Ledger.Read(ctx, events.Query{From: start.Revision + 1, To: to}, func(e events.Event) bool {
		if e.Correlation != chain || !followed[e.Cause] {
			return true
		}
		followed[e.Revision] = true
		failed = out.write(wireEvent(&e))
		return failed == nil
	})
	if err != nil {
		return err
	}
	return failed
}

// startOfImpact finds the event whose consequences are asked for: of an object, the newest that a person did to it; else the newest that anybody wanted
// of it and that didn't come of itself.
func (a *API) startOfImpact(ctx context.Context, q url.Values, at Moment) (start events.Event, err error) {
	if text := q.Get("event"); text != "" {
		revision, err := parseRevision(text)
		if err != nil {
			return start, apierrors.NewBadRequest(fmt.Sprintf("event=%q is no revision", text))
		}
		return a.event(ctx, revision)
	}
	ref, err := parseRef(q.Get("ref"))
	if err != nil {
		return start, err
	}
	var wanted, noted, last events.Event
	if at.Revision > 0 {
		err = a.Ledger.Read(ctx, events.Query{Ref: &ref, To: at.Revision}, func(e events.Event) bool {
			last = e
			switch {
			case strings.HasPrefix(e.Actor, "user:"):
				wanted = e
			case telling(&e) && !e.Tombstone:
				noted = e
			}
			return true
		})
	}
	for _, start := range []events.Event{wanted, noted, last} {
		if start.Revision != 0 || err != nil {
			return start, err
		}
	}
	return start, a.neverWas(ref, at)
}
