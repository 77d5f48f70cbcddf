package jetstream_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/broker"
)

func TestDiskFull(t *testing.T) {
	dir := smallDisk(t, 48)
	filler := filepath.Join(dir, "filler")
	require.NoError(t, os.WriteFile(filler, make([]byte, 32<<20), 0o600))
	b := startBroker(t, broker.Config{Dir: filepath.Join(dir, "ledger")})
	l := openLedger(t, connect(t, b))

	acknowledged := 0
	var refused error
	for ; refused == nil; acknowledged++ {
		require.Less(t, acknowledged, 100, "the disk is full by then")
		_, refused = l.Append(t.Context(), podProposal(fmt.Sprint("p", acknowledged), 512<<10))
	}
	acknowledged--
	t.Log(refused)
	for _, part := range []string{"no space left", dir, "free some", "nothing that was acknowledged is lost"} {
		require.ErrorContains(t, refused, part)
	}
	require.ErrorContains(t, b.Health(), "no space left")
	_, err := l.Append(t.Context(), podProposal("x", 1), podProposal("y", 1))
	require.ErrorContains(t, err, "no space left", "batches too")
	require.ErrorContains(t, l.AppendEach(t.Context(), []events.Proposal{podProposal("z", 1)})[0].Err, "no space left")
	count := func() (n int) {
		require.NoError(t, l.Read(t.Context(), events.Query{}, func(events.Event) bool {
			n++
			return true
		}))
		return n
	}
	require.GreaterOrEqual(t, count(), acknowledged, "reads go on")

	require.NoError(t, os.Remove(filler))
	began := time.Now()
	for b.Health() != nil {
		require.Less(t, time.Since(began), time.Minute, "the broker notices that there is space")
		time.Sleep(10 * time.Millisecond) // the broker polls the disk: there is nothing to wait on
	}
	t.Logf("writable again after %s", time.Since(began))
	before := count()
	require.GreaterOrEqual(t, before, acknowledged, "nothing acknowledged is lost")
	_, err = l.Append(t.Context(), podProposal(fmt.Sprint("p", acknowledged), 512<<10))
	if before == acknowledged {
		require.NoError(t, err)
	}
	_, err = l.Append(t.Context(), podProposal("x", 1), podProposal("y", 1))
	require.NoError(t, err)
}

// smallDisk mounts a file system of some MiB, which takes root.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+strconv.Itoa(mib)+"m", "wake-test", dir).CombinedOutput()
	require.NoError(t, err, "mounting a small disk takes root: %s", out)
	t.Cleanup(func() {
		out, err := exec.Command("umount", dir).CombinedOutput()
		require.NoError(t, err, string(out))
	})
	return dir
}
