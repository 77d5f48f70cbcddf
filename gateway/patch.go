package gateway

import (
	"fmt"
	"mime"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wakehq/wake/events"
)

var patchTypes = []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType)}

// patch changes an object, or the subresource that the request names, by the patch in the request's body. Server-side apply may create it.
func (g *Gateway) patch(r *request) error {
	if err := r.checkOptions("PatchOptions"); err != nil {
		return err
	}
	patchType, content, err := readPatch(r)
	if err != nil {
		return err
	}
	code := http.StatusOK
	d, err := g.commit(r, func(state *events.State) (draft, error) {
		code = http.StatusOK
		o, ok := state.Get(r.ref())
		switch {
		case patchType == types.ApplyYAMLPatchType && !ok && r.subresource == "":
			code = http.StatusCreated
			return g.draftApply(r, state, nil, content)
		case !ok:
			return draft{}, apierrors.NewNotFound(r.kind.GroupResource(), r.name)
		case patchType == types.ApplyYAMLPatchType:
			return g.draftApply(r, state, o, content)
		}
		return g.draftPatch(r, state, o, patchType, content)
	})
	warn(r, d.warnings)
	if err != nil {
		return err
	}
	return g.answer(r, code, d.object)
}

func readPatch(r *request) (types.PatchType, []byte, error) {
	contentType := r.Request().Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(contentType)
	patchType := types.PatchType(media)
	switch patchType {
	case types.ApplyYAMLPatchType:
		if r.query.Get("fieldManager") == "" {
			return "", nil, apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("PatchOptions").GroupKind(), "",
				field.ErrorList{field.Required(field.NewPath("fieldManager"), "is required for apply patch")})
		}
	case types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType:
		if r.query.Has("force") {
			return "", nil, apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("PatchOptions").GroupKind(), "",
				field.ErrorList{field.Forbidden(field.NewPath("force"), "may not be specified for non-apply patch")})
		}
	default:
		err = errUnsupportedMedia(contentType, patchTypes...)
	}
	if err != nil {
		return "", nil, err
	}
	content, err := r.body()
	return patchType, content, err
}

// draftPatch decides what a JSON, merge or strategic merge patch makes of o.
func (g *Gateway) draftPatch(r *request, state *events.State, o *events.Object, patchType types.PatchType, content []byte) (draft, error) {
	patched, warnings, err := r.kind.ApplyPatch(patchType, o.Typed(), content, r.fieldValidation())
	if err != nil {
		return draft{}, err
	}
	d, err := g.draftSubresource(r, state, o, patched, true)
	d.warnings = append(warnings, d.warnings...)
	return d, err
}

// draftApply decides what server-side apply makes of o, which is nil if there is no such object yet.
func (g *Gateway) draftApply(r *request, state *events.State, o *events.Object, content []byte) (draft, error) {
	var live runtime.Object
	if o != nil {
		var err error
		if live, err = r.kind.Convert(o.Typed()); err != nil {
			return draft{}, err
		}
	}
	applied, warnings, err := r.kind.Apply(live, content, r.query.Get("fieldManager"), isTrue(r.query, "force"), r.subresource, r.fieldValidation())
	if err != nil {
		return draft{}, err
	}
	m, err := meta.Accessor(applied)
	if err != nil {
		return draft{}, err
	}
	if m.GetName() != r.name {
		return draft{}, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", m.GetName(), r.name))
	}
	var d draft
	if o == nil {
		d, err = g.draftCreate(r, state, applied, false)
	} else {
		d, err = g.draftSubresource(r, state, o, applied, false)
	}
	d.warnings = append(warnings, d.warnings...)
	return d, err
}

// draftSubresource decides an update of what the request is about: the object or a part of it.
func (g *Gateway) draftSubresource(r *request, state *events.State, o *events.Object, obj runtime.Object, track bool) (draft, error) {
	if r.subresource == "status" {
		return g.draftStatus(r, state, o, obj)
	}
	return g.draftUpdate(r, state, o, obj, track)
}
