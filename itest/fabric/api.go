package fabric

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// API is a cluster as its users have it: kubectl and the wake commands, run on a machine.
type API struct {
	t  testing.TB
	f  *Fabric
	on *Machine
	// settings are variables of the programs' environment: which cluster is meant.
	settings func() []string
	// Server is the address of the API.
	server func() string
}

// run runs one of our own programs on the machine, as its user does.
func (a *API) run(stdin, name string, args ...string) (string, error) {
	path, err := binary(name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*Patience)
	defer cancel()
	return a.on.Run(ctx, stdin, "env", append(append(append(a.settings(), "HOME="+a.on.dir()), path), args...)...)
}

// Server is the address of the API.
func (a *API) Server() string { return a.server() }

// TryKubectl runs the stock kubectl.
func (a *API) TryKubectl(stdin string, args ...string) (string, error) {
	return a.run(stdin, "kubectl", args...)
}

// Kubectl runs the stock kubectl, which must succeed.
func (a *API) Kubectl(args ...string) string {
	a.t.Helper()
	out, err := a.TryKubectl("", args...)
	require.NoError(a.t, err)
	return out
}

// Apply applies a manifest.
func (a *API) Apply(manifest string) {
	a.t.Helper()
	_, err := a.TryKubectl(manifest, "apply", "-f", "-")
	require.NoError(a.t, err)
}

// Wake runs the wake binary, which must succeed.
func (a *API) Wake(args ...string) string {
	a.t.Helper()
	out, err := a.run("", "wake", args...)
	require.NoError(a.t, err)
	return out
}

// Expect waits until kubectl says exactly that.
func (a *API) Expect(what, want string, args ...string) {
	a.t.Helper()
	a.f.Eventually(what, func() error {
		out, err := a.TryKubectl("", args...)
		if err == nil && strings.TrimSpace(out) != want {
			err = fmt.Errorf("kubectl %s says %q, not %q", strings.Join(args, " "), strings.TrimSpace(out), want)
		}
		return err
	})
}

// Join makes machines nodes of the cluster, and waits until they are ready.
func (a *API) Join(nodes ...*Node) {
	a.t.Helper()
	token := strings.Fields(a.Wake("token", "create", "--ttl", "10m", "--nodes", fmt.Sprint(len(nodes))))[0]
	for _, n := range nodes {
		n.Agent("--server", a.Server(), "--join", token)
	}
	for _, n := range nodes {
		a.ExpectReady(n.Name, "True")
	}
}

// ExpectReady waits until a node's condition Ready is that: True, False or Unknown.
func (a *API) ExpectReady(node, want string) {
	a.t.Helper()
	a.Expect("node "+node+" is ready: "+want, want, "get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
}

// ready waits until the API is.
func (a *API) ready() {
	a.t.Helper()
	a.f.Eventually("the API is ready", func() error { _, err := a.TryKubectl("", "get", "--raw", "/readyz"); return err })
}

// Client returns a client of what a kubeconfig leads to, which asks from the machine Outside and is never told to ask less.
func (f *Fabric) Client(kubeconfig string) kubernetes.Interface {
	f.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	require.NoError(f.t, err)
	config.Dial, config.QPS = f.Machine(Outside).Dial, -1
	client, err := kubernetes.NewForConfig(config)
	require.NoError(f.t, err)
	return client
}
