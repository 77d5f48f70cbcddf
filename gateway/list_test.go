package gateway_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/yaml"
)

func TestListsComeInPiecesOfOneMoment(t *testing.T) {
	c := newCluster(t)
	maps := c.client.CoreV1().ConfigMaps("default")
	for i := range 5 {
		_, err := maps.Create(t.Context(), configMap(fmt.Sprint("map-", i), "x"), metav1.CreateOptions{})
		require.NoError(t, err)
	}
	first, err := maps.List(t.Context(), metav1.ListOptions{Limit: 2})
	require.NoError(t, err)
	require.Len(t, first.Items, 2)
	require.Equal(t, int64(3), *first.RemainingItemCount)

	// What happens between the pieces isn't seen in them.
	require.NoError(t, maps.Delete(t.Context(), "map-3", metav1.DeleteOptions{}))
	_, err = maps.Create(t.Context(), configMap("map-9", "x"), metav1.CreateOptions{})
	require.NoError(t, err)

	var names []string
	for page := first; ; {
		require.Equal(t, first.ResourceVersion, page.ResourceVersion)
		for _, item := range page.Items {
			names = append(names, item.Name)
		}
		if page.Continue == "" {
			break
		}
		page, err = maps.List(t.Context(), metav1.ListOptions{Limit: 2, Continue: page.Continue})
		require.NoError(t, err)
	}
	require.Equal(t, []string{"map-0", "map-1", "map-2", "map-3", "map-4"}, names)

	_, err = maps.List(t.Context(), metav1.ListOptions{Continue: "nonsense"})
	require.True(t, apierrors.IsBadRequest(err), "%v", err)
}

func TestListsAtARevision(t *testing.T) {
	c := newCluster(t)
	maps := c.client.CoreV1().ConfigMaps("default")
	created, err := maps.Create(t.Context(), configMap("map", "x"), metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, maps.Delete(t.Context(), "map", metav1.DeleteOptions{}))

	exact, err := maps.List(t.Context(), metav1.ListOptions{ResourceVersion: created.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	require.NoError(t, err)
	require.Len(t, exact.Items, 1)
	newer, err := maps.List(t.Context(), metav1.ListOptions{ResourceVersion: created.ResourceVersion})
	require.NoError(t, err)
	require.Empty(t, newer.Items)
	_, err = maps.List(t.Context(), metav1.ListOptions{ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	require.True(t, apierrors.IsInvalid(err), "%v", err)
}

func TestMetadataAlone(t *testing.T) {
	c := newCluster(t)
	c.createPod(t, "web")
	client, err := metadata.NewForConfig(c.config)
	require.NoError(t, err)
	pods := client.Resource(podsResource).Namespace("default")
	one, err := pods.Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "web", one.Labels["app"])
	list, err := pods.List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
}

func TestYAML(t *testing.T) {
	c := newCluster(t)
	code, _, answer := c.do(t, http.MethodPost, "/api/v1/namespaces/default/configmaps", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: b}\n",
		"Content-Type", "application/yaml", "Accept", "application/yaml")
	require.Equal(t, http.StatusCreated, code, answer)
	code, header, answer := c.do(t, http.MethodGet, "/api/v1/namespaces/default/configmaps", "", "Accept", "application/yaml")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "application/yaml", header.Get("Content-Type"))
	var list struct {
		Kind  string
		Items []struct{ Data map[string]string }
	}
	require.NoError(t, yaml.Unmarshal([]byte(answer), &list))
	require.Equal(t, "ConfigMapList", list.Kind)
	require.Equal(t, map[string]string{"a": "b"}, list.Items[0].Data)

	code, _, _ = c.do(t, http.MethodGet, "/api/v1/pods", "", "Accept", "text/html")
	require.Equal(t, http.StatusNotAcceptable, code)
}

// The same object is served in every version of its kind.
func TestOtherVersions(t *testing.T) {
	c := newCluster(t)
	code, _, answer := c.do(t, http.MethodPost, "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
		`{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"name":"web"},
		"spec":{"maxReplicas":3,"targetCPUUtilizationPercentage":70,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"}}}`)
	require.Equal(t, http.StatusCreated, code, answer)
	v2, err := c.client.AutoscalingV2().HorizontalPodAutoscalers("default").Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, int32(70), *v2.Spec.Metrics[0].Resource.Target.AverageUtilization)
	v2.Spec.MaxReplicas = 9
	_, err = c.client.AutoscalingV2().HorizontalPodAutoscalers("default").Update(t.Context(), v2, metav1.UpdateOptions{})
	require.NoError(t, err)
	v1, err := c.client.AutoscalingV1().HorizontalPodAutoscalers("default").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Equal(t, int32(9), v1.Items[0].Spec.MaxReplicas)
}
