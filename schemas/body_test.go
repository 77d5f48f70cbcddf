package schemas

import (
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const webManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: web:1}]
`

func TestBadBodies(t *testing.T) {
	for name, c := range map[string]struct{ kind, body, contentType, want string }{
		"unknown field": {"deploy", webManifest + "  replica: 3\n", "application/yaml",
			`Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.replica"`},
		"unknown field in JSON": {"cm", `{"metadata":{"name":"a"},"dta":{}}`, "application/json",
			`ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dta"`},
		"duplicate key": {"cm", `{"metadata":{"name":"a","name":"b"}}`, "application/json",
			`ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: duplicate field "metadata.name"`},
		"wrong type": {"deploy", `{"spec":{"replicas":"two"}}`, "application/json",
			`Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`},
		"wrong kind": {"po", "apiVersion: v1\nkind: Service\n", "application/yaml",
			`Service in version "v1" cannot be handled as a Pod: this request takes a Pod of v1`},
		"unheard-of kind": {"po", `{"apiVersion":"v1","kind":"Pud"}`, "application/json",
			`Pud in version "v1" cannot be handled as a Pod: this request takes a Pod of v1`},
		"wrong version": {"deploy", `{"apiVersion":"apps/v1beta1","kind":"Deployment"}`, "application/json",
			`the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)`},
		"empty":      {"po", "", "application/json", `the object provided is unrecognized (must be of type Pod): `},
		"not JSON":   {"po", "hello", "", `the object provided is unrecognized (must be of type Pod): `},
		"not a type": {"po", "{}", "text/plain", `the body of the request was in an unknown format - accepted media types include: application/json`},
		"protobuf that is none": {"po", "{}", "application/vnd.kubernetes.protobuf",
			`the object provided is unrecognized (must be of type Pod): provided data does not appear to be a protobuf message`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := kind(t, c.kind).DecodeBody([]byte(c.body), c.contentType, metav1.FieldValidationStrict)
			require.ErrorContains(t, err, c.want)
			require.True(t, apierrors.IsBadRequest(err) || apierrors.IsUnsupportedMediaType(err), "%#v", err)
		})
	}
}

func TestFieldValidation(t *testing.T) {
	body := []byte(webManifest + "  replica: 3\n")
	obj, warnings, err := kind(t, "deploy").DecodeBody(body, "application/yaml", metav1.FieldValidationWarn)
	require.NoError(t, err)
	require.Equal(t, []string{`unknown field "spec.replica"`}, warnings)
	require.EqualValues(t, 2, *obj.(*appsv1.Deployment).Spec.Replicas)
	require.Equal(t, appsv1.RollingUpdateDeploymentStrategyType, obj.(*appsv1.Deployment).Spec.Strategy.Type, "defaults are set")

	_, warnings, err = kind(t, "deploy").DecodeBody(body, "application/yaml", metav1.FieldValidationIgnore)
	require.NoError(t, err)
	require.Empty(t, warnings)
}

func TestOptionsOfAnyGroupAreOptions(t *testing.T) {
	want := metav1.SchemeGroupVersion.WithKind("DeleteOptions")
	want.Group, want.Version = "", "v1"
	for _, apiVersion := range []string{"v1", "apps/v1", "batch/v1"} {
		obj, _, err := shared.DecodeBody([]byte(`{"kind":"DeleteOptions","apiVersion":"`+apiVersion+`","propagationPolicy":"Foreground"}`), "", want, "")
		require.NoError(t, err)
		require.Equal(t, metav1.DeletePropagationForeground, *obj.(*metav1.DeleteOptions).PropagationPolicy)
	}
}
