// Package ingressclass says which Ingresses are Wake's own to serve, and what they ask of it, for all who have to agree on that: who publishes addresses, who
// tells nodes, and who serves. It guarantees:
//
//   - An Ingress is ours if the class that it names has our controller (spec.controller wake.dev/ingress-controller). One of another class, or of a class that
//     doesn't exist, is nobody's business here.
//   - The default class (annotation ingressclass.kubernetes.io/is-default-class), of several the newest, is given to Ingresses that name none when they are made,
//     as Kubernetes does. One that still has none is nobody's business either.
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

// Annotation names a class in the way of before there were classes.
const Annotation = "kubernetes.io/ingress.class"

// Set is the classes whose Ingresses are ours.
type Set struct {
	names    map[string]bool
	fallback *networkingv1.IngressClass
}

// Of reads the cluster's classes.
func Of(classes iter.Seq[*networkingv1.IngressClass]) Set {
	s := Set{names: map[string]bool{}}
	for class := range classes {
		if class.Spec.Controller == Controller {
			s.names[class.Name] = true
		}
		if class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" && (s.fallback == nil || newer(class, s.fallback)) {
			s.fallback = class
		}
	}
	return s
}

// Default is the name of the class of Ingresses that name none; empty: they have none.
func (s Set) Default() string {
	if s.fallback == nil {
		return ""
	}
	return s.fallback.Name
}

// newer orders default classes: the one that was made later wins, of equals the one whose name comes first.
func newer(a, b *networkingv1.IngressClass) bool {
	return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), strings.Compare(a.Name, b.Name)) < 0
}

// Has says that an Ingress is ours.
func (s Set) Has(i *networkingv1.Ingress) bool {
	name := i.Annotations[Annotation]
	if i.Spec.IngressClassName != nil {
		name = *i.Spec.IngressClassName
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
