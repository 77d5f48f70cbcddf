package schemas

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/openapi"
	explain "k8s.io/kubectl/pkg/explain/v2"
)

// client is how kubectl sees the documents.
type client struct{}

func (client) Paths() (map[string]openapi.GroupVersion, error) {
	out := map[string]openapi.GroupVersion{}
	for path, v := range shared.OpenAPIV3Index().Paths {
		out[path] = document{path, v.ServerRelativeURL}
	}
	return out, nil
}

type document struct{ path, url string }

func (d document) ServerRelativeURL() string { return d.url }

func (d document) Schema(string) ([]byte, error) {
	_, path, _ := strings.Cut(d.path, "/")
	gv, err := schema.ParseGroupVersion(path)
	if err != nil {
		return nil, err
	}
	return shared.OpenAPIV3(gv, false)
}

func TestKubectlExplains(t *testing.T) {
	seen := map[schema.GroupVersion]bool{}
	for _, k := range shared.All() {
		if seen[k.GroupVersion] {
			continue // it reads the whole document every time
		}
		seen[k.GroupVersion] = true
		var out strings.Builder
		require.NoError(t, explain.PrintModelDescription(nil, &out, client{}, k.GVR(), false, "plaintext"), k)
		require.Contains(t, out.String(), "KIND:       "+k.KindName)
	}
	var out strings.Builder
	require.NoError(t, explain.PrintModelDescription([]string{"spec", "template", "spec", "containers", "image"}, &out, client{},
		kind(t, "deploy").GVR(), false, "plaintext"))
	require.Contains(t, out.String(), "FIELD: image <string>")
}

func TestKubectlSeesThatTheServerValidates(t *testing.T) {
	for _, parameter := range []resource.VerifiableQueryParam{resource.QueryParamFieldValidation, "dryRun"} {
		verifier := resource.NewQueryParamVerifierV3(nil, client{}, parameter)
		for _, k := range shared.All() {
			require.NoError(t, verifier.HasSupport(k.GVK()), k)
		}
	}
}
