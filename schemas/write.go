package schemas

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"

	"github.com/wakehq/wake/schemas/ingressclass"
)

// Write says who writes, where and when.
type Write struct {
	User      user.Info // nil: nobody in particular
	Namespace string    // of the request; empty for a cluster-scoped object
	Name      string    // in the URL; empty when creating
	Now       time.Time // objects keep it to the second

	// NewUID and Suffix give a new object its UID and a generated name its ending. Nil: at random.
	NewUID func() types.UID
	Suffix func() string

	// PriorityClass finds the class of that name, or the one that is the default for an empty name; nil if there is none. May itself be
	// nil: then there are only the two classes of the system.
	PriorityClass func(name string) *schedulingv1.PriorityClass

	// ServiceFamilies are the IP families of which the cluster has addresses for services, the preferred one first. Empty: IPv4 alone.
	ServiceFamilies []corev1.IPFamily

	// IngressClasses reads the classes of Ingresses. Nil: there are none.
	IngressClasses func() ingressclass.Set
}

// after returns the time that many seconds after the write, as objects hold it.
func (w *Write) after(seconds int64) metav1.Time {
	return metav1.NewTime(w.Now.Truncate(time.Second).Add(time.Duration(seconds) * time.Second))
}

// maxGeneratedBase is the longest that a generated name is before its ending of five characters, so that it still fits a label.
const maxGeneratedBase = 63 - 5

// PrepareCreate makes of what a user sent what is to be stored: it fills in identity and defaults, drops what users may not set, and checks
// the rest. Obj may be in any version of the kind. The result has the status that Decode gives to an object on which nobody has reported; only a node
// may be created with a status of its own, which is then to be stored too.
func (k *Kind) PrepareCreate(w *Write, obj runtime.Object) (runtime.Object, []string, error) {
	versioned := obj.DeepCopyObject()
	k.Default(versioned)
	internal, err := k.internal(versioned)
	if err != nil {
		return nil, nil, err
	}
	if err := k.identify(w, internal); err != nil {
		return nil, nil, err
	}
	if k.admit != nil {
		if err := k.admit(w, internal); err != nil {
			return nil, nil, err
		}
	}
	ctx, warnings := k.context(w, "create", "")
	if err := rest.BeforeCreate(k.create, ctx, internal); err != nil {
		return nil, warnings.texts, err
	}
	out, err := k.external(internal)
	if err != nil {
		return nil, nil, err
	}
	if k.Storage.status >= 0 && !k.Storage.reports {
		statusOf(k.Storage, out).SetZero()
	}
	if k.Storage.complete != nil {
		k.Storage.complete(out)
	}
	return out, warnings.texts, nil
}

// identify gives a new object its system metadata and, if it wants one, a generated name.
func (k *Kind) identify(w *Write, obj runtime.Object) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	if m.GetResourceVersion() != "" {
		return apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	if w.Name != "" && m.GetName() == "" {
		m.SetName(w.Name)
	}
	if m.GetName() == "" && m.GetGenerateName() != "" {
		base, suffix := m.GetGenerateName(), w.Suffix
		if suffix == nil {
			suffix = func() string { return rand.String(5) }
		}
		m.SetName(base[:min(len(base), maxGeneratedBase)] + suffix())
	}
	newUID := w.NewUID
	if newUID == nil {
		newUID = uuid.NewUUID
	}
	rest.WipeObjectMetaSystemFields(m)
	m.SetCreationTimestamp(w.after(0))
	m.SetUID(newUID())
	return nil
}

// PrepareUpdate makes of what a user sent for an existing object what is to be stored: the status stays old's, the generation counts changes
// of the spec. Old is what is stored. Whether obj's resourceVersion is recent enough is for the caller to say; here it only must be
// there if the kind wants one. The result has old's.
func (k *Kind) PrepareUpdate(w *Write, obj, old runtime.Object) (runtime.Object, []string, error) {
	return k.PrepareSubresource(w, "", obj, old)
}

// PrepareStatusUpdate is PrepareUpdate for the status subresource: all but the status stays old's.
func (k *Kind) PrepareStatusUpdate(w *Write, obj, old runtime.Object) (runtime.Object, []string, error) {
	return k.PrepareSubresource(w, "status", obj, old)
}

// PrepareSubresource is PrepareUpdate for a subresource that takes the object itself: status, finalize (namespaces), ephemeralcontainers and resize
// (pods); empty for the object itself.
func (k *Kind) PrepareSubresource(w *Write, subresource string, obj, old runtime.Object) (runtime.Object, []string, error) {
	strategy, ok := k.update[subresource]
	if !ok {
		return nil, nil, apierrors.NewNotFound(schema.GroupResource{Group: k.GroupVersion.Group, Resource: k.Resource + "/" + subresource}, w.Name)
	}
	versioned := obj.DeepCopyObject()
	k.Default(versioned)
	internal, err := k.internal(versioned)
	if err != nil {
		return nil, nil, err
	}
	before, err := k.internal(old)
	if err != nil {
		return nil, nil, err
	}
	if err := k.inherit(w, strategy, internal, before); err != nil {
		return nil, nil, err
	}
	if k.carry != nil && subresource == "" {
		if err := k.carry(w, internal, before); err != nil {
			return nil, nil, err
		}
	}
	ctx, warnings := k.context(w, "update", subresource)
	if err := rest.BeforeUpdate(strategy, ctx, internal, before); err != nil {
		return nil, warnings.texts, err
	}
	out, err := k.external(internal)
	if err != nil {
		return nil, nil, err
	}
	return out, warnings.texts, nil
}

// inherit checks that obj is meant for old, and gives it old's resourceVersion.
func (k *Kind) inherit(w *Write, strategy rest.RESTUpdateStrategy, obj, old runtime.Object) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	before, err := meta.Accessor(old)
	if err != nil {
		return err
	}
	if m.GetName() == "" {
		m.SetName(w.Name)
	}
	if w.Name != "" && m.GetName() != w.Name {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", m.GetName(), w.Name))
	}
	if m.GetUID() != "" && m.GetUID() != before.GetUID() {
		return apierrors.NewConflict(k.GroupResource(), m.GetName(),
			fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", m.GetUID(), before.GetUID())) //nolint:staticcheck // Kubernetes' words
	}
	if m.GetResourceVersion() == "" && !strategy.AllowUnconditionalUpdate() {
		return apierrors.NewInvalid(k.GVK().GroupKind(), m.GetName(), field.ErrorList{
			field.Invalid(field.NewPath("metadata", "resourceVersion"), "", "must be specified for an update")})
	}
	m.SetResourceVersion(before.GetResourceVersion())
	return nil
}

// recorder collects what a strategy warns of.
type recorder struct{ texts []string }

// AddWarning implements warning.Recorder.
func (r *recorder) AddWarning(_, text string) { r.texts = append(r.texts, text) }

// context returns what a strategy expects to know of a request.
func (k *Kind) context(w *Write, verb, subresource string) (context.Context, *recorder) {
	ctx := request.WithNamespace(context.Background(), w.Namespace)
	if w.User != nil {
		ctx = request.WithUser(ctx, w.User)
	}
	ctx = request.WithRequestInfo(ctx, &request.RequestInfo{IsResourceRequest: true, Verb: verb, APIGroup: k.GroupVersion.Group,
		APIVersion: k.GroupVersion.Version, Namespace: w.Namespace, Resource: k.Resource, Subresource: subresource, Name: w.Name})
	r := &recorder{}
	return warning.WithWarningRecorder(ctx, r), r
}
