package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
)

// catchUpTimeout is how long a read waits for the view to reach a revision that the client has seen elsewhere.
const catchUpTimeout = 3 * time.Second

// state returns the state that a read is answered from: the present, at least at the revision that the client names, or the past that it asks for.
func (g *Gateway) state(r *request) (*events.State, error) {
	ctx := r.Request().Context()
	if point, past, err := g.point(r); err != nil {
		return nil, err
	} else if past {
		return g.past.StateAt(ctx, point.Revision)
	}
	revision, err := parseResourceVersion(r.query.Get("resourceVersion"))
	if err != nil {
		return nil, err
	}
	if metav1.ResourceVersionMatch(r.query.Get("resourceVersionMatch")) == metav1.ResourceVersionMatchExact && r.name == "" {
		return g.exactState(ctx, revision)
	}
	return g.reach(ctx, revision)
}

// reach returns the present once it includes revision.
func (g *Gateway) reach(ctx context.Context, revision events.Revision) (*events.State, error) {
	state := g.config.View.State()
	if state.Revision() >= revision {
		return state, nil
	}
	waiting, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	reached, err := g.config.View.WaitFor(waiting, revision)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		timeout := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", revision, state.Revision()), 1)
		timeout.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
		return nil, timeout
	}
	return reached, err
}

// exactState returns the state at exactly revision, from the past if need be.
func (g *Gateway) exactState(ctx context.Context, revision events.Revision) (*events.State, error) {
	if pinned := g.pinned.get(revision); pinned != nil {
		return pinned, nil
	}
	state, err := g.reach(ctx, revision)
	if err != nil || state.Revision() == revision {
		return state, err
	}
	return g.past.StateAt(ctx, revision)
}

// parseResourceVersion returns 0 for an empty one.
func parseResourceVersion(text string) (events.Revision, error) {
	if text == "" {
		return 0, nil
	}
	revision, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version %q: %v", text, errors.Unwrap(err)))
	}
	return revision, nil
}

// get answers with one object.
func (g *Gateway) get(r *request) error {
	o, err := g.present(r)
	if err != nil {
		return err
	}
	return g.answer(r, http.StatusOK, o.Typed())
}

// present returns the object that a reading request names, as of when it asks about.
func (g *Gateway) present(r *request) (*events.Object, error) {
	if point, past, err := g.point(r); err != nil {
		return nil, err
	} else if past {
		return g.pastObject(r, point.Revision)
	}
	state, err := g.state(r)
	if err != nil {
		return nil, err
	}
	return find(state, r)
}

// find returns the object that r names, or the Status that says that there is none.
func find(state *events.State, r *request) (*events.Object, error) {
	o, ok := state.Get(r.ref())
	if !ok {
		return nil, apierrors.NewNotFound(r.kind.GroupResource(), r.name)
	}
	return o, nil
}
