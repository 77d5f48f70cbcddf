package schemas

import (
	"fmt"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// Kind is one served group, version and resource. It never changes after the registry is built.
type Kind struct {
	GroupVersion schema.GroupVersion
	KindName     string // "Deployment"
	Resource     string // "deployments", as in a URL
	Singular     string // "deployment"
	ShortNames   []string
	Categories   []string
	Namespaced   bool
	HasStatus    bool          // the storage version has a status, kept apart from the rest
	HasScale     bool          // replicas can be set through the scale subresource
	Subresources []Subresource // by name
	Storage      *Kind         // the version in which the ledger holds it; the kind itself when that is this one

	registry *Registry
	typ      reflect.Type // the struct
	list     reflect.Type // the struct of its list
	status   int          // the index of the field Status in typ, -1 if none
	create   createStrategy
	update   map[string]rest.RESTUpdateStrategy // by subresource, "" for the object itself
	managers managers

	plain    bool                                           // "kubectl get" shows its name and age only
	reports  bool                                           // whoever creates one may say its status
	admit    func(w *Write, obj runtime.Object) error       // after defaulting, before validation; internal version
	carry    func(w *Write, obj, old runtime.Object) error  // before the validation of an update; internal version
	decode   func(obj runtime.Object, desired []byte) error // reads a desired facet into an empty object, if not by Unmarshal; storage version
	complete func(obj runtime.Object)                       // computes what status says without anybody having written it; storage version
	fields   func(obj runtime.Object, set fields.Set)       // beyond metadata; storage version
	held     func(obj runtime.Object) bool                  // something other than metadata.finalizers keeps it; storage version
}

type createStrategy interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
}

// Subresource is a part of an object, or a thing to do with it, that has a URL of its own.
type Subresource struct {
	Name  string                  // "status", "scale", "log"
	Kind  schema.GroupVersionKind // of what is read or written there
	Verbs []string                // sorted
}

// GVK returns the kind's group, version and kind.
func (k *Kind) GVK() schema.GroupVersionKind { return k.GroupVersion.WithKind(k.KindName) }

// GVR returns the kind's group, version and resource.
func (k *Kind) GVR() schema.GroupVersionResource { return k.GroupVersion.WithResource(k.Resource) }

// GroupResource returns the kind's group and resource, as errors name it.
func (k *Kind) GroupResource() schema.GroupResource { return k.GVR().GroupResource() }

// String gives "deployments.apps".
func (k *Kind) String() string { return k.GroupResource().String() }

// Subresource returns the subresource of that name.
func (k *Kind) Subresource(name string) (Subresource, bool) {
	for _, s := range k.Subresources {
		if s.Name == name {
			return s, true
		}
	}
	return Subresource{}, false
}

// Verbs lists what can be done with the resource as a whole, sorted.
func (k *Kind) Verbs() []string {
	return []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
}

// AllowsCreateOnUpdate says that a PUT may create the object.
func (k *Kind) AllowsCreateOnUpdate() bool { return k.create.AllowCreateOnUpdate() }

// AllowsUnconditionalUpdate says that an update needn't carry a resourceVersion.
func (k *Kind) AllowsUnconditionalUpdate() bool { return k.create.AllowUnconditionalUpdate() }

// New returns an empty object of this version.
func (k *Kind) New() runtime.Object {
	obj := reflect.New(k.typ).Interface().(runtime.Object)
	obj.GetObjectKind().SetGroupVersionKind(k.GVK())
	return obj
}

// NewList returns an empty list of this version.
func (k *Kind) NewList() runtime.Object {
	obj := reflect.New(k.list).Interface().(runtime.Object)
	obj.GetObjectKind().SetGroupVersionKind(k.GroupVersion.WithKind(k.KindName + "List"))
	return obj
}

// ConvertTo returns obj, which may be in any version, in version gv of the same kind: a copy, unless it is in that version already.
func (k *Kind) ConvertTo(obj runtime.Object, gv schema.GroupVersion) (runtime.Object, error) {
	if obj.GetObjectKind().GroupVersionKind() == gv.WithKind(k.KindName) {
		return obj, nil
	}
	out, err := converter{legacyscheme.Scheme}.ConvertToVersion(obj, gv)
	if err != nil {
		return nil, fmt.Errorf("converting a %s to %s: %w", k.KindName, gv, err)
	}
	return out, nil
}

// Convert returns obj, which may be in any version, in the version that this row serves.
func (k *Kind) Convert(obj runtime.Object) (runtime.Object, error) {
	return k.ConvertTo(obj, k.GroupVersion)
}

// Default sets, in place, what the API's defaults set. obj must be in a served version.
func (k *Kind) Default(obj runtime.Object) { legacyscheme.Scheme.Default(obj) }

// internal returns a copy of obj in the internal version, on which strategies and printers work.
func (k *Kind) internal(obj runtime.Object) (runtime.Object, error) {
	out, err := legacyscheme.Scheme.ConvertToVersion(obj, runtime.InternalGroupVersioner)
	if err != nil {
		return nil, fmt.Errorf("reading a %s: %w", k.KindName, err)
	}
	return out, nil
}

// external returns obj in the storage version, with the defaults that follow from what a strategy filled in. It may share memory with obj, which
// is given up.
func (k *Kind) external(obj runtime.Object) (runtime.Object, error) {
	out, err := legacyscheme.Scheme.UnsafeConvertToVersion(obj, k.Storage.GroupVersion)
	if err != nil {
		return nil, fmt.Errorf("writing a %s: %w", k.KindName, err)
	}
	k.Default(out)
	return out, nil
}

// init completes a row, given what the rows of its group share.
func (k *Kind) init(r *Registry) error {
	k.registry, k.Singular, k.Namespaced = r, strings.ToLower(k.KindName), k.create.NamespaceScoped()
	obj, err := legacyscheme.Scheme.New(k.GVK())
	if err != nil {
		return err
	}
	list, err := legacyscheme.Scheme.New(k.GroupVersion.WithKind(k.KindName + "List"))
	if err != nil {
		return err
	}
	k.typ, k.list = reflect.TypeOf(obj).Elem(), reflect.TypeOf(list).Elem()
	if _, ok := obj.(metav1.Object); !ok {
		return fmt.Errorf("%s has no metadata", k.GVK())
	}
	k.status = -1
	if f, ok := k.typ.FieldByName("Status"); ok {
		k.status, k.HasStatus = f.Index[0], true
	}
	if k.Storage == nil {
		k.Storage = k
	}
	_, k.HasScale = k.Subresource("scale")
	return nil
}

// converter converts between any two versions of a kind; a scheme alone only converts to and from the internal one.
type converter struct{ *runtime.Scheme }

func (c converter) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	kinds, _, err := c.ObjectKinds(in)
	if err != nil {
		return nil, err
	}
	if gvk, ok := target.KindForGroupVersionKinds(kinds); ok && gvk == kinds[0] {
		return c.Scheme.ConvertToVersion(in, target)
	}
	hub, err := c.Scheme.ConvertToVersion(in, runtime.InternalGroupVersioner)
	if err != nil {
		return nil, err
	}
	return c.UnsafeConvertToVersion(hub, target)
}
