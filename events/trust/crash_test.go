package trust_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events/trust"
)

// crashDir tells the test binary that it is the child of TestKill: it witnesses there until it is killed.
const crashDir = "WAKE_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Println("error", witnessForever(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func crashConfig(dir string, b *book) trust.Config {
	return trust.Config{Dir: filepath.Join(dir, "wake.trust"), KeyFile: filepath.Join(dir, "trust.key"), Cluster: "c1", Ledger: b}
}

// witnessForever witnesses a history that grows, signing all the time, and says when it has begun.
func witnessForever(dir string) error {
	b := &book{}
	n, err := trust.Open(crashConfig(dir, b))
	if err != nil {
		return err
	}
	b.write("a", int(n.Status().Revision)+1)
	for round := 0; ; round++ {
		if err := n.Witness(context.Background()); err != nil {
			return err
		}
		if err := n.Sign(); err != nil {
			return err
		}
		if broken := n.Status().Broken; broken != nil {
			return broken
		}
		if round == 0 {
			fmt.Println("witnessing", n.Status().Revision)
		}
		b.write("a", 37)
	}
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	for kill := range 15 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		if kill > 3 { // the first ones are killed while they begin
			line, err := bufio.NewReader(out).ReadString('\n')
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(line, "witnessing"), line)
		}
		time.Sleep(time.Duration(kill*7%23) * time.Millisecond) // the instant of the kill, not synchronisation
		require.NoError(t, child.Process.Kill())
		_ = child.Wait() // was killed
	}
	b := &book{}
	n, err := trust.Open(crashConfig(dir, b))
	require.NoError(t, err)
	require.Nil(t, n.Status().Broken)
	require.Positive(t, n.Status().Revision)
	b.write("a", int(n.Status().Revision))
	require.NoError(t, n.Witness(t.Context()))
	require.NoError(t, n.Sign())
	require.NoError(t, n.Close())
	r, err := trust.Check(t.Context(), b, trust.Options{Dir: filepath.Join(dir, "wake.trust")})
	require.NoError(t, err)
	require.Empty(t, r.Findings)
	require.EqualValues(t, len(b.raws), r.Proven)
	t.Logf("%d events", r.Proven)
}
