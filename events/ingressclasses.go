package events

import (
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/wakehq/wake/schemas/ingressclass"
)

// IngressClassesKind is the kind that says which controller serves which Ingresses.
var IngressClassesKind = GroupResource{Group: networkingv1.GroupName, Resource: "ingressclasses"}

// IngressClasses reads the classes of Ingresses.
func (s *State) IngressClasses() ingressclass.Set {
	return ingressclass.Of(func(yield func(*networkingv1.IngressClass) bool) {
		for o := range s.All(IngressClassesKind, "") {
			if class, ok := o.Typed().(*networkingv1.IngressClass); ok && !yield(class) {
				return
			}
		}
	})
}
