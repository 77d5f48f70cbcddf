package gateway_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Whoever creates a service learns its address from the answer, though somebody else gives it out.
func TestTheAnswerHasTheAddress(t *testing.T) {
	c := newCluster(t)
	services := c.client.CoreV1().Services("default")
	_, cursor := c.view.Subscribe()
	given := make(chan error, 1)
	go func() {
		for {
			changes, _, err := cursor.Next(t.Context())
			if err != nil {
				given <- err
				return
			}
			for _, change := range changes {
				if change.Event.Ref.Resource == "services" {
					_, err = services.Patch(t.Context(), change.Event.Ref.Name, types.MergePatchType,
						[]byte(`{"spec":{"clusterIP":"10.96.0.7","clusterIPs":["10.96.0.7"],"ports":[{"port":80,"nodePort":30080}]}}`), metav1.PatchOptions{})
					given <- err
					return
				}
			}
		}
	}()
	created, err := services.Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, <-given)
	require.Equal(t, "10.96.0.7", created.Spec.ClusterIP)
	require.Equal(t, int32(30080), created.Spec.Ports[0].NodePort)
	got, err := services.Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, got.ResourceVersion, created.ResourceVersion, "what is answered is what is there")

	headless, err := services.Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "headless"},
		Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Equal(t, corev1.ClusterIPNone, headless.Spec.ClusterIP)
}

// Where nobody gives addresses out, services are made all the same.
func TestWithoutAnAddressTheAnswerComesLater(t *testing.T) {
	c := newCluster(t)
	created, err := c.client.CoreV1().Services("default").Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Empty(t, created.Spec.ClusterIP)
	require.NotEmpty(t, created.UID)
}
