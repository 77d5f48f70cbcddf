package schemas

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	autoscalingvalidation "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"k8s.io/utils/ptr"
)

// scaled is what the scale of an object shows.
type scaled struct {
	wanted   **int32
	replicas int32
	selector *metav1.LabelSelector
}

func (k *Kind) scaled(obj runtime.Object) (scaled, error) {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return scaled{&o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector}, nil
	case *appsv1.ReplicaSet:
		return scaled{&o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector}, nil
	case *appsv1.StatefulSet:
		return scaled{&o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector}, nil
	case *corev1.ReplicationController:
		return scaled{&o.Spec.Replicas, o.Status.Replicas, &metav1.LabelSelector{MatchLabels: o.Spec.Selector}}, nil
	}
	return scaled{}, apierrors.NewNotFound(schema.GroupResource{Group: k.GroupVersion.Group, Resource: k.Resource + "/scale"}, "")
}

// GetScale returns the scale of obj, which is in the storage version. A kind without a scale is not found.
func (k *Kind) GetScale(obj runtime.Object) (*autoscalingv1.Scale, error) {
	s, err := k.scaled(obj)
	if err != nil {
		return nil, err
	}
	selector, err := metav1.LabelSelectorAsSelector(s.selector)
	if err != nil {
		return nil, fmt.Errorf("reading the selector of a %s: %w", k.KindName, err)
	}
	m := obj.(metav1.Object)
	return &autoscalingv1.Scale{
		TypeMeta: typeMeta(autoscalingv1.SchemeGroupVersion.WithKind("Scale")),
		ObjectMeta: metav1.ObjectMeta{Name: m.GetName(), Namespace: m.GetNamespace(), UID: m.GetUID(),
			ResourceVersion: m.GetResourceVersion(), CreationTimestamp: m.GetCreationTimestamp()},
		Spec:   autoscalingv1.ScaleSpec{Replicas: ptr.Deref(*s.wanted, 0)},
		Status: autoscalingv1.ScaleStatus{Replicas: s.replicas, Selector: selector.String()},
	}, nil
}

// SetScale returns a copy of obj, which is in the storage version, with the replicas that scale asks for, to be given to PrepareUpdate. An
// invalid scale, or one of another object, is refused.
func (k *Kind) SetScale(obj runtime.Object, scale *autoscalingv1.Scale) (runtime.Object, error) {
	out := obj.DeepCopyObject()
	s, err := k.scaled(out)
	if err != nil {
		return nil, err
	}
	var internal autoscaling.Scale
	if err := legacyscheme.Scheme.Convert(scale, &internal, nil); err != nil {
		return nil, fmt.Errorf("reading a scale: %w", err)
	}
	m := out.(metav1.Object)
	if errs := autoscalingvalidation.ValidateScale(&internal); len(errs) > 0 {
		return nil, apierrors.NewInvalid(autoscaling.Kind("Scale"), m.GetName(), errs)
	}
	if scale.UID != "" && scale.UID != m.GetUID() {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: k.GroupVersion.Group, Resource: k.Resource + "/scale"}, m.GetName(),
			fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", scale.UID, m.GetUID())) //nolint:staticcheck // Kubernetes' words
	}
	*s.wanted = ptr.To(scale.Spec.Replicas)
	m.SetResourceVersion(scale.ResourceVersion)
	return out, nil
}
