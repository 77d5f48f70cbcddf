package gateway_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const manifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: demo:1}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: red}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {containers: [{name: main, image: demo}]}
`

// A kubectl that isn't ours behaves as against Kubernetes. Each step is a command and what it must print.
func TestKubectl(t *testing.T) {
	binary, err := exec.LookPath("kubectl")
	require.NoError(t, err, "this test drives the gateway with a stock kubectl: run it with go tool task unit, which builds one")
	c := newCluster(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "manifest.yaml")
	require.NoError(t, os.WriteFile(file, []byte(manifest), 0o600))
	blue := filepath.Join(dir, "blue.yaml")
	require.NoError(t, os.WriteFile(blue, []byte(strings.Replace(manifest, "red", "blue", 1)), 0o600))
	typo := filepath.Join(dir, "typo.yaml")
	require.NoError(t, os.WriteFile(typo, []byte(strings.Replace(manifest, "replicas", "replica", 1)), 0o600))
	editor := filepath.Join(dir, "editor")
	require.NoError(t, os.WriteFile(editor, []byte("#!/bin/sh\nsed -i s/blue/green/ \"$1\"\n"), 0o700))

	for _, step := range []struct{ command, want string }{
		{"version", "+wake-test"},
		{"api-resources", "deployments                deploy       apps/v1                        true         Deployment"},
		{"get namespaces", "kube-system       Active"},
		{"create -f " + file, "deployment.apps/web created\nconfigmap/settings created\npod/p created\n"},
		{"create -f " + file, `Error from server (AlreadyExists): error when creating "` + file + `": deployments.apps "web" already exists`},
		{"delete -f " + file + " --wait=false", `configmap "settings" deleted`},
		{"apply -f " + file, "deployment.apps/web created\nconfigmap/settings created\npod/p created\n"},
		{"apply -f " + file, "deployment.apps/web unchanged\nconfigmap/settings unchanged\npod/p unchanged\n"},
		{"apply -f " + typo, `unknown field "spec.replica"`},
		{"diff -f " + blue, "-  colour: red\n+  colour: blue\n"},
		{"apply -f " + blue, "deployment.apps/web unchanged\nconfigmap/settings configured\npod/p unchanged\n"},
		{"apply --server-side -f " + blue, "deployment.apps/web serverside-applied"},
		{"apply --server-side --field-manager=other -f " + file, `conflict with "kubectl": .data.colour`},
		{"edit configmap settings", "configmap/settings edited"},
		{"get configmap settings -o jsonpath={.data.colour}", "green"},
		{"get deployment web", "web    0/2     0            0"},
		{"get pods -o wide", "p      0/1     Pending   0"},
		{"get all", "deployment.apps/web"},
		{"get nothing", `error: the server doesn't have a resource type "nothing"`},
		{"get pod none", `Error from server (NotFound): pods "none" not found`},
		{"get pods --field-selector status.phase=Running", "No resources found in default namespace."},
		{"describe deployment web", "Replicas:               2 desired"},
		{"scale deployment web --replicas=5", "deployment.apps/web scaled"},
		{"set image deployment/web main=demo:2", "deployment.apps/web image updated"},
		{"label pod p tier=front", "pod/p labeled"},
		{"annotate pod p note=x", "pod/p annotated"},
		{"get pods -l tier=front -o name", "pod/p\n"},
		{"rollout pause deployment/web", "deployment.apps/web paused"},
		{"explain pod.spec.nodeName", "FIELD: nodeName <string>"},
		{"wait --for=jsonpath={.spec.replicas}=5 deployment/web --timeout=5s", "deployment.apps/web condition met"},
		{"run other --image=demo --dry-run=server", "pod/other created (server dry run)"},
		{"get pod other", "NotFound"},
		{"auth can-i delete nodes", "yes"},
		{"auth whoami", "ada"},
		{"exec p -- true", "exec of pods is not implemented"},
		{"delete pod p", `pod "p" deleted`},
		{"delete deployment,configmap --all --wait=false", `deployment.apps "web" deleted`},
		{"get events", "No resources found"},
	} {
		command := exec.CommandContext(t.Context(), binary, strings.Fields("--kubeconfig "+c.kubeconfig+" --cache-dir "+dir+" "+step.command)...)
		command.Env = append(os.Environ(), "EDITOR="+editor)
		output, _ := command.CombinedOutput()
		require.Contains(t, string(output), step.want, "kubectl %s", step.command)
	}
}
