package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxBody is the largest body that is read, in bytes: Kubernetes' limit.
const maxBody = 3 << 20

// body reads a request's body.
func (r *request) body() ([]byte, error) {
	content, err := io.ReadAll(http.MaxBytesReader(r.Response(), r.Request().Body, maxBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d bytes", large.Limit))
	}
	if err != nil {
		return nil, apierrors.NewBadRequest("reading the request's body: " + err.Error())
	}
	return content, nil
}

// decode reads an object of the request's kind from its body, and warns of what is odd about it.
func (r *request) decode() (runtime.Object, error) {
	content, err := r.body()
	if err != nil {
		return nil, err
	}
	obj, warnings, err := r.kind.DecodeBody(content, r.Request().Header.Get("Content-Type"), r.fieldValidation())
	if err != nil {
		return nil, err
	}
	warn(r, warnings)
	return obj, nil
}

// decodeAs reads an object of any kind of the API from the request's body.
func (g *Gateway) decodeAs(r *request, gvk schema.GroupVersionKind) (runtime.Object, error) {
	content, err := r.body()
	if err != nil {
		return nil, err
	}
	obj, warnings, err := g.config.Registry.DecodeBody(content, r.Request().Header.Get("Content-Type"), gvk, r.fieldValidation())
	if err != nil {
		return nil, err
	}
	warn(r, warnings)
	return obj, nil
}

func (r *request) fieldValidation() string {
	if v := r.query.Get("fieldValidation"); v != "" {
		return v
	}
	return metav1.FieldValidationWarn
}

// manager names who manages the fields that the request sets: who it says, else the client program.
func (r *request) manager() string {
	if m := r.query.Get("fieldManager"); m != "" {
		return m
	}
	agent, _, _ := strings.Cut(r.Request().UserAgent(), "/")
	if agent == "" {
		return "unknown"
	}
	return agent[:min(len(agent), maxManager)]
}

// maxManager is how long the name of a field manager may be.
const maxManager = 128

// checkOptions refuses options of a write that mean nothing.
func (r *request) checkOptions(kind string) error {
	var errs field.ErrorList
	if dry := r.query["dryRun"]; len(dry) > 0 && slices.ContainsFunc(dry, func(v string) bool { return v != metav1.DryRunAll }) {
		errs = append(errs, field.NotSupported(field.NewPath("dryRun"), dry, []string{metav1.DryRunAll}))
	}
	known := []string{metav1.FieldValidationIgnore, metav1.FieldValidationWarn, metav1.FieldValidationStrict}
	if v := r.query.Get("fieldValidation"); v != "" && !slices.Contains(known, v) {
		errs = append(errs, field.NotSupported(field.NewPath("fieldValidation"), v, known))
	}
	if m := r.query.Get("fieldManager"); len(m) > maxManager {
		errs = append(errs, field.TooLong(field.NewPath("fieldManager"), m, maxManager))
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind(kind).GroupKind(), "", errs)
	}
	return nil
}

func (r *request) dryRun() bool { return len(r.query["dryRun"]) > 0 }
