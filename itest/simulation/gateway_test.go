package simulation

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/gateway"
	"github.com/wakehq/wake/services/simulation"
)

// api is a gateway on a ledger of its own, without any service.
type api struct {
	*testing.T
	handler http.Handler
	view    *events.View
}

func newAPI(t *testing.T) *api {
	registry, err := newRegistry()
	require.NoError(t, err)
	ledger := memory.New(memory.Faults{})
	view, err := events.OpenView(t.Context(), ledger, registry)
	require.NoError(t, err)
	g := gateway.New(gateway.Config{View: view, Ledger: ledger, Registry: registry, Log: slog.New(slog.DiscardHandler)})
	return &api{t, g.Handler(), view}
}

// do sends a request and returns what the answer says is wrong, if anything.
func (a *api) do(method, path, contentType, body string) string {
	r := httptest.NewRequestWithContext(a.Context(), method, path+"?fieldValidation=Strict", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: "ada"}}}}}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	if w.Code < http.StatusBadRequest {
		return ""
	}
	var status metav1.Status
	require.NoError(a, json.Unmarshal(w.Body.Bytes(), &status), w.Body.String())
	return status.Message
}

// What the API refuses a what-if refuses in the same words, and what it takes comes to the same object.
func TestManifestsMeanWhatTheyMeanToTheGateway(t *testing.T) {
	a := newAPI(t)
	registry, err := newRegistry()
	require.NoError(t, err)
	s := simulation.New(simulation.Config{State: events.NewState(registry), Start: began})
	for _, one := range []struct{ path, manifest string }{
		{"/api/v1/namespaces", "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n"},
		{"/apis/apps/v1/namespaces/default/deployments", deployment("web", 2, "100m")},
		{"/apis/apps/v1/namespaces/default/deployments", strings.Replace(deployment("bad", 2, "100m"), "{app: bad}}", "{app: other}}", 1)},
		{"/apis/apps/v1/namespaces/default/deployments", deployment("Bad_Name", 2, "100m")},
		{"/apis/apps/v1/namespaces/default/deployments", strings.Replace(deployment("typo", 2, "100m"), "replicas", "replica", 1)},
		{"/apis/apps/v1/namespaces/default/deployments", deployment("negative", -1, "100m")},
		{"/api/v1/namespaces/default/pods", "apiVersion: v1\nkind: Pod\nmetadata: {name: classy}\nspec: {priorityClassName: gold, containers: [{name: c, image: i}]}\n"},
		{"/api/v1/namespaces/default/pods", "apiVersion: v1\nkind: Pod\nmetadata: {name: plain}\nspec: {containers: [{name: c, image: i}]}\n"},
		{"/api/v1/namespaces/nowhere/configmaps", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: lost, namespace: nowhere}\n"},
		{"/api/v1/namespaces/default/services", "apiVersion: v1\nkind: Service\nmetadata: {name: dual}\nspec: {ipFamilyPolicy: RequireDualStack, ports: [{port: 1}]}\n"},
		{"/api/v1/nodes", "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {capacity: {cpu: \"4\"}}\n"},
		{"/api/v1/nodes", "apiVersion: v1\nkind: Node\nmetadata: {name: n2}\nstatus: {capacity: {cpu: lots}}\n"},
	} {
		refused := a.do(http.MethodPost, one.path, "application/yaml", strings.TrimPrefix(one.manifest, "---\n"))
		_, _, err := s.Apply(simulation.Manifest{Name: "file", Data: []byte(one.manifest)}, "")
		if refused != "" {
			require.Error(t, err, refused)
			require.True(t, strings.HasSuffix(err.Error(), refused), "gateway:    %s\nsimulation: %s", refused, err)
			continue
		}
		require.NoError(t, err, one.manifest)
	}
	requireSameObjects(t, a.view.State(), s.State())
}

// What may be set when creating may not be changed later, in the same words.
func TestChangesMeanWhatTheyMeanToTheGateway(t *testing.T) {
	a := newAPI(t)
	const path = "/apis/apps/v1/namespaces/default/deployments"
	require.Empty(t, a.do(http.MethodPost, "/api/v1/namespaces", "application/yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n"))
	require.Empty(t, a.do(http.MethodPost, path, "application/yaml", deployment("web", 2, "100m")))
	s := simulation.New(simulation.Config{State: a.view.State(), Start: began})
	for _, manifest := range []string{
		strings.ReplaceAll(deployment("web", 3, "100m"), "{app: web}", "{app: other}"),
		deployment("web", -3, "100m"),
		strings.Replace(deployment("web", 2, "100m"), "image: busybox", "picture: busybox", 1),
		deployment("web", 5, "200m"),
	} {
		patch, err := yaml.YAMLToJSON([]byte(manifest))
		require.NoError(t, err)
		refused := a.do(http.MethodPatch, path+"/web", "application/strategic-merge-patch+json", string(patch))
		_, _, err = s.Apply(simulation.Manifest{Name: "file", Data: []byte(manifest)}, "")
		if refused == "" {
			require.NoError(t, err)
			continue
		}
		require.Error(t, err, refused)
		if at := strings.Index(refused, "strict decoding error"); at >= 0 {
			refused = refused[at:] // here the API says that of the whole patch, a what-if of the manifest
		}
		require.True(t, strings.HasSuffix(err.Error(), refused), "gateway:    %s\nsimulation: %s", refused, err)
	}
	require.Empty(t, a.do(http.MethodDelete, path+"/web", "application/json", ""))
	require.NoError(t, s.Delete(events.Ref{Group: "apps", Resource: "deployments", Namespace: "default", Name: "web"}))
	requireSameObjects(t, a.view.State(), s.State())
}

// requireSameObjects compares all but identities, times and what notes who set which field.
func requireSameObjects(t *testing.T, want, got *events.State) {
	t.Helper()
	require.Equal(t, want.Resources(), got.Resources())
	for _, gr := range want.Resources() {
		require.Equal(t, want.Count(gr), got.Count(gr), gr)
		for o := range want.All(gr, "") {
			other, ok := got.Get(o.Ref)
			require.True(t, ok, o.Ref)
			a, b := o.Typed().DeepCopyObject(), other.Typed().DeepCopyObject()
			for _, m := range []metav1.Object{a.(metav1.Object), b.(metav1.Object)} {
				m.SetUID("")
				m.SetResourceVersion("")
				m.SetCreationTimestamp(metav1.Time{})
				m.SetManagedFields(nil)
				annotations := m.GetAnnotations()
				delete(annotations, corev1.LastAppliedConfigAnnotation)
				m.SetAnnotations(annotations)
			}
			require.True(t, equality.Semantic.DeepEqual(a, b), "%s\nwant %v\ngot  %v", o.Ref, a, b)
		}
	}
}
