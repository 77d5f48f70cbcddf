package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wakehq/wake/events"
)

// fail answers with err as a Kubernetes Status. Once an answer has begun there is nothing left to say: the connection is cut, so
// that the client notices.
func (g *Gateway) fail(err error, c echo.Context) {
	if c.Response().Committed {
		if c.Request().Context().Err() == nil {
			g.config.Log.Warn("an answer broke off", "path", c.Request().URL.Path, "error", err)
			panic(http.ErrAbortHandler)
		}
		return
	}
	status := statusOf(err)
	if status.Code >= http.StatusInternalServerError && status.Reason == metav1.StatusReasonInternalError {
		g.config.Log.Error("a request failed", "method", c.Request().Method, "path", c.Request().URL.Path, "error", err)
	}
	f, negotiateErr := negotiate(c.Request(), false)
	if negotiateErr != nil {
		f = format{}
	}
	f.shape = whole
	if retry := status.Details; retry != nil && retry.RetryAfterSeconds > 0 {
		c.Response().Header().Set("Retry-After", fmt.Sprint(retry.RetryAfterSeconds))
	}
	content, err := g.encode(&status, f)
	if err == nil {
		err = c.Blob(int(status.Code), f.contentType(), content)
	}
	if err != nil {
		g.config.Log.Debug("a failure could not be reported", "path", c.Request().URL.Path, "error", err)
	}
}

// statusOf words err as Kubernetes does.
func statusOf(err error) metav1.Status {
	var known apierrors.APIStatus
	var routing *echo.HTTPError
	switch {
	case errors.As(err, &known):
	case errors.As(err, &routing):
		known = apierrors.NewGenericServerResponse(routing.Code, "", schema.GroupResource{}, "", fmt.Sprint(routing.Message), 0, true)
		if routing.Code == http.StatusNotFound {
			known = errNoSuchPath()
		}
	case errors.Is(err, events.ErrTooOld):
		known = apierrors.NewResourceExpired(err.Error())
	case errors.Is(err, events.ErrReadOnly):
		known = &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusMethodNotAllowed, Reason: metav1.StatusReasonMethodNotAllowed,
			Message: err.Error()}}
	case errors.Is(err, events.ErrTooLarge):
		known = apierrors.NewRequestEntityTooLargeError(err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		known = apierrors.NewTimeoutError(err.Error(), 1)
	default:
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	status.Kind, status.APIVersion = "Status", "v1"
	if status.Code == 0 {
		status.Code = http.StatusInternalServerError
	}
	return status
}

// errNoSuchPath is what Kubernetes answers when nothing is served under a path: clients tell from it that the resource type is unknown.
func errNoSuchPath() *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: "the server could not find the requested resource", Details: &metav1.StatusDetails{}}}
}

func errNotAcceptable(accept string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: fmt.Sprintf("only the following media types are accepted: %s (the request accepts %q)", strings.Join(mediaTypes[:], ", "), accept)}}
}

func errUnsupportedMedia(contentType string, supported ...string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: fmt.Sprintf("the body of the request was in an unknown format (%q) - accepted media types include: %s", contentType, strings.Join(supported, ", "))}}
}

func errNotImplemented(what string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotImplemented, Reason: "NotImplemented", Message: what}}
}
