package ingressclass

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func class(name, controller string, isDefault bool, age time.Duration) *networkingv1.IngressClass {
	c := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0).Add(-age))},
		Spec: networkingv1.IngressClassSpec{Controller: controller}}
	if isDefault {
		c.Annotations = map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}
	}
	return c
}

func of(name string) *networkingv1.Ingress {
	i := &networkingv1.Ingress{}
	if name != "" {
		i.Spec.IngressClassName = &name
	}
	return i
}

func TestWhichIngressesAreOurs(t *testing.T) {
	const other = "k8s.io/ingress-nginx"
	set := func(classes ...*networkingv1.IngressClass) Set { return Of(slices.Values(classes)) }
	s := set(class("wake", Controller, true, time.Hour), class("second", Controller, false, 0), class("nginx", other, false, 0))
	for name, ours := range map[string]bool{"": false, "wake": true, "second": true, "nginx": false, "absent": false} {
		require.Equal(t, ours, s.Has(of(name)), "class %q", name)
	}
	legacy := of("")
	legacy.Annotations = map[string]string{Annotation: "nginx"}
	require.False(t, s.Has(legacy), "the old annotation names a class")
	require.Equal(t, "wake", s.Default())
	require.Empty(t, set(class("nginx", other, false, 0)).Default())
	newest := set(class("wake", Controller, true, time.Hour), class("nginx", other, true, 0))
	require.Equal(t, "nginx", newest.Default(), "of two default classes the newer one counts")
	require.True(t, newest.Has(of("wake")))
	require.Equal(t, "wake", set(class("wake", Controller, true, 0), class("nginx", other, true, time.Hour)).Default())
}
