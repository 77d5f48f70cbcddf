package schemas

import (
	"encoding/json"
	"runtime"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestOpenAPIV3DescribesEveryRow(t *testing.T) {
	for _, gv := range shared.GroupVersions() {
		data, err := shared.OpenAPIV3(gv, false)
		require.NoError(t, err)
		var doc struct {
			Paths map[string]map[string]struct {
				GVK        schema.GroupVersionKind `json:"x-kubernetes-group-version-kind"`
				Parameters []struct{ Name, In string }
			}
			Components struct {
				Schemas map[string]struct {
					GVKs []schema.GroupVersionKind `json:"x-kubernetes-group-version-kind"`
				}
			}
		}
		require.NoError(t, json.Unmarshal(data, &doc))
		for _, k := range shared.All() {
			if k.GroupVersion != gv {
				continue
			}
			path := apiPath(gv)
			if k.Namespaced {
				path += "/namespaces/{namespace}"
			}
			patch, ok := doc.Paths[path+"/"+k.Resource+"/{name}"]["patch"]
			require.True(t, ok, "%s has no patch in %s", k, gv)
			require.Equal(t, k.GVK(), patch.GVK)
			require.Contains(t, patch.Parameters, struct{ Name, In string }{"fieldValidation", "query"})
			name, err := modelName(k.GVK())
			require.NoError(t, err)
			require.Contains(t, doc.Components.Schemas[name].GVKs, k.GVK(), "the schema %s doesn't say what it is", name)
		}
	}
	none, err := shared.OpenAPIV3(schema.GroupVersion{Group: "nonsense", Version: "v1"}, false)
	require.NoError(t, err)
	require.Nil(t, none)
	binary, err := shared.OpenAPIV3(schema.GroupVersion{Group: "policy", Version: "v1"}, true)
	require.NoError(t, err)
	require.NotEmpty(t, binary)
}

func TestOpenAPIV3Index(t *testing.T) {
	index := shared.OpenAPIV3Index()
	require.Len(t, index.Paths, len(shared.GroupVersions()))
	require.Regexp(t, `^/openapi/v3/apis/apps/v1\?hash=[0-9a-f]{32}$`, index.Paths["apis/apps/v1"].ServerRelativeURL)
	require.Contains(t, index.Paths, "api/v1")
}

func TestOpenAPIV2(t *testing.T) {
	data, err := shared.OpenAPIV2(true)
	require.NoError(t, err)
	var doc openapi_v2.Document
	require.NoError(t, proto.Unmarshal(data, &doc))
	var names []string
	for _, d := range doc.Definitions.AdditionalProperties {
		names = append(names, d.Name)
	}
	require.Contains(t, names, "io.k8s.api.apps.v1.Deployment")
}

func BenchmarkOpenAPIV3(b *testing.B) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for b.Loop() {
		if _, err := shared.makeV3(schema.GroupVersion{Version: "v1"}); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/(1<<20), "MiB-kept")
}

func BenchmarkTypeConverter(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var kept any
	for b.Loop() {
		kept = newTypeConverter()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/(1<<20), "MiB-kept")
	runtime.KeepAlive(kept)
}
