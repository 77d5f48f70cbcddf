package vm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The archive is what cpio reads, to the byte.
func TestArchive(t *testing.T) {
	var out bytes.Buffer
	a := newArchive(&out)
	source := filepath.Join(t.TempDir(), "source")
	require.NoError(t, os.WriteFile(source, []byte("content"), 0o755))
	require.NoError(t, a.mkdir("proc"))
	require.NoError(t, a.text("etc/deep/name", "text", 0o644))
	require.NoError(t, a.file("bin/tool", source))
	require.NoError(t, a.close())

	entries := readArchive(t, out.Bytes())
	require.Equal(t, []string{
		"proc 40755 ", "etc 40755 ", "etc/deep 40755 ", "etc/deep/name 100644 text", "bin 40755 ", "bin/tool 100755 content",
	}, entries)
}

// readArchive is an independent reader of the "newc" format.
func readArchive(t *testing.T, data []byte) []string {
	t.Helper()
	var entries []string
	for at := 0; ; {
		require.Equal(t, "070701", string(data[at:at+6]))
		field := func(i int) (n int) {
			_, err := fmt.Sscanf(string(data[at+6+8*i:at+14+8*i]), "%x", &n)
			require.NoError(t, err)
			return n
		}
		mode, size, nameLen := field(1), field(6), field(11)
		name := string(data[at+110 : at+110+nameLen-1])
		body := (at + 110 + nameLen + 3) &^ 3
		if name == "TRAILER!!!" {
			return entries
		}
		entries = append(entries, fmt.Sprintf("%s %o %s", name, mode, data[body:body+size]))
		at = (body + size + 3) &^ 3
	}
}

func TestReader(t *testing.T) {
	var out bytes.Buffer
	r := &reader{out: &out}
	feed := func(parts ...string) {
		for _, part := range parts {
			_, err := r.Write([]byte(part))
			require.NoError(t, err)
		}
	}
	feed("the firmware speaks\r\n", startMark+"\n", "one\ntw", "o\n")
	_, ended := r.result()
	require.False(t, ended)
	feed("no newline", endMark[:4], endMark[4:]+"13", "7\n", "the kernel speaks\n")
	result, ended := r.result()
	require.True(t, ended)
	require.Equal(t, 137, result.Exit)
	require.Equal(t, "one\ntwo\nno newline", strings.Split(out.String(), "the kernel")[0])
}

func TestTally(t *testing.T) {
	tally := &Tally{Out: io.Discard}
	_, err := io.WriteString(tally, "=== RUN   TestA\n--- PASS: TestA (0.1s)\n    --- PASS: TestA/b (0.1s)\n--- FA")
	require.NoError(t, err)
	require.False(t, tally.Benchmarks)
	_, err = io.WriteString(tally, "IL: TestB (0s)\n--- SKIP: TestC (0s)\nBenchmarkX\nBenchmarkX  \t  1\t  5 ns/op\n")
	require.NoError(t, err)
	require.Equal(t, "2 passed, 1 failed, 1 skipped", tally.String())
	require.True(t, tally.Benchmarks)
}

func TestScriptQuotes(t *testing.T) {
	text := script([]string{"veth.ko"}, Job{Program: "some/tests", Args: []string{"-run", "a'b $HOME"}, Env: []string{"X=y z"}})
	said, err := exec.Command("sh", "-c", "set -- "+between(t, text, "\n'/program/tests'", ">/dev/ttyS1")+`; printf '%s|' "$@"`).Output()
	require.NoError(t, err)
	require.Equal(t, "-run|a'b $HOME|", string(said))
	require.Contains(t, text, "insmod /modules/veth.ko")
	require.Contains(t, text, "export 'X=y z'")
}

func between(t *testing.T, text, from, to string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, from)
	require.True(t, ok)
	found, _, ok := strings.Cut(rest, to)
	require.True(t, ok)
	return found
}

func TestMissingPartsNameTheRemedy(t *testing.T) {
	_, err := Machine{Parts: t.TempDir()}.Run(t.Context(), Job{Program: "/bin/true"}, io.Discard)
	require.ErrorContains(t, err, "deploy/vm.sh")
}

// TestMachine boots machines. Only deploy/vm.sh runs it, which sees to the parts.
func TestMachine(t *testing.T) {
	parts := os.Getenv("WAKE_VM_CACHE")
	if parts == "" {
		t.Skip("deploy/vm.sh (go tool task vm) runs this")
	}
	shell := func(text string) Job {
		return Job{Program: filepath.Join(parts, "busybox"), Args: []string{"sh", "-c", text}, Env: []string{"WHO=me"}, Files: map[string]string{"a/b": "testdata/file"}}
	}
	t.Run("a job's output and exit status", func(t *testing.T) {
		var out bytes.Buffer
		result, err := Machine{Modules: []string{"dummy", "nf_tables"}, Programs: []string{"nft"}}.Run(t.Context(),
			shell(`echo "$WHO"; echo oops >&2; head -n 1 a/b; lsmod | grep -c ^dummy; nft add table ip x; nft list tables; exit 3`), &out)
		require.NoError(t, err)
		require.Equal(t, 3, result.Exit)
		require.Equal(t, "me\noops\nwhat a file holds\n1\ntable ip x\n", out.String())
		require.Positive(t, result.Boot)
		require.Positive(t, result.Run)
	})
	t.Run("a panic", func(t *testing.T) {
		_, err := Machine{}.Run(t.Context(), shell("echo c >/proc/sysrq-trigger"), io.Discard)
		require.ErrorIs(t, err, ErrCrashed)
		require.ErrorContains(t, err, "Kernel panic")
	})
	t.Run("too long", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		_, err := Machine{}.Run(ctx, shell("sleep 1000"), io.Discard)
		require.ErrorIs(t, err, ErrTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestModuleNames(t *testing.T) {
	require.Equal(t, "crc32c_intel", moduleName("kernel/arch/x86/crypto/crc32c-intel.ko.xz"))
	m := modules{files: map[string]string{}, builtin: map[string]bool{"libcrc32c": true}}
	files, err := m.order("libcrc32c")
	require.NoError(t, err)
	require.Empty(t, files)
	_, err = m.order("ip_vs")
	require.ErrorContains(t, err, "no module ip_vs")
}
