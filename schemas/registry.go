package schemas

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kubernetes/pkg/printers"
)

// Registry is the set of kinds.
type Registry struct {
	all        []*Kind
	byResource map[schema.GroupVersionResource]*Kind
	byKind     map[schema.GroupVersionKind]*Kind
	byStorage  map[schema.GroupResource]*Kind
	byType     map[reflect.Type]*Kind
	serializer serializers

	tables  func() *printers.HumanReadableGenerator
	types   func() managedfields.TypeConverter
	openAPI *openAPI
}

// NewRegistry returns the registry of every kind that Wake stores.
func NewRegistry() (*Registry, error) {
	r := &Registry{
		byResource: map[schema.GroupVersionResource]*Kind{},
		byKind:     map[schema.GroupVersionKind]*Kind{},
		byStorage:  map[schema.GroupResource]*Kind{},
		byType:     map[reflect.Type]*Kind{},
		serializer: newSerializers(),
		tables:     sync.OnceValue(newTableGenerator),
		types:      sync.OnceValue(newTypeConverter),
	}
	r.openAPI = newOpenAPI()
	for _, group := range groups() {
		slices.SortFunc(group.kinds, func(a, b *Kind) int { return cmp.Compare(a.Resource, b.Resource) })
		for _, k := range group.kinds {
			k.GroupVersion = group.version
			if err := r.add(k); err != nil {
				return nil, fmt.Errorf("registering %s: %w", k.GVK(), err)
			}
		}
	}
	return r, nil
}

func (r *Registry) add(k *Kind) error {
	if stored, ok := storedAs[k.GVR()]; ok {
		k.Storage = r.byResource[stored]
	}
	if err := k.init(r); err != nil {
		return err
	}
	r.all = append(r.all, k)
	r.byResource[k.GVR()], r.byKind[k.GVK()] = k, k
	if k.Storage == k {
		r.byStorage[k.GroupResource()], r.byType[k.typ] = k, k
	}
	return nil
}

// All returns every row: groups in the order in which clients should prefer them, the preferred version of a group first, resources
// by name.
func (r *Registry) All() []*Kind { return slices.Clone(r.all) }

// Resource returns the row that serves gvr.
func (r *Registry) Resource(gvr schema.GroupVersionResource) (*Kind, bool) {
	k, ok := r.byResource[gvr]
	return k, ok
}

// Kind returns the row of that group, version and kind.
func (r *Registry) Kind(gvk schema.GroupVersionKind) (*Kind, bool) {
	k, ok := r.byKind[gvk]
	return k, ok
}

// ByStorage returns the storage version of what the ledger files under that group and resource.
func (r *Registry) ByStorage(group, resource string) (*Kind, bool) {
	k, ok := r.byStorage[schema.GroupResource{Group: group, Resource: resource}]
	return k, ok
}

// ByType returns the kind whose storage version obj is.
func (r *Registry) ByType(obj runtime.Object) (*Kind, bool) {
	k, ok := r.byType[reflect.TypeOf(obj).Elem()]
	return k, ok
}

// Lookup finds the kind that a person means: "po", "pod", "pods", "Pod", "deployments.apps", "hpa.v1.autoscaling". Where several groups know
// the name, the preferred one wins.
func (r *Registry) Lookup(name string) (*Kind, bool) {
	name = strings.ToLower(name)
	word, rest, qualified := strings.Cut(name, ".")
	for _, k := range r.all {
		if word != k.Resource && word != k.Singular && !slices.Contains(k.ShortNames, word) {
			continue
		}
		if !qualified || rest == k.GroupVersion.Group || rest == k.GroupVersion.Version+"."+k.GroupVersion.Group {
			return k, true
		}
	}
	return nil, false
}

// typeMeta returns what an object of that kind says of itself.
func typeMeta(gvk schema.GroupVersionKind) metav1.TypeMeta {
	apiVersion, kind := gvk.ToAPIVersionAndKind()
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}
