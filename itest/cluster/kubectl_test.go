package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStockKubectl drives every verb that people use with a kubectl of another version than the libraries that Wake is built with.
func TestStockKubectl(t *testing.T) {
	c := deployWeb(t)
	manifest := filepath.Join(t.TempDir(), "config.yaml")
	write := func(greeting string) {
		require.NoError(t, os.WriteFile(manifest, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf, labels: {tier: back}}\ndata: {greeting: "+greeting+"}\n"), 0o600))
	}
	write("hello")
	contains(t, c.kubectl("version"), "Client Version: v1.35", "Server Version: v1.36")
	contains(t, c.kubectl("api-resources"), "deployments", "cronjobs", "networkpolicies")

	t.Run("create, apply, diff, edit", func(t *testing.T) {
		contains(t, c.kubectl("create", "-f", manifest), "configmap/conf created")
		_, err := c.tryKubectl("create", "-f", manifest)
		require.ErrorContains(t, err, "AlreadyExists")
		write("world")
		out, err := c.tryKubectl("diff", "-f", manifest)
		require.Error(t, err, "kubectl diff exits with 1 when there are differences")
		contains(t, out, "-  greeting: hello", "+  greeting: world")
		contains(t, c.kubectl("apply", "-f", manifest), "configmap/conf configured")
		contains(t, c.kubectl("apply", "-f", manifest), "configmap/conf unchanged")
		contains(t, c.kubectl("apply", "--server-side", "--force-conflicts", "-f", manifest), "serverside-applied")
		t.Setenv("KUBE_EDITOR", `sed -i s/world/edited/`)
		contains(t, c.kubectl("edit", "configmap", "conf"), "configmap/conf edited")
		require.Equal(t, "edited", c.kubectl("get", "cm", "conf", "-o", "jsonpath={.data.greeting}"))
	})
	t.Run("get and describe", func(t *testing.T) {
		contains(t, c.kubectl("get", "deploy,rs,svc,ep,endpointslices,nodes,ns"), "deployment.apps/web", "3/3", "service/kubernetes", "node/n1", "Ready")
		contains(t, c.kubectl("get", "pods", "-o", "wide", "-l", "app=web", "--field-selector", "spec.nodeName=n1"), "Running", "n1", "1/1")
		contains(t, c.kubectl("describe", "deployment", "web"), "ScalingReplicaSet", "Scaled up replica set", "NewReplicaSetAvailable")
		pod := strings.Fields(c.kubectl("get", "pods", "-l", "app=web", "-o", "name"))[0]
		contains(t, c.kubectl("describe", pod), "Successfully assigned", "Started", "Ready")
		contains(t, c.kubectl("describe", "node", "n1"), "Capacity:", "web-")
		contains(t, c.kubectl("get", "--raw", "/readyz"), "ok")
		contains(t, c.kubectl("get", "pods", "--chunk-size=1"), "web-")
	})
	t.Run("label, annotate, patch, set, scale", func(t *testing.T) {
		contains(t, c.kubectl("label", "deployment", "web", "tier=front"), "labeled")
		contains(t, c.kubectl("annotate", "deployment", "web", "why=test"), "annotated")
		contains(t, c.kubectl("patch", "deployment", "web", "--type=json", "-p", `[{"op":"replace","path":"/spec/replicas","value":2}]`), "patched")
		c.eventuallyPods(2)
		contains(t, c.kubectl("patch", "deployment", "web", "--type=merge", "-p", `{"spec":{"minReadySeconds":0}}`), "patched")
		contains(t, c.kubectl("scale", "deployment", "web", "--replicas=3"), "scaled")
		c.eventuallyPods(3)
		contains(t, c.kubectl("set", "image", "deployment/web", "web=wake.dev/demo:1"), "")
		contains(t, c.kubectl("set", "resources", "deployment/web", "--requests=cpu=10m"), "resource requirements updated")
	})
	t.Run("rollout", func(t *testing.T) {
		contains(t, c.kubectl("rollout", "status", "deployment/web", "--timeout=60s"), "successfully rolled out")
		contains(t, c.kubectl("rollout", "history", "deployment/web"), "REVISION", "2")
		contains(t, c.kubectl("rollout", "pause", "deployment/web"), "paused")
		contains(t, c.kubectl("rollout", "resume", "deployment/web"), "resumed")
		contains(t, c.kubectl("rollout", "restart", "deployment/web"), "restarted")
		contains(t, c.kubectl("rollout", "status", "deployment/web", "--timeout=60s"), "successfully rolled out")
		contains(t, c.kubectl("rollout", "undo", "deployment/web"), "rolled back")
		contains(t, c.kubectl("rollout", "status", "deployment/web", "--timeout=60s"), "successfully rolled out")
	})
	t.Run("logs, events, explain, wait", func(t *testing.T) { lookBack(t, c) })
	t.Run("dry-run, delete", func(t *testing.T) { deleteAll(t, c) })
}

// contains fails the test unless each of wants is in out.
func contains(t *testing.T, out string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		require.Contains(t, out, want)
	}
}

// lookBack asks kubectl what the Deployment called web did.
func lookBack(t *testing.T, c *cluster) {
	c.eventuallyPods(3) // those of the version before are gone: kubectl lists pods, and then asks each for its log
	c.eventually("the log is there", func() error { _, err := c.tryKubectl("logs", "deployment/web"); return err })
	contains(t, c.kubectl("logs", "-l", "app=web", "--tail=1"), "")
	contains(t, c.kubectl("logs", "deployment/web", "--tail=50"), "listens on :8080")
	contains(t, c.kubectl("events", "--for", "deployment/web"), "ScalingReplicaSet")
	contains(t, c.kubectl("get", "events"), "SuccessfulCreate")
	contains(t, c.kubectl("explain", "deployment.spec.strategy"), "RollingUpdate")
	contains(t, c.kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=30s"), "condition met")
	contains(t, c.kubectl("auth", "whoami"), "kubernetes-admin")
}

// deleteAll deletes the ConfigMap called conf, a namespace with something in it, and the Deployment called web.
func deleteAll(t *testing.T, c *cluster) {
	contains(t, c.kubectl("delete", "configmap", "conf", "--dry-run=server"), "deleted")
	contains(t, c.kubectl("get", "configmap", "conf"), "conf")
	contains(t, c.kubectl("delete", "configmap", "conf"), "deleted")
	contains(t, c.kubectl("create", "namespace", "other"), "created")
	contains(t, c.kubectl("create", "configmap", "inside", "-n", "other", "--from-literal=a=b"), "created")
	contains(t, c.kubectl("delete", "namespace", "other", "--timeout=30s"), "deleted")
	contains(t, c.kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=60s"), "deleted")
	require.Empty(t, c.kubectl("get", "pods", "-l", "app=web", "-o", "name"))
}

func TestAJobRunsToItsEnd(t *testing.T) {
	demo(t)
	c := start(t)
	c.apply(`
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  completions: 3
  parallelism: 2
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: wake.dev/demo:1, args: ["--exit"]}]
`)
	require.Contains(t, c.kubectl("wait", "--for=condition=Complete", "job/once", "--timeout=60s"), "condition met")
	require.Equal(t, "3", c.kubectl("get", "job", "once", "-o", "jsonpath={.status.succeeded}"))
}
