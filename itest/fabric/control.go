package fabric

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Ports of the control plane.
const (
	apiPort  = "6443"
	gatePort = "4222"
)

// Control is a whole control plane in one process, on a machine.
type Control struct {
	*Machine
	t testing.TB
	f *Fabric
}

// Control returns the control plane of the first of Config.Controls.
func (f *Fabric) Control() *Control {
	f.t.Helper()
	names := f.config.Controls
	if len(names) == 0 {
		names = []string{"control"}
	}
	return &Control{Machine: f.Machine(names[0]), t: f.t, f: f}
}

func (c *Control) data() string { return filepath.Join(c.dir(), "wake") }

// Server is the address of the API.
func (c *Control) Server() string { return "https://" + c.Addr.String() + ":" + apiPort }

// Up runs "wake up" without an agent, and waits until the API is ready.
func (c *Control) Up(args ...string) {
	c.t.Helper()
	wake, err := binary("wake")
	require.NoError(c.t, err)
	p, err := c.Start("up", wake, append([]string{"up", "--no-agent", "--data-dir", c.data(), "--listen", c.Addr.String() + ":" + apiPort,
		"--nodes-listen", c.Addr.String() + ":" + gatePort}, args...)...)
	require.NoError(c.t, err)
	c.f.keep(c.Machine, p)
	c.f.Eventually("the API is ready", func() error { _, err := c.TryKubectl("", "get", "--raw", "/readyz"); return err })
}

// Kill ends the process as nothing can prevent.
func (c *Control) Kill() { c.f.process(c.t, c.Machine, "up").Kill() }

// run runs one of our own programs on the machine, as its user does.
func (c *Control) run(stdin, name string, args ...string) (string, error) {
	path, err := binary(name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*Patience)
	defer cancel()
	env := []string{"KUBECONFIG=" + filepath.Join(c.data(), "kubeconfig"), "WAKE_DATA_DIR=" + c.data(), "HOME=" + c.dir()}
	return c.Run(ctx, stdin, "env", append(append(env, path), args...)...)
}

// TryKubectl runs the stock kubectl.
func (c *Control) TryKubectl(stdin string, args ...string) (string, error) {
	return c.run(stdin, "kubectl", args...)
}

// Kubectl runs the stock kubectl, which must succeed.
func (c *Control) Kubectl(args ...string) string {
	c.t.Helper()
	out, err := c.TryKubectl("", args...)
	require.NoError(c.t, err)
	return out
}

// Apply applies a manifest.
func (c *Control) Apply(manifest string) {
	c.t.Helper()
	_, err := c.TryKubectl(manifest, "apply", "-f", "-")
	require.NoError(c.t, err)
}

// Wake runs the wake binary, which must succeed.
func (c *Control) Wake(args ...string) string {
	c.t.Helper()
	out, err := c.run("", "wake", args...)
	require.NoError(c.t, err)
	return out
}

// Expect waits until kubectl says exactly that.
func (c *Control) Expect(what, want string, args ...string) {
	c.t.Helper()
	c.f.Eventually(what, func() error {
		out, err := c.TryKubectl("", args...)
		if err == nil && strings.TrimSpace(out) != want {
			err = fmt.Errorf("kubectl %s says %q, not %q", strings.Join(args, " "), strings.TrimSpace(out), want)
		}
		return err
	})
}

// Join makes machines nodes of the cluster, and waits until they are ready.
func (c *Control) Join(nodes ...*Node) {
	c.t.Helper()
	token := strings.Fields(c.Wake("token", "create", "--ttl", "10m", "--nodes", fmt.Sprint(len(nodes))))[0]
	for _, n := range nodes {
		n.Agent("--server", c.Server(), "--join", token)
	}
	for _, n := range nodes {
		c.ExpectReady(n.Name, "True")
	}
}

// ExpectReady waits until a node's condition Ready is that: True, False or Unknown.
func (c *Control) ExpectReady(node, want string) {
	c.t.Helper()
	c.Expect("node "+node+" is ready: "+want, want, "get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
}

// keep remembers a process of a machine, and forgets the one of that name before it.
func (f *Fabric) keep(m *Machine, p *Process) {
	f.built.mu.Lock()
	defer f.built.mu.Unlock()
	p.on = m
	f.built.running = append(slices.DeleteFunc(f.built.running, func(old *Process) bool {
		return old.on == m && old.Name == p.Name
	}), p)
}

// process returns a machine's process.
func (f *Fabric) process(t testing.TB, m *Machine, name string) *Process {
	t.Helper()
	f.built.mu.Lock()
	defer f.built.mu.Unlock()
	for _, p := range f.built.running {
		if p.on == m && p.Name == name {
			return p
		}
	}
	require.Fail(t, "no such process", "%s has not run %s", m.Name, name)
	return nil
}

// Logs returns all that a machine's program has said so far.
func (m *Machine) Logs(name string) string {
	content, err := os.ReadFile(m.log(name))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	return string(content)
}
