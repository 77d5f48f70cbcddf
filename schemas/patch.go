package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	kjson "sigs.k8s.io/json"
)

// maxPatchOperations bounds a JSON patch, as in Kubernetes.
const maxPatchOperations = 10000

// ApplyPatch returns what a JSON, merge or strategic merge patch makes of original, in the version that this row serves, with defaults set. For
// server-side apply see Apply.
func (k *Kind) ApplyPatch(patchType types.PatchType, original runtime.Object, patch []byte, validation FieldValidation) (runtime.Object, []string, error) {
	served, err := k.ConvertTo(original, k.GroupVersion)
	if err != nil {
		return nil, nil, err
	}
	return ApplyPatch(patchType, served, k.New(), patch, validation)
}

// ApplyPatch is the same for any typed object, such as a Scale. The result is written to into, an empty object of original's type.
func ApplyPatch(patchType types.PatchType, original, into runtime.Object, patch []byte, validation FieldValidation) (runtime.Object, []string, error) {
	gvk := original.GetObjectKind().GroupVersionKind()
	oddities, err := checkPatch(patchType, patch)
	if err != nil {
		return nil, nil, err
	}
	patched, err := patchObject(patchType, original, patch)
	if err != nil {
		return nil, nil, err
	}
	unknown, err := kjson.UnmarshalStrict(patched, into)
	if err != nil {
		return nil, nil, invalidPatch(patch, err)
	}
	if got := into.GetObjectKind().GroupVersionKind(); got != gvk {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("a patch can't turn a %s into a %s", gvk, got))
	}
	legacyscheme.Scheme.Default(into)
	oddities = append(oddities, unknown...)
	switch {
	case len(oddities) == 0 || validation == metav1.FieldValidationIgnore:
		return into, nil, nil
	case validation == metav1.FieldValidationStrict:
		return nil, nil, invalidPatch(patch, runtime.NewStrictDecodingError(oddities))
	}
	warnings := make([]string, len(oddities))
	for i, e := range oddities {
		warnings[i] = e.Error()
	}
	return into, warnings, nil
}

func invalidPatch(patch []byte, err error) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), string(patch), err.Error())})
}

// checkPatch returns what is odd about a patch's own text: keys that stand there twice.
func checkPatch(patchType types.PatchType, patch []byte) ([]error, error) {
	if patchType == types.JSONPatchType {
		var operations []struct {
			Op    string `json:"op"`
			Path  string `json:"path"`
			From  string `json:"from"`
			Value any    `json:"value"`
		}
		oddities, err := kjson.UnmarshalStrict(patch, &operations)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		if len(operations) > maxPatchOperations {
			return nil, apierrors.NewRequestEntityTooLargeError(
				fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxPatchOperations, len(operations)))
		}
		for i, e := range oddities {
			oddities[i] = fmt.Errorf("json patch %w", e)
		}
		return oddities, nil
	}
	content := map[string]any{}
	oddities, err := kjson.UnmarshalStrict(patch, &content)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	return oddities, nil
}

// patchObject returns the patched object as JSON.
func patchObject(patchType types.PatchType, original runtime.Object, patch []byte) ([]byte, error) {
	data, err := json.Marshal(original)
	if err != nil {
		return nil, fmt.Errorf("writing the object to be patched: %w", err)
	}
	switch patchType {
	case types.JSONPatchType:
		operations, err := jsonpatch.DecodePatch(patch)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		data, err = operations.Apply(data)
		return data, unprocessable(err)
	case types.MergePatchType:
		data, err = jsonpatch.MergePatch(data, patch)
		if errors.Is(err, jsonpatch.ErrBadJSONPatch) {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return data, err
	case types.StrategicMergePatchType:
		data, err = strategicpatch.StrategicMergePatch(data, patch, original)
		if errors.Is(err, mergepatch.ErrNoListOfLists) || errors.Is(err, mergepatch.ErrPatchContentNotMatchRetainKeys) {
			return nil, unprocessable(err)
		}
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return data, nil
	}
	return nil, unsupportedMediaType(string(patchType))
}

func unprocessable(err error) error {
	if err == nil {
		return nil
	}
	status := apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", "", 0, false)
	status.ErrStatus.Message = "the patch can't be applied: " + err.Error()
	return status
}
