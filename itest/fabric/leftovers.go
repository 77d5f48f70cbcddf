package fabric

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// lockDirectory marks a fabric's directory as in use until the returned file is closed, or this process ends.
func lockDirectory(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("%s is in use: %w", dir, err)
	}
	return file, nil
}

// removeLeftovers removes what fabrics of processes that were killed have left: files and control groups. Their machines ended with them.
func removeLeftovers(t testing.TB) {
	t.Helper()
	require.NoError(t, dockerAnswers())
	dirs, err := filepath.Glob(filepath.Join(root, "fabric-*"))
	require.NoError(t, err)
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "lock")); err != nil {
			continue // it is being made
		}
		lock, err := lockDirectory(dir)
		if err != nil {
			continue
		}
		removeGroups(filepath.Base(dir))
		require.NoError(t, os.RemoveAll(dir))
		_ = lock.Close() // it was only for the lock
	}
}
