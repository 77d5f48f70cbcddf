package ledgerapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/recording"
	"github.com/wakehq/wake/events/segment"
	"github.com/wakehq/wake/events/trust"
)

// Recorder is what exports are made of.
type Recorder struct {
	Source   recording.Source  // the ledger beneath its seal
	Cluster  string            // the cluster's ID
	Deciders map[string]string // how its deciders are set up
}

// Proof is what came of comparing a place where events are kept with what was witnessed.
type Proof struct {
	Place string `json:"place"` // "stream", or "archive and stream"
	trust.Report
}

// Witness proves that the ledger is what was witnessed.
type Witness interface {
	Status() trust.Status
	Prove(ctx context.Context, marks []trust.Mark) ([]Proof, error)
	Accept(ctx context.Context, reason, who string) (trust.Break, error)
}

// group is the API's group.
const group = "ledger.wake.dev"

// mediaSegment is the type of an answer in the format of package segment.
const mediaSegment = "application/vnd.wake.segment"

// headerBrokenOff is the trailer of an export that says why it ends before its end. The file is recognised as not whole without it, too.
const headerBrokenOff = "Wake-Broken-Off"

// export answers with a recording. Of what goes wrong once it has begun a trailer tells.
func (a *API) export(c echo.Context) error {
	if a.Recorder == nil {
		return apierrors.NewMethodNotSupported(schema.GroupResource{Group: group, Resource: "export"}, "get")
	}
	q := c.QueryParams()
	o := recording.Options{Cluster: a.Recorder.Cluster, Deciders: a.Recorder.Deciders}
	if err := a.stretch(c.Request().Context(), q, &o); err != nil {
		return err
	}
	switch secrets := q.Get("secrets"); secrets {
	case "", "sealed":
	case "dropped":
		o.DropSecrets = true
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("secrets=%q: say sealed or dropped", secrets))
	}
	c.Response().Header().Set(echo.HeaderContentType, mediaSegment)
	_, err := recording.Write(c.Request().Context(), c.Response(), a.Recorder.Source, o)
	switch {
	case err == nil:
		return nil
	case c.Response().Committed:
		c.Response().Header().Set(http.TrailerPrefix+headerBrokenOff, err.Error())
		return nil
	case errors.Is(err, events.ErrTooOld), errors.Is(err, segment.ErrGap):
		return apierrors.NewBadRequest(err.Error())
	}
	return err
}

// stretch reads the moments between which a recording lies: it begins with the state at the first and goes on with what happened after.
func (a *API) stretch(ctx context.Context, q url.Values, o *recording.Options) error {
	now := time.Now()
	if text := q.Get("from"); text != "" {
		revision, err := a.Past.Resolve(ctx, text, now)
		if err != nil {
			return MomentFault(err)
		}
		o.From = revision + 1
	}
	if text := q.Get("to"); text != "" {
		revision, err := a.Past.Resolve(ctx, text, now)
		if err != nil {
			return MomentFault(err)
		}
		o.To = revision
	}
	return nil
}

// proof answers with what came of comparing the ledger with its witness.
func (a *API) proof(c echo.Context) error {
	if a.Witness == nil {
		return apierrors.NewMethodNotSupported(schema.GroupResource{Group: group, Resource: "proof"}, "get")
	}
	var marks []trust.Mark
	for _, text := range c.QueryParams()["checkpoint"] {
		m, err := trust.ParseMark(text)
		if err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
		marks = append(marks, m)
	}
	proofs, err := a.Witness.Prove(c.Request().Context(), marks)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, proofs)
}

// acceptance is the body of a request to accept a break of the chain.
type acceptance struct {
	Reason string `json:"reason"`
}

// accept lets the chain begin anew after a break that a person has an explanation for.
func (a *API) accept(c echo.Context) error {
	if a.Witness == nil {
		return apierrors.NewMethodNotSupported(schema.GroupResource{Group: group, Resource: "proof"}, "create")
	}
	var body acceptance
	if err := c.Bind(&body); err != nil || body.Reason == "" {
		return apierrors.NewBadRequest(`a break is accepted with a reason: {"reason": "restored the backup of Friday"}`)
	}
	accepted, err := a.Witness.Accept(c.Request().Context(), body.Reason, a.Actor(c.Request().Context()))
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return c.JSON(http.StatusOK, accepted)
}
