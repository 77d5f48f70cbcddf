package cluster

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBadInputIsRefusedAndChangesNothing(t *testing.T) {
	c := start(t)
	c.kubectl("create", "configmap", "taken", "--from-literal=a=b")
	pod := func(name, spec string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n"
	}
	for _, bad := range []struct{ name, manifest, says string }{
		{"an unknown field", pod("p", "containers: [{name: a, image: b, imagee: c}]"), `unknown field "spec.containers[0].imagee"`},
		{"a wrong type", pod("p", "containers: [{name: a, image: b, ports: [{containerPort: eighty}]}]"), "cannot unmarshal"},
		{"an unknown kind", "apiVersion: v1\nkind: Pud\nmetadata: {name: p}\n", `no matches for kind "Pud" in version "v1"`},
		{"an empty document", "---\n---\n", "no objects passed to apply"},
		{"a name that isn't DNS", pod("Not_DNS", "containers: [{name: a, image: b}]"), "lowercase RFC 1123 subdomain"},
		{"no containers", pod("p", "containers: []"), "spec.containers: Required value"},
		{"an object too large", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: p}\ndata: {a: " + strings.Repeat("x", 3<<20) + "}\n", "too large"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			_, err := c.run(bad.manifest, "kubectl", "apply", "-f", "-")
			require.ErrorContains(t, err, bad.says)
			_, err = c.tryKubectl("get", "pods,configmaps", "p")
			require.ErrorContains(t, err, "not found")
		})
	}
	t.Run("a duplicate key", func(t *testing.T) {
		// kubectl drops the first of the two as it reads YAML; a client that posts what it was given is told.
		_, err := c.run(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"p"},"data":{"a":"b"},"data":{"a":"c"}}`,
			"kubectl", "create", "--raw", "/api/v1/namespaces/default/configmaps?fieldValidation=Strict", "-f", "-")
		require.ErrorContains(t, err, `duplicate field "data"`)
	})
	t.Run("a conflicting update", func(t *testing.T) {
		old := c.kubectl("get", "configmap", "taken", "-o", "yaml")
		c.kubectl("patch", "configmap", "taken", "-p", `{"data":{"a":"c"}}`)
		_, err := c.run(old, "kubectl", "replace", "-f", "-")
		require.ErrorContains(t, err, "the object has been modified")
		require.Equal(t, "c", c.kubectl("get", "configmap", "taken", "-o", "jsonpath={.data.a}"))
	})
}

func TestPodsThatCannotRunSayWhy(t *testing.T) {
	demo(t)
	c := start(t)
	taken, err := net.Listen("tcp", "0.0.0.0:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port
	for _, bad := range []struct{ name, spec, says string }{
		{"no-image", "containers: [{name: a, image: nowhere.invalid/x:1}]", "ImagePull"},
		{"no-command", "containers: [{name: a, image: wake.dev/demo:1, command: [/nothing]}]", "/nothing"},
		{"no-room", "containers: [{name: a, image: wake.dev/demo:1, resources: {requests: {memory: 900Gi}}}]", "Insufficient memory"},
		{"no-config", "containers: [{name: a, image: wake.dev/demo:1, envFrom: [{configMapRef: {name: absent}}]}]", `"absent" not found`},
		{"no-port", fmt.Sprintf("containers: [{name: a, image: wake.dev/demo:1, ports: [{containerPort: 8080, hostPort: %d}]}]", port), "in use"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			c.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: " + bad.name + "}\nspec: {" + bad.spec + "}\n")
			c.eventually("describe says why", func() error {
				if out := c.kubectl("describe", "pod", bad.name); !strings.Contains(out, bad.says) {
					return fmt.Errorf("%q is not in:\n%s", bad.says, out)
				}
				return nil
			})
		})
	}
}

func TestASecondWakeUpIsRefused(t *testing.T) {
	c := start(t)
	up := func(args ...string) string {
		cmd := exec.Command(program(t, "wake"), append([]string{"up"}, args...)...)
		timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		out, err := cmd.CombinedOutput()
		require.Error(t, err, string(out))
		return string(out)
	}
	require.Contains(t, up("--data-dir", c.dir, "--listen", "127.0.0.1:0"), fmt.Sprintf("in use by process %d", c.up.Process.Pid))
	require.Contains(t, up("--data-dir", t.TempDir(), "--listen", c.listen, "--no-agent"), "in use by another program")
	require.Contains(t, up("--data-dir", t.TempDir(), "--cluster-cidr", "10.96.0.0/16"), "overlap")
	require.Contains(t, c.wake("status"), "running since")
}

func TestSecretsAreNotInTheLedgerInPlainText(t *testing.T) {
	c := start(t)
	const word = "correct-horse-battery-staple"
	c.kubectl("create", "secret", "generic", "pass", "--from-literal=word="+word)
	require.Equal(t, word, c.kubectl("get", "secret", "pass", "-o", `go-template={{.data.word | base64decode}}`))
	require.NotContains(t, c.wake("log", "-o", "json"), word)
	c.stop()
	out, err := exec.Command("grep", "-rlaF", word, c.dir).CombinedOutput()
	require.Error(t, err, "the secret lies in plain text in: %s", out)
	c.begin()
	require.Equal(t, word, c.kubectl("get", "secret", "pass", "-o", `go-template={{.data.word | base64decode}}`))
}
