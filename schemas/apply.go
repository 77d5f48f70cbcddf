package schemas

import (
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/yaml"
)

// managers are a kind's field managers, by subresource, made when first needed.
type managers struct {
	mu   sync.Mutex
	made map[string]*managedfields.FieldManager
}

// newTypeConverter knows the merge rules of every built-in type.
func newTypeConverter() managedfields.TypeConverter {
	return applyconfigurations.NewTypeConverter(legacyscheme.Scheme)
}

func (k *Kind) manager(subresource string) (*managedfields.FieldManager, error) {
	k.managers.mu.Lock()
	defer k.managers.mu.Unlock()
	if m, ok := k.managers.made[subresource]; ok {
		return m, nil
	}
	s := legacyscheme.Scheme
	hub := schema.GroupVersion{Group: k.GroupVersion.Group, Version: runtime.APIVersionInternal}
	m, err := managedfields.NewDefaultFieldManager(k.registry.types(), converter{s}, s, s, k.GVK(), hub, subresource,
		resetFields(k.update[subresource]))
	if err != nil {
		return nil, fmt.Errorf("preparing to track the fields of %s: %w", k, err)
	}
	if k.managers.made == nil {
		k.managers.made = map[string]*managedfields.FieldManager{}
	}
	k.managers.made[subresource] = m
	return m, nil
}

// resetFields are the fields that a strategy throws away, so that whoever sends them doesn't come to own them.
func resetFields(strategy rest.RESTUpdateStrategy) map[fieldpath.APIVersion]fieldpath.Filter {
	switch s := strategy.(type) {
	case rest.ResetFieldsFilterStrategy:
		return s.GetResetFieldsFilter()
	case rest.ResetFieldsStrategy:
		return fieldpath.NewExcludeFilterSetMap(s.GetResetFields())
	}
	return nil
}

// TrackUpdate returns obj with metadata.managedFields brought up to date for a create or update by manager. Live is what is stored, nil when
// creating. Obj and the result are in the version that this row serves.
func (k *Kind) TrackUpdate(live, obj runtime.Object, manager, subresource string) (runtime.Object, error) {
	m, err := k.manager(subresource)
	if err != nil {
		return nil, err
	}
	if live, err = k.liveOrNew(live); err != nil {
		return nil, err
	}
	internal, err := k.internal(obj)
	if err != nil {
		return nil, err
	}
	out, err := k.Convert(m.UpdateNoErrors(live, internal, manager))
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Apply is server-side apply (KEP-555): it merges patch, YAML or JSON, into live by who owns which field. Live is what is stored, nil if there is
// no such object yet. Without force, a field that another manager owns with another value is a conflict (409). The result, in the version that
// this row serves, is then given to PrepareCreate or PrepareUpdate.
func (k *Kind) Apply(live runtime.Object, patch []byte, manager string, force bool, subresource string, validation FieldValidation) (runtime.Object, []string, error) {
	m, err := k.manager(subresource)
	if err != nil {
		return nil, nil, err
	}
	applied := &unstructured.Unstructured{Object: map[string]any{}}
	if err := yaml.Unmarshal(patch, &applied.Object); err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	warnings, err := strictYAML(patch, validation)
	if err != nil {
		return nil, nil, err
	}
	if live, err = k.liveOrNew(live); err != nil {
		return nil, nil, err
	}
	if got := applied.GroupVersionKind(); got != k.GVK() {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("an apply to %s takes apiVersion %s and kind %s, not apiVersion %q and kind %q",
			k.Resource, k.GroupVersion, k.KindName, applied.GetAPIVersion(), applied.GetKind()))
	}
	out, err := m.Apply(live, applied, manager, force)
	if status := apierrors.APIStatus(nil); err != nil && !errors.As(err, &status) {
		err = apierrors.NewBadRequest(err.Error())
	}
	if err != nil {
		return nil, nil, err
	}
	if out, err = k.Convert(out); err != nil {
		return nil, nil, err
	}
	return out, warnings, nil
}

// strictYAML complains of keys that stand twice in one mapping.
func strictYAML(patch []byte, validation FieldValidation) ([]string, error) {
	err := yaml.UnmarshalStrict(patch, &map[string]any{})
	switch {
	case err == nil || validation == metav1.FieldValidationIgnore:
		return nil, nil
	case validation == metav1.FieldValidationStrict:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error strict decoding YAML: %v", err))
	}
	return []string{err.Error()}, nil
}

// liveOrNew returns live as field managers work on it: in the internal version, but for an object that doesn't exist yet, which has no
// field at all, not even those that a conversion would set.
func (k *Kind) liveOrNew(live runtime.Object) (runtime.Object, error) {
	if live == nil {
		return legacyscheme.Scheme.New(k.GVK())
	}
	return k.internal(live)
}
