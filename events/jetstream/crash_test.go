package jetstream_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/jetstream"
)

// crashDir tells the test binary that it is the child of TestKill: it appends to a ledger there until it is killed.
const crashDir = "WAKE_TEST_CRASH_DIR"

const crashBatch = 20

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Println("error", appendForever(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// appendForever appends single events, pipelines and batches in turn, and prints a line for each acknowledged append: the revision of its
// first event and the name of its objects.
func appendForever(dir string) error {
	b, err := broker.Start(broker.Config{Dir: dir})
	if err != nil {
		return err
	}
	conn, err := b.Ledger()
	if err != nil {
		return err
	}
	l, err := jetstream.Open(context.Background(), conn, jetstream.Config{})
	if err != nil {
		return err
	}
	run := os.Getpid()
	for i := 0; ; i++ {
		name := fmt.Sprintf("r%d-%d", run, i)
		proposals := make([]events.Proposal, 1)
		if i%3 != 0 {
			proposals = make([]events.Proposal, crashBatch)
		}
		for k := range proposals {
			proposals[k] = podProposal(fmt.Sprintf("%s-%d", name, k), 200)
		}
		if i%3 == 1 {
			for k, r := range l.AppendEach(context.Background(), proposals) {
				if r.Err != nil {
					return r.Err
				}
				fmt.Println(r.Revision, fmt.Sprintf("%s-%d", name, k))
			}
			continue
		}
		last, err := l.Append(context.Background(), proposals...)
		if err != nil {
			return err
		}
		for k := range proposals {
			fmt.Println(last-events.Revision(len(proposals)-1-k), fmt.Sprintf("%s-%d", name, k))
		}
	}
}

func podProposal(name string, size int) events.Proposal {
	return events.Proposal{Event: events.Event{Facet: events.Desired, Ref: events.Ref{Resource: "pods", Namespace: "default", Name: name}, UID: name,
		Type: "PodCreated", Payload: make([]byte, size)}}
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[events.Revision]string{}
	for range 5 {
		killWhileAppending(t, dir, 200, acknowledged)
		checkAfterKill(t, dir, acknowledged)
	}
}

// killWhileAppending runs a child, reads some of its acknowledgements, kills it, and reads what else it had been told.
func killWhileAppending(t *testing.T, dir string, lines int, acknowledged map[events.Revision]string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	scanner := bufio.NewScanner(out)
	seen := 0
	for scanner.Scan() {
		require.False(t, strings.HasPrefix(scanner.Text(), "error"), scanner.Text())
		var revision events.Revision
		var name string
		if _, err := fmt.Sscan(scanner.Text(), &revision, &name); err != nil {
			break // cut off by the kill
		}
		acknowledged[revision] = name
		if seen++; seen == lines {
			require.NoError(t, child.Process.Kill())
		}
	}
	_, _ = io.Copy(io.Discard, out)
	require.Error(t, child.Wait(), "it was killed")
	require.GreaterOrEqual(t, seen, lines)
}

func checkAfterKill(t *testing.T, dir string, acknowledged map[events.Revision]string) {
	t.Helper()
	b, err := broker.Start(broker.Config{Dir: dir})
	require.NoError(t, err, "the directory is free at once")
	defer func() { require.NoError(t, b.Close()) }()
	l := openLedger(t, connect(t, b))
	got := map[events.Revision]string{}
	batches := map[string]int{}
	var previous events.Revision
	require.NoError(t, l.Read(t.Context(), events.Query{}, func(e events.Event) bool {
		require.Equal(t, previous+1, e.Revision)
		previous = e.Revision
		got[e.Revision] = e.Ref.Name
		batches[e.Ref.Name[:strings.LastIndexByte(e.Ref.Name, '-')]]++
		return true
	}))
	for revision, name := range acknowledged {
		require.Equal(t, name, got[revision], "revision %d was acknowledged", revision)
	}
	for name, count := range batches {
		var run, i int
		_, err := fmt.Sscanf(name, "r%d-%d", &run, &i)
		require.NoError(t, err)
		if i%3 == 2 {
			require.Equal(t, crashBatch, count, "batch %s is whole or not there", name)
		}
	}
	last, _, err := l.Last(t.Context())
	require.NoError(t, err)
	require.Equal(t, previous, last)
	_, err = l.Append(t.Context(), podProposal(fmt.Sprintf("r0-%d-0", 3*previous), 10))
	require.NoError(t, err)
}
