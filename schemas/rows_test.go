package schemas

import (
	_ "embed"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

//go:embed testdata/minimal.yaml
var minimalYAML string

// minimal returns the smallest valid manifest of a row.
func minimal(t testing.TB, k *Kind) string {
	t.Helper()
	for _, doc := range strings.Split(minimalYAML, "\n---\n") {
		var tm metav1.TypeMeta
		require.NoError(t, yaml.Unmarshal([]byte(doc), &tm))
		if schema.FromAPIVersionAndKind(tm.APIVersion, tm.Kind) == k.GVK() {
			return doc
		}
	}
	t.Fatalf("testdata/minimal.yaml has no %s", k.GVK())
	return ""
}

// eachRow runs a test for every row with an object as it would be stored.
func eachRow(t *testing.T, test func(t *testing.T, k *Kind, obj runtime.Object)) {
	for _, k := range shared.All() {
		t.Run(k.GVK().String(), func(t *testing.T) { test(t, k, create(t, k, minimal(t, k))) })
	}
}

func TestRowsSurviveTheLedger(t *testing.T) {
	eachRow(t, func(t *testing.T, k *Kind, obj runtime.Object) {
		require.Equal(t, k.Storage.GVK(), obj.GetObjectKind().GroupVersionKind())
		again := stored(t, k, obj)
		require.True(t, apiequality.Semantic.DeepEqual(obj, again), cmp.Diff(obj, again))
		m := obj.(metav1.Object)
		require.EqualValues(t, "u1", m.GetUID())
		require.Equal(t, k.Namespaced, m.GetNamespace() == "default")

		served, err := k.Convert(again)
		require.NoError(t, err)
		require.Equal(t, k.GVK(), served.GetObjectKind().GroupVersionKind())
		back, err := k.ConvertTo(served, k.Storage.GroupVersion)
		require.NoError(t, err)
		require.True(t, apiequality.Semantic.DeepEqual(obj, back), cmp.Diff(obj, back))
	})
}

func TestRowsTravelInEveryFormat(t *testing.T) {
	eachRow(t, func(t *testing.T, k *Kind, obj runtime.Object) {
		served, err := k.Convert(obj)
		require.NoError(t, err)
		for _, contentType := range []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"} {
			var body strings.Builder
			require.NoError(t, shared.Encode(&body, served, contentType, false))
			again, warnings, err := k.DecodeBody([]byte(body.String()), contentType, metav1.FieldValidationStrict)
			require.NoError(t, err)
			require.Empty(t, warnings)
			require.True(t, apiequality.Semantic.DeepEqual(served, again), contentType+cmp.Diff(served, again))
		}
	})
}

func TestRowsCanBeUpdatedUnchanged(t *testing.T) {
	eachRow(t, func(t *testing.T, k *Kind, obj runtime.Object) {
		obj.(metav1.Object).SetResourceVersion("7")
		served, err := k.Convert(obj)
		require.NoError(t, err)
		subresources := []string{""}
		if _, ok := k.update["status"]; ok {
			subresources = append(subresources, "status")
		}
		for _, sub := range subresources {
			out, _, err := k.PrepareSubresource(write(obj.(metav1.Object).GetNamespace()), sub, served, obj)
			require.NoError(t, err)
			require.True(t, apiequality.Semantic.DeepEqual(obj, out), sub+cmp.Diff(obj, out))
		}
	})
}

func TestRowsAreShownAsTables(t *testing.T) {
	eachRow(t, func(t *testing.T, k *Kind, obj runtime.Object) {
		table, err := k.Table(obj, nil)
		require.NoError(t, err)
		require.Len(t, table.Rows, 1)
		require.GreaterOrEqual(t, len(table.Rows[0].Cells), len(table.ColumnDefinitions))
		require.Equal(t, obj.(metav1.Object).GetName(), table.Rows[0].Object.Object.(*metav1.PartialObjectMetadata).Name)
		empty, err := k.Table(k.NewList(), nil)
		require.NoError(t, err)
		require.Empty(t, empty.Rows)
	})
}

func TestRowsTrackFields(t *testing.T) {
	eachRow(t, func(t *testing.T, k *Kind, obj runtime.Object) {
		applied, warnings, err := k.Apply(nil, []byte(minimal(t, k)), "kubectl", false, "", metav1.FieldValidationStrict)
		require.NoError(t, err)
		require.Empty(t, warnings)
		entries := applied.(metav1.Object).GetManagedFields()
		require.LessOrEqual(t, len(entries), 1)
		for _, e := range entries { // none for an object that is but a name
			require.Equal(t, metav1.ManagedFieldsOperationApply, e.Operation)
		}

		served, err := k.Convert(obj)
		require.NoError(t, err)
		tracked, err := k.TrackUpdate(nil, served, "helm", "")
		require.NoError(t, err)
		entries = tracked.(metav1.Object).GetManagedFields()
		for _, e := range entries {
			require.Equal(t, "helm", e.Manager)
			require.Equal(t, k.GroupVersion.String(), e.APIVersion)
		}
	})
}

func TestRowsAreDiscovered(t *testing.T) {
	aggregated := slices.Concat(shared.AggregatedDiscovery(true).Items, shared.AggregatedDiscovery(false).Items)
	for _, k := range shared.All() {
		list, ok := shared.APIResources(k.GroupVersion)
		require.True(t, ok)
		found := 0
		for _, res := range list.APIResources {
			if res.Name == k.Resource {
				found++
				require.EqualValues(t, k.Verbs(), res.Verbs)
				require.Equal(t, k.Namespaced, res.Namespaced)
			}
		}
		require.Equal(t, 1, found, k)
		for _, group := range aggregated {
			for _, version := range group.Versions {
				for _, res := range version.Resources {
					if group.Name == k.GroupVersion.Group && version.Version == k.GroupVersion.Version && res.Resource == k.Resource {
						found++
						require.Len(t, res.Subresources, len(k.Subresources))
					}
				}
			}
		}
		require.Equal(t, 2, found, k)
	}
	group, ok := shared.APIGroup("autoscaling")
	require.True(t, ok)
	require.Equal(t, "v2", group.PreferredVersion.Version)
	require.Len(t, group.Versions, 2)
}

func TestRowsAreSelectedByMetadata(t *testing.T) {
	eachRow(t, func(t *testing.T, k *Kind, obj runtime.Object) {
		name := obj.(metav1.Object).GetName()
		selector, err := k.FieldSelector("metadata.name=" + name)
		require.NoError(t, err)
		require.True(t, selector.Matches(k.Fields(obj)))
		selector, err = k.FieldSelector("metadata.name!=" + name)
		require.NoError(t, err)
		require.False(t, selector.Matches(k.Fields(obj)))
		_, err = k.FieldSelector("spec.nonsense=1")
		require.Error(t, err)
		for label := range k.Fields(obj) {
			selector, err := k.FieldSelector(fields.OneTermEqualSelector(label, k.Fields(obj)[label]).String())
			if err == nil {
				require.True(t, selector.Matches(k.Fields(obj)), label)
			}
		}
	})
}
