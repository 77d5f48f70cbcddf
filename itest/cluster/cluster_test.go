// Package cluster tests Wake as its users meet it: the wake binary, a kubectl that isn't ours, and containers on this machine's Docker Engine.
package cluster

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = 60 * time.Second

// cluster is a "wake up" of the test's own, beside any other on this machine.
type cluster struct {
	t      *testing.T
	dir    string
	listen string
	args   []string
	up     *exec.Cmd
	log    *os.File
}

// programs are built by the task that runs these tests; a test that can't find them says how to.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../bin", name))
	require.NoError(t, err)
	_, err = os.Stat(path)
	require.NoError(t, err, "run the tests with: go tool task itest")
	return path
}

// subnets hands each cluster of a test run address ranges of its own.
var subnets = 0

// start starts a cluster and waits until its node is ready. It ends, containers and all, with the test.
func start(t *testing.T, args ...string) *cluster {
	t.Helper()
	requireDocker(t)
	return startIn(t, t.TempDir(), args...)
}

// startIn starts a cluster with a data directory of the test's choice.
func startIn(t *testing.T, dir string, args ...string) *cluster {
	t.Helper()
	subnets++
	c := &cluster{t: t, dir: dir, listen: freeAddress(t), args: append([]string{"--node-name", "n1",
		"--service-cidr", fmt.Sprintf("10.%d.0.0/16", 150+subnets)}, args...)}
	require.NoError(t, os.MkdirAll(dir, 0o700))
	var err error
	c.log, err = os.Create(filepath.Join(c.dir, "up.log"))
	require.NoError(t, err)
	t.Cleanup(c.end)
	c.begin()
	return c
}

// freeAddress is one on this machine that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, free.Close()) }()
	return free.Addr().String()
}

func requireDocker(t *testing.T) {
	t.Helper()
	out, err := exec.Command("docker", "info", "--format", "{{.ServerVersion}}").CombinedOutput()
	require.NoError(t, err, "these tests need a Docker Engine (go tool task setup): %s", out)
}

// begin runs "wake up" and waits until its node is ready.
func (c *cluster) begin() {
	c.t.Helper()
	c.up = exec.Command(program(c.t, "wake"), append([]string{"up", "--data-dir", c.dir, "--listen", c.listen}, c.args...)...)
	c.up.Stdout, c.up.Stderr = c.log, c.log
	require.NoError(c.t, c.up.Start())
	c.eventually("the API is ready", func() error { _, err := c.tryKubectl("get", "--raw", "/readyz"); return err })
	if slices.Contains(c.args, "--no-agent") {
		return
	}
	c.eventually("the node is ready", func() error {
		out, err := c.tryKubectl("get", "node", "n1", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && out != "True" {
			err = fmt.Errorf("ready: %q", out)
		}
		return err
	})
}

// kill ends wake as a power cut would.
func (c *cluster) kill() {
	c.t.Helper()
	require.NoError(c.t, c.up.Process.Kill())
	_ = c.up.Wait() // it was killed
}

// stop ends wake as Ctrl-C does.
func (c *cluster) stop() {
	c.t.Helper()
	require.NoError(c.t, c.up.Process.Signal(syscall.SIGINT))
	require.NoError(c.t, c.up.Wait(), "wake up ends cleanly on Ctrl-C")
}

func (c *cluster) end() {
	if c.t.Failed() {
		out, _ := os.ReadFile(c.log.Name())
		c.t.Logf("wake up said:\n%s", tail(out, 8000))
	}
	if c.up != nil && c.up.Process != nil && c.up.ProcessState == nil {
		_ = c.up.Process.Kill()
		_ = c.up.Wait()
	}
	out, err := exec.Command(program(c.t, "wake"), "down", "--purge", "--data-dir", c.dir).CombinedOutput()
	if err != nil {
		c.t.Errorf("wake down --purge: %v: %s", err, out)
	}
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// run runs a program against the cluster.
func (c *cluster) run(stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(c.t, name), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(c.dir, "kubeconfig"), "WAKE_DATA_DIR="+c.dir, "HOME="+c.dir)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String() + errOut.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, errOut.String())
	}
	return out.String(), nil
}

func (c *cluster) tryKubectl(args ...string) (string, error) { return c.run("", "kubectl", args...) }

// kubectl runs the stock kubectl, which must succeed.
func (c *cluster) kubectl(args ...string) string {
	c.t.Helper()
	out, err := c.tryKubectl(args...)
	require.NoError(c.t, err)
	return out
}

// apply applies a manifest.
func (c *cluster) apply(manifest string) string {
	c.t.Helper()
	out, err := c.run(manifest, "kubectl", "apply", "-f", "-")
	require.NoError(c.t, err)
	return out
}

// wake runs the wake binary, which must succeed.
func (c *cluster) wake(args ...string) string {
	c.t.Helper()
	out, err := c.run("", "wake", args...)
	require.NoError(c.t, err)
	return out
}

// eventually waits until check passes.
func (c *cluster) eventually(what string, check func() error) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			require.NoError(c.t, err, "waited %s until %s", patience, what)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// demo builds the demo image, once.
func demo(t *testing.T) {
	t.Helper()
	out, err := exec.Command("../../deploy/demo/build.sh").CombinedOutput()
	require.NoError(t, err, string(out))
}

// containers returns the IDs of the cluster's running containers of pods whose name begins with prefix.
func (c *cluster) containers(prefix string) []string {
	c.t.Helper()
	var ids []string
	out := c.kubectl("get", "pods", "-o", `jsonpath={range .items[*]}{.metadata.name}{" "}{.status.containerStatuses[*].containerID}{" "}{.status.containerStatuses[*].restartCount}{"\n"}{end}`)
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, prefix) {
			ids = append(ids, strings.TrimSpace(line))
		}
	}
	return ids
}
