package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/uuid"
	authuser "k8s.io/apiserver/pkg/authentication/user"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/timetravel"
	"github.com/wakehq/wake/gateway/ledgerapi"
	"github.com/wakehq/wake/gateway/restore"
)

// restorePath is where desired state is brought back: POST a restore.Request, with ?dryRun=All to see what would be done; the answer is a restore.Answer.
const restorePath = ledgerapi.Prefix + "/restore"

// restore serves restorePath.
func (g *Gateway) restore(c echo.Context) error {
	r := &request{Context: c, query: c.Request().URL.Query(), user: userFrom(c.Request().Context())}
	if err := r.checkOptions("CreateOptions"); err != nil {
		return err
	}
	content, err := r.body()
	if err != nil {
		return err
	}
	var wanted restore.Request
	if err := json.Unmarshal(content, &wanted); err != nil {
		return apierrors.NewBadRequest("reading what to restore: " + err.Error())
	}
	in, point, err := g.restoreInput(r, &wanted)
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		in.Present, in.Now = g.config.View.State(), time.Now()
		answer, err := g.carryOut(r, in, &wanted)
		if err == nil {
			if at, err := g.past.When(r.Request().Context(), point); err == nil && !at.IsZero() {
				answer.Time = &at
			}
			return c.JSON(http.StatusOK, answer)
		}
		if !errors.Is(err, events.ErrConflict) || attempt == maxAttempts {
			return err
		}
		if err := g.catchUp(r.Request().Context()); err != nil {
			return err
		}
	}
}

// restoreInput understands what is to be restored.
func (g *Gateway) restoreInput(r *request, wanted *restore.Request) (restore.Input, timetravel.Point, error) {
	ctx := r.Request().Context()
	in := restore.Input{Options: restore.Options{Owned: wanted.Owned, Prune: wanted.Prune, Rerun: wanted.Rerun}, NewUID: uuid.NewUUID,
		User: &authuser.DefaultInfo{Name: r.user.name, Groups: r.user.groups}}
	in.Namespace = wanted.Namespace
	for _, ref := range wanted.Objects {
		in.Refs = append(in.Refs, events.Ref(ref))
	}
	var err error
	if in.Labels, err = labels.Parse(wanted.LabelSelector); err != nil {
		return in, timetravel.Point{}, apierrors.NewBadRequest(fmt.Sprintf("unable to parse label selector %q: %v", wanted.LabelSelector, err))
	}
	if wanted.Kind != nil {
		in.Kind, in.In = events.GroupResource{Group: wanted.Kind.Group, Resource: wanted.Kind.Resource}, wanted.Kind.Namespace
	} else if len(in.Refs) == 0 && in.Namespace == "" {
		return in, timetravel.Point{}, apierrors.NewBadRequest("say what to restore: objects, a namespace, or a kind")
	}
	now := time.Now()
	m, err := timetravel.ParseMoment(wanted.At, now)
	if err != nil {
		return in, timetravel.Point{}, ledgerapi.MomentFault(err)
	}
	point, err := g.past.Find(ctx, m, now)
	if err != nil {
		return in, point, ledgerapi.MomentFault(err)
	}
	in.Past, err = g.past.StateAt(ctx, point.Revision)
	return in, point, err
}

// carryOut plans, and does what is planned unless it is a dry run.
func (g *Gateway) carryOut(r *request, in restore.Input, wanted *restore.Request) (*restore.Answer, error) {
	in.PriorityClass = func(name string) *schedulingv1.PriorityClass { return priorityClass(in.Present, name) }
	plan, err := restore.Make(in)
	var absent *restore.NotFoundError
	if errors.As(err, &absent) {
		return nil, failure(http.StatusNotFound, metav1.StatusReasonNotFound, absent.Reason)
	}
	if err != nil {
		return nil, refusal(err.Error())
	}
	proposals := plan.Proposals()
	answer := &restore.Answer{Revision: plan.At, Basis: plan.Basis, DryRun: r.dryRun(), Digest: plan.Digest(), Events: len(proposals), Objects: plan.Lines(0)}
	if len(proposals) > events.MaxBatch {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("this takes %d events, and only %d can be appended at once: restore fewer objects at a time, by kind or by labels",
			len(proposals), events.MaxBatch))
	}
	if r.dryRun() {
		return answer, nil
	}
	if blocked := plan.Blocked(); len(blocked) > 0 {
		return nil, refusal(fmt.Sprintf("nothing was restored, because %d of %d objects can't be: %s: %s", len(blocked), len(plan.Steps), blocked[0].Ref, blocked[0].Reason))
	}
	if wanted.Digest != "" && wanted.Digest != answer.Digest {
		return nil, refusal("nothing was restored: the cluster has changed since the plan was made, and it is another one now; look at it again")
	}
	if len(proposals) == 0 {
		return answer, nil
	}
	ctx := r.Request().Context()
	events.Audit{Actor: r.user.actor(), Basis: in.Present.Revision(), At: in.Now}.Sign(proposals)
	last, err := g.config.Ledger.Append(ctx, proposals...)
	if err != nil {
		return nil, appendFailure(err, &proposals[0].Ref)
	}
	answer.Appended, answer.Objects = last, plan.Lines(last-uint64(len(proposals))+1)
	_, err = g.config.View.WaitFor(ctx, last)
	return answer, err
}

func refusal(reason string) error {
	return failure(http.StatusConflict, metav1.StatusReasonConflict, reason)
}

func failure(code int32, reason metav1.StatusReason, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message}}
}
