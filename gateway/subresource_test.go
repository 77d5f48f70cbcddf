package gateway_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
)

func TestBindingIsAFactOfItsOwn(t *testing.T) {
	c := newCluster(t)
	c.createPod(t, "web")
	c.bind(t, "web", "n1")
	e := c.last(t)
	require.Equal(t, "PodBound", e.Type)
	require.Equal(t, events.Assigned, e.Facet)
	require.JSONEq(t, `{"node":"n1"}`, string(e.Payload))

	err := c.client.CoreV1().Pods("default").Bind(t.Context(), &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Target: corev1.ObjectReference{Name: "n2"}}, metav1.CreateOptions{})
	require.True(t, apierrors.IsConflict(err), "%v", err)
	require.ErrorContains(t, err, `pod web is already assigned to node "n1"`)

	// The placement isn't repeated in what users write.
	p, err := c.client.CoreV1().Pods("default").Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	p.Labels["a"] = "b"
	_, err = c.client.CoreV1().Pods("default").Update(t.Context(), p, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"metadata.labels.a"}, c.last(t).Changed)
	require.NotContains(t, string(c.last(t).Payload), "n1")
}

func TestLogs(t *testing.T) {
	c := newCluster(t)
	pods := c.client.CoreV1().Pods("default")
	read := func(container string, previous bool) (string, error) {
		stream, err := pods.GetLogs("web", &corev1.PodLogOptions{Container: container, Previous: previous}).Stream(t.Context())
		if err != nil {
			return "", err
		}
		content, err := io.ReadAll(stream)
		return string(content), err
	}
	two := func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "side", Image: "demo"})
	}
	c.createPod(t, "web", two)
	_, err := read("main", false)
	require.ErrorContains(t, err, "pod web does not have a host assigned")
	c.bind(t, "web", "n1")
	_, err = read("", false)
	require.ErrorContains(t, err, "a container name must be specified for pod web, choose one of: [main side]")
	_, err = read("none", false)
	require.ErrorContains(t, err, "container none is not valid for pod web")
	_, err = read("main", false)
	require.ErrorContains(t, err, `container "main" in pod "web" is waiting to start: ContainerCreating`)

	p, err := pods.Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		{Name: "side", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
	_, err = pods.UpdateStatus(t.Context(), p, metav1.UpdateOptions{})
	require.NoError(t, err)
	text, err := read("main", false)
	require.NoError(t, err)
	require.Equal(t, "log of main in web on n1\n", text)
	_, err = read("side", false)
	require.ErrorContains(t, err, "trying and failing to pull image")
	_, err = read("main", true)
	require.ErrorContains(t, err, `previous terminated container "main" in pod "web" not found`)
}

func TestDiscovery(t *testing.T) {
	c := newCluster(t)
	groups, resources, err := c.client.Discovery().ServerGroupsAndResources()
	require.NoError(t, err)
	require.Greater(t, len(groups), 10)
	found := map[string]bool{}
	for _, list := range resources {
		for _, r := range list.APIResources {
			found[list.GroupVersion+" "+r.Name] = true
		}
	}
	for _, want := range []string{"v1 pods", "v1 pods/log", "apps/v1 deployments/scale", "batch/v1 jobs", "coordination.k8s.io/v1 leases"} {
		require.True(t, found[want], want)
	}
	for _, path := range []string{"/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1", "/api/v1/", "/apis/apps/v1/", "/openapi/v3", "/openapi/v3/apis/apps/v1", "/openapi/v2", "/livez", "/readyz"} {
		code, _, answer := c.do(t, http.MethodGet, path, "")
		require.Equal(t, http.StatusOK, code, "%s: %s", path, answer)
	}
	code, _, _ := c.do(t, http.MethodGet, "/apis/example.com", "")
	require.Equal(t, http.StatusNotFound, code)
}
