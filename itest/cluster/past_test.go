package cluster

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// newest returns the ledger's newest revision.
func (c *cluster) newest() string {
	c.t.Helper()
	var list metav1.PartialObjectMetadataList
	require.NoError(c.t, json.Unmarshal([]byte(c.kubectl("get", "--raw", "/api/v1/namespaces")), &list))
	return list.ResourceVersion
}

// TestStockKubectlInThePast drives a kubectl that isn't ours with a context for the cluster as it was.
func TestStockKubectlInThePast(t *testing.T) {
	c := deployWeb(t)
	c.kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=60s")
	pods := c.kubectl("get", "pods", "-l", "app=web", "-o", "name")
	then := c.kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.resourceVersion}")
	c.kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=60s")

	config := filepath.Join(c.dir, "then")
	contains(t, c.wake("kubeconfig", "--at", then, "--merge", config), "wake@"+then)
	contains(t, c.wake("kubeconfig", "--at", "before event 1", "--merge", config), "wake@0")
	past := func(args ...string) (string, error) {
		return c.tryKubectl(append([]string{"--kubeconfig", config, "--context", "wake@" + then}, args...)...)
	}
	must := func(args ...string) string {
		out, err := past(args...)
		require.NoError(t, err)
		return out
	}
	require.Equal(t, pods, must("get", "pods", "-l", "app=web", "-o", "name"))
	contains(t, must("get", "deploy,rs,pods", "-o", "wide"), "deployment.apps/web", "3/3", "Running")
	contains(t, must("get", "pods", "--chunk-size=1"), "web-")
	contains(t, must("get", "--raw", "/apis/apps/v1/namespaces/default/deployments/web"), `"kind":"Deployment"`)
	contains(t, must("describe", "deployment", "web"), "ScalingReplicaSet", "NewReplicaSetAvailable")
	contains(t, must("describe", strings.Fields(pods)[0]), "Successfully assigned", "Started")
	contains(t, must("wait", "--for=condition=Available", "deployment/web", "--timeout=5s"), "condition met")
	contains(t, must("rollout", "status", "deployment/web", "--timeout=5s"), "successfully rolled out")
	contains(t, must("rollout", "history", "deployment/web"), "REVISION")
	contains(t, must("explain", "deployment.spec.strategy"), "RollingUpdate")
	contains(t, must("auth", "can-i", "get", "pods"), "yes")
	_, err := past("wait", "--for=delete", "deployment/web", "--timeout=1s")
	require.ErrorContains(t, err, "timed out", "nothing happens in the past")
	for _, write := range []string{"delete deployment web", "scale deployment web --replicas=1", "create configmap x", "label deployment web a=b", "rollout restart deployment/web"} {
		_, err := past(strings.Fields(write)...)
		require.ErrorContains(t, err, "is the past, which can only be read", write)
	}
	_, err = past("logs", "deployment/web")
	require.ErrorContains(t, err, "logs are kept by the node")
	out, err := c.tryKubectl("--kubeconfig", config, "--context", "wake@0", "get", "namespaces")
	require.NoError(t, err)
	require.NotContains(t, out, "default")

	contains(t, c.wake("at", then, "get", "deployment", "web"), "3/3")
	contains(t, c.wake("at", "event", then, "describe", "deployment", "web"), "ScalingReplicaSet")
	_, err = c.run("", "wake", "at", then, "delete", "deployment", "web")
	require.ErrorContains(t, err, "the past can only be read")
}

// TestANamespaceDeletedByMistakeComesBack deletes a namespace in which everything runs, and brings it back.
func TestANamespaceDeletedByMistakeComesBack(t *testing.T) {
	demo(t)
	c := start(t)
	c.apply(`
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: shop}
stringData: {password: hunter2}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: web, image: wake.dev/demo:1, env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`)
	c.kubectl("wait", "-n", "shop", "--for=condition=Available", "deployment/web", "--timeout=60s")
	address := c.kubectl("get", "service", "web", "-n", "shop", "-o", "jsonpath={.spec.clusterIP}")
	then := c.newest()
	c.kubectl("delete", "namespace", "shop", "--timeout=60s")

	dry := c.wake("restore", "namespace/shop", "--at", then, "--dry-run")
	contains(t, dry, "+ namespace/shop", "+ deployment.apps/shop/web", "+ secret/shop/db", "left to what makes them")
	_, err := c.tryKubectl("get", "namespace", "shop")
	require.ErrorContains(t, err, "NotFound", "a dry run does nothing")
	contains(t, c.wake("restore", "namespace/shop", "--at", then, "--yes"), "Restored: 4 objects, in one step")
	contains(t, c.kubectl("wait", "-n", "shop", "--for=condition=Available", "deployment/web", "--timeout=60s"), "condition met")
	require.Equal(t, address, c.kubectl("get", "service", "web", "-n", "shop", "-o", "jsonpath={.spec.clusterIP}"))
	require.Equal(t, "aHVudGVyMg==", c.kubectl("get", "secret", "db", "-n", "shop", "-o", "jsonpath={.data.password}"))
	contains(t, c.wake("restore", "namespace/shop", "--at", then, "--yes"), "There is nothing to do.")
	contains(t, c.wake("log", "namespace/shop"), "NamespaceDeletionRequested", "NamespaceRestored")
}
