package nodewire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events/broker"
)

// feed is a node feed that a test holds in its hands.
type feed struct {
	mu      sync.Mutex
	full    Slice
	asked   int
	reports []PodReport
	beat    Beat
}

func (f *feed) Snapshot(context.Context, string) (Slice, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return f.full, nil
}

func (f *feed) Pod(_ context.Context, node string, r PodReport) Answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if node != "node.one" {
		return Answer{Error: "who is " + node, Gone: true}
	}
	f.reports = append(f.reports, r)
	return Answer{Revision: uint64(len(f.reports))}
}

func (f *feed) Node(context.Context, string, NodeReport) Answer { return Answer{} }

func (f *feed) Overhear(string, NodeReport) {}

func (f *feed) Heartbeat(context.Context, string) (Beat, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.beat, nil
}

func (f *feed) set(full Slice, beat Beat) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.full, f.beat = full, beat
}

// connect starts a broker, a feed and the client of a node whose name needs escaping.
func connect(t *testing.T) (*feed, *Server, *Client) {
	b, err := broker.Start(broker.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	conns := [2]*Server{}
	for i := range conns {
		conn, err := b.Nodes()
		require.NoError(t, err)
		t.Cleanup(conn.Close)
		conns[i] = NewServer(conn)
	}
	f := &feed{full: Slice{Node: "node.one", Epoch: "a", Revision: 10, Full: true, Objects: []Object{{Resource: Pods, Name: "web"}}}}
	go func() { _ = conns[0].Serve(t.Context(), f) }()
	client := NewClient(conns[1].conn, "node.one")
	require.Eventually(t, func() bool { return client.Heartbeat(t.Context()) == nil }, 20*time.Second, time.Millisecond)
	return f, conns[0], client
}

func next(t *testing.T, slices <-chan Slice) Slice {
	t.Helper()
	select {
	case s := <-slices:
		return s
	case <-time.After(10 * time.Second):
		require.FailNow(t, "no slice came")
		return Slice{}
	}
}

func TestSlicesFormAnUnbrokenChain(t *testing.T) {
	f, server, client := connect(t)
	slices, err := client.Slices(t.Context())
	require.NoError(t, err)
	require.Equal(t, f.full, next(t, slices))

	require.NoError(t, server.Publish(Slice{Node: "node.one", Epoch: "a", Previous: 5, Revision: 10}))
	require.NoError(t, server.Publish(Slice{Node: "node.one", Epoch: "a", Previous: 10, Revision: 12}))
	require.EqualValues(t, 12, next(t, slices).Revision, "what the full slice held already is passed over")

	t.Run("a gap asks for a full slice", func(t *testing.T) {
		f.set(Slice{Node: "node.one", Epoch: "a", Revision: 15, Full: true}, Beat{})
		require.NoError(t, server.Publish(Slice{Node: "node.one", Epoch: "a", Previous: 13, Revision: 14}))
		s := next(t, slices)
		require.True(t, s.Full)
		require.EqualValues(t, 15, s.Revision)
	})
	t.Run("so does another feed", func(t *testing.T) {
		f.set(Slice{Node: "node.one", Epoch: "b", Revision: 16, Full: true}, Beat{})
		require.NoError(t, server.Publish(Slice{Node: "node.one", Epoch: "b", Previous: 15, Revision: 16}))
		require.Equal(t, "b", next(t, slices).Epoch)
	})
	t.Run("and a heartbeat that tells of a slice that never came", func(t *testing.T) {
		f.set(Slice{Node: "node.one", Epoch: "b", Revision: 20, Full: true}, Beat{Epoch: "b", Revision: 20})
		require.Eventually(t, func() bool { // a beat before the client has noted the slice of before tells it nothing
			require.NoError(t, client.Heartbeat(t.Context()))
			select {
			case s := <-slices:
				return s.Revision == 20
			default:
				return false
			}
		}, 20*time.Second, time.Millisecond)
	})
}

// A feed that took over may lag behind: what it doesn't know yet is not to be taken from the node.
func TestAFullSliceStepsNotBack(t *testing.T) {
	f, _, client := connect(t)
	slices, err := client.Slices(t.Context())
	require.NoError(t, err)
	require.Equal(t, uint64(10), next(t, slices).Revision)
	asked := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.asked
	}
	f.set(Slice{Node: "node.one", Epoch: "b", Revision: 9, Full: true}, Beat{Epoch: "b", Revision: 9})
	require.Eventually(t, func() bool { return client.Heartbeat(t.Context()) == nil && asked() > 2 }, 20*time.Second, time.Millisecond, "it asks until the feed has caught up")
	select {
	case s := <-slices:
		require.Fail(t, "it was given what there was before", "%+v", s)
	default:
	}
	f.set(Slice{Node: "node.one", Epoch: "b", Revision: 11, Full: true}, Beat{Epoch: "b", Revision: 11})
	require.Equal(t, uint64(11), next(t, slices).Revision)
}

func TestLargeSlicesTravelInParts(t *testing.T) {
	f, server, client := connect(t)
	var objects []Object
	for i := range 5 {
		objects = append(objects, Object{Resource: Secrets, Name: fmt.Sprint(i), Data: []byte(strings.Repeat("x", maxMessageBytes*2/5))})
	}
	f.set(Slice{Node: "node.one", Epoch: "a", Revision: 10, Full: true, Objects: objects}, Beat{})
	slices, err := client.Slices(t.Context())
	require.NoError(t, err)
	require.Equal(t, objects, next(t, slices).Objects)
	require.NoError(t, server.Publish(Slice{Node: "node.one", Epoch: "a", Previous: 10, Revision: 11, Objects: objects}))
	s := next(t, slices)
	require.Equal(t, objects, s.Objects)
	require.EqualValues(t, 11, s.Revision)
}

func TestReportsAreAnswered(t *testing.T) {
	f, _, client := connect(t)
	var answer Answer
	require.Eventually(t, func() bool { // the feed begins to listen to one verb after the other
		var err error
		answer, err = client.ReportPod(t.Context(), PodReport{Name: "web", Type: "PodStarted"})
		return err == nil
	}, 20*time.Second, time.Millisecond)
	require.Equal(t, Answer{Revision: 1}, answer)
	require.Equal(t, "PodStarted", f.reports[0].Type)
}

func TestLogs(t *testing.T) {
	_, server, client := connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_ = client.ServeLogs(ctx, func(_ context.Context, r LogRequest, w io.Writer) error {
			if r.Name == "bad" {
				return errors.New("no such container")
			}
			_, err := w.Write([]byte(strings.Repeat("line\n", 50_000)))
			return err
		})
	}()
	read := func(name string) (string, error) {
		r, err := server.Logs(t.Context(), "node.one", LogRequest{Name: name})
		require.NoError(t, err)
		defer func() { _ = r.Close() }()
		text, err := io.ReadAll(r)
		return string(text), err
	}
	require.Eventually(t, func() bool { _, err := read("web"); return err == nil }, 20*time.Second, time.Millisecond)
	text, err := read("web")
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("line\n", 50_000), text)
	_, err = read("bad")
	require.EqualError(t, err, "no such container")
	r, err := server.Logs(t.Context(), "other", LogRequest{})
	require.NoError(t, err)
	_, err = io.ReadAll(r)
	require.ErrorContains(t, err, "node other is not connected")
}
