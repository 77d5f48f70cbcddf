package fabric

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Node is a machine with a dockerd, which an agent makes a node of a cluster.
type Node struct {
	*Machine
	t testing.TB
	f *Fabric
}

// Agent runs "wake agent". With a token of the control plane's (--server, --join) the machine joins; then it knows the rest.
func (n *Node) Agent(args ...string) {
	n.t.Helper()
	wake, err := binary("wake")
	require.NoError(n.t, err)
	p, err := n.Start("agent", wake, append([]string{"agent", "--data-dir", filepath.Join(n.dir(), "wake"), "--docker-host", n.dockerHost()}, args...)...)
	require.NoError(n.t, err)
	n.f.keep(n.Machine, p)
}

// KillAgent ends the agent as nothing can prevent.
func (n *Node) KillAgent() { n.t.Helper(); n.f.process(n.t, n.Machine, "agent").Kill() }

// StopAgent ends the agent as its user does.
func (n *Node) StopAgent() { n.t.Helper(); n.f.process(n.t, n.Machine, "agent").Stop() }

// Docker calls the node's dockerd, which must succeed.
func (n *Node) Docker(args ...string) string {
	n.t.Helper()
	out, err := n.docker(n.t.Context(), args...)
	require.NoError(n.t, err)
	return strings.TrimSpace(out)
}

// KillDocker ends dockerd as nothing can prevent. Its containers go on.
func (n *Node) KillDocker() { n.t.Helper(); n.f.process(n.t, n.Machine, "dockerd").Kill() }

// StallDocker stops dockerd where it is: it takes connections and answers nobody.
func (n *Node) StallDocker() {
	n.t.Helper()
	n.f.process(n.t, n.Machine, "dockerd").Signal(syscall.SIGSTOP)
}

// ContinueDocker ends StallDocker.
func (n *Node) ContinueDocker() {
	n.t.Helper()
	n.f.process(n.t, n.Machine, "dockerd").Signal(syscall.SIGCONT)
}

// StartDocker starts dockerd again.
func (n *Node) StartDocker() { n.t.Helper(); require.NoError(n.t, n.startDocker()) }

// Exec runs a program on the node, which must succeed.
func (n *Node) Exec(name string, args ...string) string {
	n.t.Helper()
	out, err := n.Run(n.t.Context(), "", name, args...)
	require.NoError(n.t, err)
	return out
}

// PowerOff ends everything on the node at once, containers included.
func (n *Node) PowerOff() { n.halt() }

// PowerOn starts the machine and its dockerd again. Its containers have ended; the agent isn't started.
func (n *Node) PowerOn() { n.t.Helper(); require.NoError(n.t, n.turnOn()) }

// ContainerDial connects from inside of a running container.
func (n *Node) ContainerDial(id string) DialFunc {
	n.t.Helper()
	return DialFrom(filepath.Join("/proc", n.pid(), "root/proc", n.Docker("inspect", "--format", "{{.State.Pid}}", id), "ns/net"))
}
