package schemas

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/networking"

	"github.com/wakehq/wake/schemas/ingressclass"
)

// admitIngress gives an Ingress that names no class the default one, as Kubernetes' plugin DefaultIngressClass does.
func admitIngress(w *Write, obj runtime.Object) error {
	i := obj.(*networking.Ingress)
	if _, annotated := i.Annotations[ingressclass.Annotation]; annotated || i.Spec.IngressClassName != nil || w.IngressClasses == nil {
		return nil
	}
	if name := w.IngressClasses().Default(); name != "" {
		i.Spec.IngressClassName = &name
	}
	return nil
}
