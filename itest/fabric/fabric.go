package fabric

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// Patience is how long a fabric waits for anything.
const Patience = 60 * time.Second

// root is where fabrics keep their files: memory, where dockerd starts faster than on most disks.
const root = "/dev/shm"

// Names of machines that each fabric has.
const (
	Outside = "outside"
	router  = "router"
)

// Config says what a fabric is made of.
type Config struct {
	// Nodes are the names of the machines with a dockerd.
	Nodes []string
	// Controls are the names of the machines for the control plane. Empty means one, "control".
	Controls []string
	// Routed gives each machine a link of its own.
	Routed bool
	// Images are what the nodes' dockerds have beside the demo (wake.dev/demo:1): images of this machine's own Docker Engine.
	Images []string
	// Dockerd are arguments of the nodes' dockerds beside their own. They include --live-restore, without which dockerd ends all containers when it
	// starts again after it was killed.
	Dockerd []string
}

// Fabric is a set of machines and what connects them.
type Fabric struct {
	t      testing.TB
	config Config
	dir    string
	built  *built
}

// built is what the views of a fabric share.
type built struct {
	lock     *os.File
	router   *Machine
	machines []*Machine // without the router
	images   string     // a file that dockerds load

	mu      sync.Mutex
	running []*Process
}

// New makes a fabric that ends with the test. The nodes' dockerds run when it returns; nothing of Wake does.
func New(t testing.TB, config Config) *Fabric {
	t.Helper()
	removeLeftovers(t)
	if len(config.Controls) == 0 {
		config.Controls = []string{"control"}
	}
	f := &Fabric{t: t, config: config, built: &built{}}
	var err error
	f.dir, err = os.MkdirTemp(root, "fabric-")
	require.NoError(t, err)
	f.built.lock, err = lockDirectory(f.dir)
	require.NoError(t, err)
	t.Cleanup(f.end)

	f.built.router = &Machine{f: f, Name: router}
	for i, name := range slices.Concat(config.Controls, config.Nodes, []string{Outside}) {
		require.LessOrEqual(t, len(name), 12, "interfaces are named after machines, and have little room: %s", name)
		require.False(t, slices.ContainsFunc(f.built.machines, func(m *Machine) bool { return m.Name == name }), "two machines are called %s", name)
		m := &Machine{f: f, Name: name, index: i + 1, isNode: slices.Contains(config.Nodes, name)}
		m.settle()
		f.built.machines = append(f.built.machines, m)
	}
	require.NoError(t, f.built.router.boot())
	require.NoError(t, f.lay())
	images := make(chan error, 1)
	go func() {
		if len(config.Nodes) == 0 {
			images <- nil
			return
		}
		images <- f.saveImages()
	}()
	var starting errgroup.Group
	for _, m := range f.built.machines {
		starting.Go(m.turnOn)
	}
	require.NoError(t, starting.Wait())
	require.NoError(t, <-images)
	for _, m := range f.built.machines {
		if m.isNode {
			starting.Go(m.loadImages)
		}
	}
	require.NoError(t, starting.Wait())
	return f
}

// In gives the fabric to a subtest: it fails if anything does.
func (f *Fabric) In(t testing.TB) *Fabric {
	same := *f
	same.t = t
	return &same
}

// Machine returns the machine of that name.
func (f *Fabric) Machine(name string) *Machine {
	f.t.Helper()
	i := slices.IndexFunc(f.built.machines, func(m *Machine) bool { return m.Name == name })
	require.GreaterOrEqual(f.t, i, 0, "the fabric has no machine %s", name)
	return f.built.machines[i]
}

// Node returns the node of that name.
func (f *Fabric) Node(name string) *Node {
	f.t.Helper()
	m := f.Machine(name)
	require.True(f.t, m.isNode, "%s has no dockerd: it isn't one of Config.Nodes", name)
	return &Node{Machine: m, t: f.t, f: f}
}

// Nodes returns all nodes.
func (f *Fabric) Nodes() []*Node {
	f.t.Helper()
	nodes := make([]*Node, len(f.config.Nodes))
	for i, name := range f.config.Nodes {
		nodes[i] = f.Node(name)
	}
	return nodes
}

// Dir is a directory that all machines see, gone with the fabric.
func (f *Fabric) Dir() string { return f.dir }

// Eventually waits until check passes.
func (f *Fabric) Eventually(what string, check func() error) {
	f.t.Helper()
	deadline := time.Now().Add(Patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			require.NoError(f.t, err, "waited %s until %s", Patience, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// end ends all machines, and shows what their programs said if the test failed.
func (f *Fabric) end() {
	if f.t.Failed() {
		f.tell()
	}
	for _, m := range append(f.built.machines, f.built.router) {
		m.halt()
	}
	removeGroups(filepath.Base(f.dir))
	if err := os.RemoveAll(f.dir); err != nil {
		f.t.Errorf("removing the fabric's files: %v", err)
	}
	_ = f.built.lock.Close() // it was only for the lock
}

// tell shows the end of each log.
func (f *Fabric) tell() {
	logs, _ := filepath.Glob(filepath.Join(f.dir, "*", "*.log"))
	for _, name := range logs {
		content, err := os.ReadFile(name)
		if err == nil {
			own, _ := filepath.Rel(f.dir, name)
			f.t.Logf("%s:\n%s", own, content[max(0, len(content)-6000):])
		}
	}
}

// binary is a program that the task that runs these tests has built.
func binary(name string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, "bin", name)
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			break
		}
		return path, nil
	}
	return "", fmt.Errorf("there is no bin/%s: run the tests with go tool task itest", name)
}

// call runs a program of this machine to its end, and says in its error what it said.
func call(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = bytes.NewBufferString(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %q: %w: %s%s", name, args, err, errOut.String(), out.String())
	}
	return out.String(), nil
}
