package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// Machine is what a virtual machine is made of.
type Machine struct {
	// Parts is the directory with vmlinuz, modules/ and busybox. Empty means the one that deploy/vm.sh fills, see DefaultParts.
	Parts string
	// Modules are loaded before the job starts. What they depend on is added.
	Modules []string
	// Programs are names or paths of this machine's programs that the job calls. Their libraries come along.
	Programs []string
	// MemoryMiB and CPUs default to 1024 and 1.
	MemoryMiB, CPUs int
}

// Job is what a machine does.
type Job struct {
	// Program is a file of this machine. It must be static.
	Program string
	Args    []string
	// Env are assignments NAME=value.
	Env []string
	// Files are directories or files of this machine, by their names below the job's working directory.
	Files map[string]string
}

// Result is how a job ended.
type Result struct {
	// Exit is the job's exit status, 128 + n after signal n.
	Exit int
	// Boot is the time from qemu's start to the job's.
	Boot time.Duration
	// Run is the time from the job's start to its end.
	Run time.Duration
}

// The errors of Run, apart from those of making the machine.
var (
	// ErrCrashed says that the machine ended before its job did, by a panic of the kernel for example.
	ErrCrashed = errors.New("the virtual machine ended before its job")
	// ErrTimeout says that the context ended first.
	ErrTimeout = errors.New("the virtual machine was stopped before its job ended")
)

// DefaultParts is where deploy/vm.sh puts the parts: $WAKE_VM_CACHE, or wake/vm in the user's cache directory.
func DefaultParts() (string, error) {
	if dir := os.Getenv("WAKE_VM_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "wake", "vm"), err
}

// Run boots a machine, does the job, copies what it writes (both its output and its errors) to out as it comes, and powers the machine off.
// A job that fails is no error but a Result. Errors of the machine come with the end of what the kernel said.
func (m Machine) Run(ctx context.Context, job Job, out io.Writer) (Result, error) {
	if m.Parts == "" {
		parts, err := DefaultParts()
		if err != nil {
			return Result{}, err
		}
		m.Parts = parts
	}
	dir, err := os.MkdirTemp("", "wake-vm-")
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	initramfs, console := filepath.Join(dir, "initramfs"), filepath.Join(dir, "console")
	if err := m.build(initramfs, job); err != nil {
		return Result{}, fmt.Errorf("making the virtual machine: %w", err)
	}
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", strconv.Itoa(max(m.CPUs, 1)), "-m", strconv.Itoa(defaulted(m.MemoryMiB, 1024)),
		"-nodefaults", "-display", "none", "-no-reboot", "-nic", "none",
		"-kernel", filepath.Join(m.Parts, "vmlinuz"), "-initrd", initramfs,
		"-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on mitigations=off",
		"-serial", "file:"+console, "-serial", "stdio")
	var complaints bytes.Buffer
	reading := &reader{out: out, start: time.Now()}
	qemu.Stdout, qemu.Stderr = reading, &complaints
	qemu.WaitDelay = 5 * time.Second
	err = qemu.Run()
	result, ended := reading.result()
	switch {
	case ended:
		return result, nil
	case ctx.Err() != nil:
		return result, fmt.Errorf("%w: %w%s", ErrTimeout, context.Cause(ctx), tail(console))
	case err != nil:
		return result, fmt.Errorf("%w: qemu: %w: %s%s", ErrCrashed, err, bytes.TrimSpace(complaints.Bytes()), tail(console))
	default:
		return result, fmt.Errorf("%w%s", ErrCrashed, tail(console))
	}
}

func defaulted(value, other int) int {
	if value == 0 {
		return other
	}
	return value
}

// tail gives the end of what the kernel said, on lines of its own.
func tail(console string) string {
	const most = 4000
	said, err := os.ReadFile(console)
	if err != nil || len(bytes.TrimSpace(said)) == 0 {
		return " (the kernel said nothing)"
	}
	return "; the kernel said:\n" + string(bytes.TrimSpace(said[max(0, len(said)-most):]))
}
