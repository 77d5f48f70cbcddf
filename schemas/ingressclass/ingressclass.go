// Package ingressclass says which Ingresses are Wake's own to serve, and what they ask of it, for all who have to agree on that: who publishes addresses, who
// tells nodes, and who serves. It guarantees:
//
//   - An Ingress is ours if the class that it names has our controller (spec.controller wake.dev/ingress-controller). One of another class, or of a class that
//     doesn't exist, is nobody's business here.
//   - One that names no class is of the default class (annotation ingressclass.kubernetes.io/is-default-class), of several the newest, as Kubernetes has it.
package ingressclass

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

const (
	// Controller is the spec.controller of classes whose Ingresses Wake serves.
	Controller = "wake.dev/ingress-controller"
	// Name is the name of the class that every cluster begins with.
	Name = "wake"
)

// annotated names a class in the way of before there were classes.
const annotated = "kubernetes.io/ingress.class"

// Set is the classes whose Ingresses are ours.
type Set struct {
	names   map[string]bool
	unnamed bool // Ingresses without a class are, too
}

// Of reads the cluster's classes.
func Of(classes iter.Seq[*networkingv1.IngressClass]) Set {
	s := Set{names: map[string]bool{}}
	var fallback *networkingv1.IngressClass
	for class := range classes {
		if class.Spec.Controller == Controller {
			s.names[class.Name] = true
		}
		if class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" && (fallback == nil || newer(class, fallback)) {
			fallback = class
		}
	}
	s.unnamed = fallback != nil && fallback.Spec.Controller == Controller
	return s
}

// newer orders default classes: the one that was made later wins, of equals the one whose name comes first.
func newer(a, b *networkingv1.IngressClass) bool {
	return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), strings.Compare(a.Name, b.Name)) < 0
}

// Has says that an Ingress is ours.
func (s Set) Has(i *networkingv1.Ingress) bool {
	name := i.Annotations[annotated]
	if i.Spec.IngressClassName != nil {
		name = *i.Spec.IngressClassName
	}
	if name == "" {
		return s.unnamed
	}
	return s.names[name]
}

// Secrets are the names of the Secrets, of the Ingress's namespace, that hold its certificates, each once.
func Secrets(i *networkingv1.Ingress) []string {
	var names []string
	for _, tls := range i.Spec.TLS {
		if tls.SecretName != "" && !slices.Contains(names, tls.SecretName) {
			names = append(names, tls.SecretName)
		}
	}
	return names
}
