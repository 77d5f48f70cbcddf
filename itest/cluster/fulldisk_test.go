package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A ledger whose disk is full refuses writes and says why; reads go on, nothing is lost, and writing goes on once there is space.
func TestAFullDiskRefusesWritesUntilThereIsSpace(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64m", "wake-test", dir).CombinedOutput()
	require.NoError(t, err, "this test mounts a small disk, as root: %s", out)
	t.Cleanup(func() { _ = exec.Command("umount", "--lazy", dir).Run() })
	c := startIn(t, filepath.Join(dir, "data"), "--no-agent")
	c.kubectl("create", "configmap", "before", "--from-literal=a=b")

	filler := filepath.Join(dir, "filler")
	require.NoError(t, fill(filler))
	big := "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: big-}\ndata: {a: " + strings.Repeat("x", 200<<10) + "}\n"
	var refused error
	for i := 0; i < 100 && refused == nil; i++ {
		_, refused = c.run(big, "kubectl", "create", "-f", "-")
	}
	require.ErrorContains(t, refused, "no space left")
	require.Equal(t, "b", c.kubectl("get", "configmap", "before", "-o", "jsonpath={.data.a}"), "reads go on")
	require.Contains(t, c.wake("status"), "no space left")

	require.NoError(t, os.Remove(filler))
	c.eventually("writes go on", func() error {
		_, err := c.tryKubectl("create", "configmap", "after", "--from-literal=a=c")
		return err
	})
	c.kill()
	c.begin()
	for name, value := range map[string]string{"before": "b", "after": "c"} {
		require.Equal(t, value, c.kubectl("get", "configmap", name, "-o", "jsonpath={.data.a}"))
	}
}

// fill writes a file until its disk is full.
func fill(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for block := make([]byte, 64<<10); ; {
		if _, err := f.Write(block); err != nil {
			if strings.Contains(err.Error(), "no space left") {
				return nil
			}
			return fmt.Errorf("filling the disk: %w", err)
		}
	}
}
