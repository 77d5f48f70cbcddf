package gateway

import (
	"net/http"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

// scale serves the scale subresource: how many replicas there are, and should be.
func (g *Gateway) scale(r *request) error {
	switch r.Request().Method {
	case http.MethodGet:
		o, err := g.present(r)
		if err != nil {
			return err
		}
		return g.answerScale(r, o)
	case http.MethodPut:
		obj, err := g.decodeAs(r, autoscalingv1.SchemeGroupVersion.WithKind("Scale"))
		if err != nil {
			return err
		}
		wanted, ok := obj.(*autoscalingv1.Scale)
		if !ok || wanted.Name != "" && wanted.Name != r.name {
			return apierrors.NewBadRequest("the body is no Scale of the object that the URL names")
		}
		return g.setScale(r, func(*autoscalingv1.Scale) (*autoscalingv1.Scale, []string, error) { return wanted, nil, nil })
	case http.MethodPatch:
		return g.patchScale(r)
	}
	return apierrors.NewMethodNotSupported(r.kind.GroupResource(), strings.ToLower(r.Request().Method))
}

func (g *Gateway) patchScale(r *request) error {
	patchType, content, err := readPatch(r)
	if err != nil {
		return err
	}
	if patchType == types.ApplyYAMLPatchType {
		return errNotImplemented("server-side apply of a scale is not implemented: apply the object itself, or patch its scale")
	}
	return g.setScale(r, func(scale *autoscalingv1.Scale) (*autoscalingv1.Scale, []string, error) {
		patched, warnings, err := schemas.ApplyPatch(patchType, scale, &autoscalingv1.Scale{}, content, r.fieldValidation())
		if err != nil {
			return nil, nil, err
		}
		wanted, ok := patched.(*autoscalingv1.Scale)
		if !ok {
			return nil, nil, apierrors.NewBadRequest("the patch makes no Scale")
		}
		return wanted, warnings, nil
	})
}

// setScale sets the replicas to what edit makes of the scale as it is.
func (g *Gateway) setScale(r *request, edit func(*autoscalingv1.Scale) (*autoscalingv1.Scale, []string, error)) error {
	if err := r.checkOptions("UpdateOptions"); err != nil {
		return err
	}
	d, err := g.commit(r, func(state *events.State) (draft, error) {
		o, err := find(state, r)
		if err != nil {
			return draft{}, err
		}
		scale, err := r.kind.GetScale(o.Typed())
		if err != nil {
			return draft{}, err
		}
		wanted, warnings, err := edit(scale)
		if err != nil {
			return draft{}, err
		}
		obj, err := r.kind.SetScale(o.Typed(), wanted)
		if err != nil {
			return draft{}, err
		}
		d, err := g.draftUpdate(r, state, o, obj, true)
		d.warnings = append(warnings, d.warnings...)
		return d, err
	})
	warn(r, d.warnings)
	if err != nil {
		return err
	}
	scale, err := r.kind.GetScale(d.object)
	if err != nil {
		return err
	}
	return g.answerPlain(r, http.StatusOK, scale)
}

func (g *Gateway) answerScale(r *request, o *events.Object) error {
	scale, err := r.kind.GetScale(o.Typed())
	if err != nil {
		return err
	}
	return g.answerPlain(r, http.StatusOK, scale)
}
