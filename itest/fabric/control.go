package fabric

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Ports of the control plane.
const (
	apiPort  = "6443"
	gatePort = "4222"
)

// Control is a whole control plane in one process, on a machine. Commands run there too.
type Control struct {
	*Machine
	API
}

// Control returns the control plane of the first of Config.Controls.
func (f *Fabric) Control() *Control {
	f.t.Helper()
	names := f.config.Controls
	if len(names) == 0 {
		names = []string{"control"}
	}
	c := &Control{Machine: f.Machine(names[0])}
	c.API = API{t: f.t, f: f, on: c.Machine,
		settings: func() []string {
			return []string{"KUBECONFIG=" + c.Kubeconfig(), "WAKE_DATA_DIR=" + c.data()}
		},
		server: func() string { return "https://" + c.Addr.String() + ":" + apiPort }}
	return c
}

func (c *Control) data() string { return filepath.Join(c.dir(), "wake") }

// Kubeconfig is the file that leads to the API.
func (c *Control) Kubeconfig() string { return filepath.Join(c.data(), "kubeconfig") }

// Up runs "wake up" without an agent, and waits until the API is ready.
func (c *Control) Up(args ...string) {
	c.t.Helper()
	wake, err := binary("wake")
	require.NoError(c.t, err)
	p, err := c.Start("up", wake, append([]string{"up", "--no-agent", "--data-dir", c.data(), "--listen", c.Addr.String() + ":" + apiPort,
		"--nodes-listen", c.Addr.String() + ":" + gatePort}, args...)...)
	require.NoError(c.t, err)
	c.API.f.keep(c.Machine, p)
	c.ready()
}

// Kill ends the process as nothing can prevent.
func (c *Control) Kill() { c.API.f.process(c.t, c.Machine, "up").Kill() }

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
	p := f.find(m, name)
	require.NotNil(t, p, "%s has not run %s", m.Name, name)
	return p
}

// find returns a machine's process, ended or not; nil if there was none.
func (f *Fabric) find(m *Machine, name string) *Process {
	f.built.mu.Lock()
	defer f.built.mu.Unlock()
	for _, p := range f.built.running {
		if p.on == m && p.Name == name {
			return p
		}
	}
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
