package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const lonelyPod = `
apiVersion: v1
kind: Pod
metadata: {name: lonely}
spec:
  containers:
    - {name: main, image: wake.dev/demo:1, imagePullPolicy: IfNotPresent}
`

// machine is a "wake agent" of the test's own.
type machine struct {
	t     *testing.T
	dir   string
	log   *os.File
	agent *exec.Cmd
}

// newMachine makes a machine that ends with the test.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir()}
	var err error
	m.log, err = os.Create(filepath.Join(m.dir, "agent.log"))
	require.NoError(t, err)
	t.Cleanup(func() {
		m.kill()
		out, err := exec.Command(program(t, "wake"), "down", "--purge", "--data-dir", m.dir).CombinedOutput()
		require.NoError(t, err, "removing what the node left: %s", out)
		if t.Failed() {
			said, _ := os.ReadFile(m.log.Name())
			t.Logf("wake agent said:\n%s", tail(said, 4000))
		}
	})
	return m
}

func (m *machine) run(args ...string) {
	m.t.Helper()
	m.agent = exec.Command(program(m.t, "wake"), append([]string{"agent", "--data-dir", m.dir}, args...)...)
	m.agent.Stdout, m.agent.Stderr = m.log, m.log
	require.NoError(m.t, m.agent.Start())
}

// kill ends the agent as a power cut would.
func (m *machine) kill() {
	if m.agent != nil && m.agent.ProcessState == nil {
		_ = m.agent.Process.Kill()
		_ = m.agent.Wait() // it was killed
	}
}

// TestAMachineJoins runs the only node of a cluster in a process of its own, as on another machine, and kills both sides.
func TestAMachineJoins(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gate := free.Addr().String()
	require.NoError(t, free.Close())
	c := start(t, "--no-agent", "--nodes-listen", gate)
	m := newMachine(t)
	expect := func(what, want string, args ...string) {
		c.eventually(what, func() error {
			out, err := c.tryKubectl(args...)
			if err == nil && strings.TrimSpace(out) != want {
				err = fmt.Errorf("%q", out)
			}
			return err
		})
	}
	ready := []string{"get", "node", "n2", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`}
	token, err := c.run("", "wake", "token", "create", "--ttl", "10m")
	require.NoError(t, err)
	m.run("--node-name", "n2", "--server", "https://"+c.listen, "--join", strings.TrimSpace(token))
	expect("the node is ready", "True", ready...)
	_, err = c.run(lonelyPod, "kubectl", "apply", "-f", "-")
	require.NoError(t, err)
	expect("the pod runs there", "Running n2", "get", "pod", "lonely", "-o", "jsonpath={.status.phase} {.spec.nodeName}")
	c.eventually("its log can be read through the cluster", func() error {
		out, err := c.tryKubectl("logs", "lonely")
		if err == nil && !strings.Contains(out, "listens on") {
			err = errors.New(out)
		}
		return err
	})
	started, err := c.tryKubectl("get", "pod", "lonely", "-o", "jsonpath={.status.containerStatuses[0].containerID}")
	require.NoError(t, err)

	m.kill()
	m.run() // it knows the rest
	c.kill()
	c.begin()
	c.eventually("its log can be read after both were killed", func() error { _, err := c.tryKubectl("logs", "lonely"); return err })
	expect("the node is ready again", "True", ready...)
	expect("the container is the same", started, "get", "pod", "lonely", "-o", "jsonpath={.status.containerStatuses[0].containerID}")

	_, err = c.tryKubectl("delete", "pod", "lonely", "--grace-period=0")
	require.NoError(t, err)
	_, err = c.tryKubectl("delete", "node", "n2")
	require.NoError(t, err)
	c.eventually("the deleted node is told", func() error {
		said, err := os.ReadFile(m.log.Name())
		if err == nil && !strings.Contains(string(said), "join again with a new token") {
			err = errors.New("not yet")
		}
		return err
	})
	_, err = c.tryKubectl("get", "node", "n2")
	require.ErrorContains(t, err, "not found")
	listed, err := c.run("", "wake", "token", "list")
	require.NoError(t, err)
	require.Contains(t, listed, "1 of 1")
	require.NotContains(t, listed, strings.Split(token, ".")[1])
}
