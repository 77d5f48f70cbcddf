package fabric

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// first is a machine's first process: it mounts what a machine has for itself, says so, and stays until its input ends, taking in orphans meanwhile.
const first = `mount --make-rslave / && mount -t proc proc /proc && mount -t tmpfs tmpfs /run && hostname "$1" && ip link set lo up && echo up && read -r _`

// Machine is one of the fabric's machines.
type Machine struct {
	Name string
	// Addr is its address on its link.
	Addr netip.Addr

	f      *Fabric
	index  int
	isNode bool
	net    netip.Prefix // of its link
	via    netip.Addr   // the router

	init *exec.Cmd // nil while the power is off
	keep io.Closer // of its input
}

// dir is where the machine's files are: its disk.
func (m *Machine) dir() string { return filepath.Join(m.f.dir, m.Name) }

// boot starts the machine's first process, with nothing but a loopback interface.
func (m *Machine) boot() error {
	if err := os.MkdirAll(m.dir(), 0o700); err != nil {
		return err
	}
	cmd := exec.Command("bash", "-c", first, "fabric-"+m.Name, m.Name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS, Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(m.dir(), "boot.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("machine %s: making namespaces needs root: %w", m.Name, err)
	}
	m.init, m.keep = cmd, in
	if _, err := io.ReadFull(out, make([]byte, len("up\n"))); err != nil {
		said, _ := os.ReadFile(log.Name())
		return fmt.Errorf("machine %s didn't come up: %w: %s", m.Name, err, said)
	}
	return nil
}

// turnOn boots a machine and connects it. A node's dockerd is started, and answers.
func (m *Machine) turnOn() error {
	if err := m.boot(); err != nil {
		return err
	}
	if err := m.plug(); err != nil {
		return err
	}
	if !m.isNode {
		return nil
	}
	return m.startDocker()
}

// halt ends everything on the machine at once.
func (m *Machine) halt() {
	if m.init == nil {
		return
	}
	_ = m.init.Process.Kill()
	_ = m.init.Wait() // it was killed
	_ = m.keep.Close()
	m.init = nil
}

// On says whether the machine has power.
func (m *Machine) On() bool { return m.init != nil }

// pid is of the machine's first process, as this machine counts.
func (m *Machine) pid() string {
	if m.init == nil {
		return "0"
	}
	return strconv.Itoa(m.init.Process.Pid)
}

// inside are nsenter's arguments for a program on the machine.
func (m *Machine) inside(name string, args ...string) []string {
	return append([]string{"-t", m.pid(), "-n", "-m", "-u", "-p", "--", name}, args...)
}

// Run runs a program on the machine to its end and returns its output.
func (m *Machine) Run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	if m.init == nil {
		return "", fmt.Errorf("machine %s is off", m.Name)
	}
	return call(ctx, stdin, "nsenter", m.inside(name, args...)...)
}

// Process is a program that runs on a machine.
type Process struct {
	Name string
	on   *Machine
	cmd  *exec.Cmd
	pid  int
	done chan struct{}
}

// Start starts a program on the machine. What it says is in <its machine>/<name>.log.
func (m *Machine) Start(name, program string, args ...string) (*Process, error) {
	if m.init == nil {
		return nil, fmt.Errorf("machine %s is off", m.Name)
	}
	log, err := os.OpenFile(m.log(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command("nsenter", m.inside(program, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "HOME="+m.dir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s on %s: %w", name, m.Name, err)
	}
	p := &Process{Name: name, cmd: cmd, done: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.done) }()
	// nsenter is only the parent of what runs on the machine.
	for p.pid == 0 {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if _, scanned := fmt.Sscan(string(children), &p.pid); err != nil || scanned != nil {
			select {
			case <-p.done:
				said, _ := os.ReadFile(m.log(name))
				return nil, fmt.Errorf("%s on %s ended at once: %s", name, m.Name, said)
			case <-time.After(time.Millisecond):
			}
		}
	}
	return p, nil
}

func (m *Machine) log(name string) string { return filepath.Join(m.dir(), name+".log") }

// Signal sends a signal to the process.
func (p *Process) Signal(s syscall.Signal) {
	_ = syscall.Kill(p.pid, s)
	if s == syscall.SIGCONT || s == syscall.SIGKILL {
		_ = syscall.Kill(p.cmd.Process.Pid, syscall.SIGCONT) // nsenter stops itself when what it runs is stopped
	}
}

// Kill ends the process as nothing can prevent, and waits for its end.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Stop ends the process as an init system does, and waits for its end.
func (p *Process) Stop() {
	p.Signal(syscall.SIGTERM)
	<-p.done
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Within calls do on a thread that is in the machine's network; sockets that it opens stay there. do must not start goroutines that open others.
func (m *Machine) Within(do func() error) error {
	if m.init == nil {
		return fmt.Errorf("machine %s is off", m.Name)
	}
	return within("/proc/"+m.pid()+"/ns/net", do)
}

// within calls do in the network namespace of a file.
func within(file string, do func() error) error {
	there, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = there.Close() }()
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer func() { _ = here.Close() }()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering %s: %w", file, err)
	}
	err = do()
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back) // the thread ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// Dial connects from the machine to an address, which must not be a name.
func (m *Machine) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = m.Within(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
