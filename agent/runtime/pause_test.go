package runtime

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPauseProgramIsAnExecutable(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		program, err := pauseProgram(arch)
		require.NoError(t, err)
		require.Less(t, len(program), 512)
		name := filepath.Join(t.TempDir(), arch)
		require.NoError(t, os.WriteFile(name, program, 0o755))
		f, err := elf.Open(name)
		require.NoError(t, err)
		require.Equal(t, machine, f.Machine)
		require.Len(t, f.Progs, 1)
		require.Equal(t, uint64(len(program)), f.Progs[0].Filesz)
		require.NoError(t, f.Close())
	}
	_, err := pauseProgram("mips")
	require.ErrorContains(t, err, "mips")
}

// TestPauseProgram runs it as the first process of a process namespace, where a signal that isn't handled does nothing.
func TestPauseProgram(t *testing.T) {
	program, err := pauseProgram(runtime.GOARCH)
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "pause")
	require.NoError(t, os.WriteFile(name, program, 0o755))
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		c := exec.Command(name)
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
		require.NoError(t, c.Start())
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		require.Eventually(t, func() bool { return waits(c.Process.Pid) }, 20*time.Second, time.Millisecond)
		require.NoError(t, c.Process.Signal(syscall.SIGCHLD)) // nothing to reap: it goes on
		require.NoError(t, c.Process.Signal(syscall.SIGHUP))  // not for it
		select {
		case err := <-ended:
			require.Fail(t, "it ended by itself", "%v", err)
		case <-time.After(50 * time.Millisecond):
		}
		require.NoError(t, c.Process.Signal(signal))
		require.NoError(t, <-ended)
	}
}

// waits says that a process sleeps: the pause program does so only once it waits for signals.
func waits(pid int) bool {
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	return err == nil && strings.Contains(string(status), "Name:\tpause\n") && strings.Contains(string(status), "State:\tS")
}
