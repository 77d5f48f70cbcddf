package jetstream_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/conformance"
	"github.com/wakehq/wake/events/jetstream"
)

const replicas = 3

// trio is three brokers that hold a ledger together.
type trio struct {
	configs []broker.Config
	brokers []*broker.Broker
}

func freePorts(t testing.TB, n int) []string {
	t.Helper()
	// An address of this process: whoever takes ports of 127.0.0.1 can't take these before they are used.
	pid := os.Getpid()
	host := fmt.Sprintf("127.%d.%d.%d:0", 64+pid>>16&63, pid>>8&255, 1+pid&127)
	var out []string
	for range n {
		l, err := net.Listen("tcp", host)
		require.NoError(t, err)
		defer func() { _ = l.Close() }()
		out = append(out, l.Addr().String())
	}
	return out
}

func startTrio(t testing.TB) *trio {
	t.Helper()
	c := &trio{brokers: make([]*broker.Broker, replicas)}
	routes := freePorts(t, replicas)
	dir := t.TempDir()
	for i := range replicas {
		var peers []string
		for j, route := range routes {
			if j != i {
				peers = append(peers, route)
			}
		}
		c.configs = append(c.configs, broker.Config{Dir: filepath.Join(dir, strconv.Itoa(i)), Log: slog.New(slog.DiscardHandler), Listen: "127.0.0.1:0",
			Cluster: &broker.Cluster{Name: "test", Server: fmt.Sprintf("b%d", i), Listen: routes[i], Peers: peers}})
	}
	var starting sync.WaitGroup
	errs := make([]error, replicas)
	for i := range replicas {
		starting.Go(func() { c.brokers[i], errs[i] = broker.Start(c.configs[i]) })
	}
	starting.Wait()
	t.Cleanup(func() {
		for _, b := range c.brokers {
			if b != nil {
				_ = b.Close()
			}
		}
	})
	for _, err := range errs {
		require.NoError(t, err)
	}
	return c
}

// open opens the ledger at one of the brokers, as soon as there is a majority.
func (c *trio) open(t testing.TB, at int) rawLedger {
	t.Helper()
	conn := connect(t, c.brokers[at])
	var l *jetstream.Ledger
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var err error
		l, err = jetstream.Open(ctx, conn, jetstream.Config{Replicas: replicas})
		return err == nil
	}, time.Minute, 100*time.Millisecond)
	t.Cleanup(func() { _ = l.Close() })
	return rawLedger{l, conn}
}

// leader tells which broker leads the ledger's stream.
func leader(t testing.TB, conn *nats.Conn) string {
	t.Helper()
	js, err := natsjs.New(conn)
	require.NoError(t, err)
	name := ""
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		stream, err := js.Stream(ctx, jetstream.StreamName)
		if err == nil && stream.CachedInfo().Cluster != nil {
			name = stream.CachedInfo().Cluster.Leader
		}
		return name != ""
	}, 30*time.Second, 100*time.Millisecond)
	return name
}

func TestReplicatedConformance(t *testing.T) {
	c := startTrio(t)
	turn := 0
	conformance.Run(t, func(t *testing.T) events.Ledger {
		js, err := natsjs.New(connect(t, c.brokers[0]))
		require.NoError(t, err)
		if turn > 0 {
			require.NoError(t, js.DeleteStream(t.Context(), jetstream.StreamName))
		}
		turn++
		return c.open(t, turn%replicas)
	})
}

// What three brokers acknowledge is there when one of them ends, and appends go on at once if it ends cleanly: it hands over first.
func TestABrokerEndsUnderWriters(t *testing.T) {
	const election = 4 * time.Second // takes at least so long, if nothing is handed over
	slowest := endUnderWriters(t)
	for range 2 { // a busy machine may be as slow once
		if slowest >= election {
			slowest = endUnderWriters(t)
		}
	}
	require.Less(t, slowest, election, "a broker that ends cleanly hands over")
}

// endUnderWriters ends the leader of three brokers while events are appended, and returns how long the slowest append took.
func endUnderWriters(t *testing.T) (slowest time.Duration) {
	c := startTrio(t)
	name := leader(t, c.open(t, 0).conn)
	at, err := strconv.Atoi(name[1:])
	require.NoError(t, err)
	l := c.open(t, (at+1)%replicas)
	appended := make(chan events.Revision, 1<<20)
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	t.Cleanup(func() { cancel(); writing.Wait() })
	writing.Go(func() {
		defer close(appended)
		for i := 0; ctx.Err() == nil; i++ {
			began := time.Now()
			revision, err := l.Append(context.WithoutCancel(ctx), events.Proposal{Event: events.Event{Ref: events.Ref{Resource: "pods", Namespace: "default", Name: fmt.Sprint("p", i)},
				UID: "u", Type: "PodCreated", Payload: []byte("p")}})
			if err != nil {
				t.Errorf("append %d: %v", i, err)
				return
			}
			slowest = max(slowest, time.Since(began))
			appended <- revision
		}
	})
	require.Eventually(t, func() bool { return len(appended) > 100 }, time.Minute, time.Millisecond)
	require.NoError(t, c.brokers[at].Close())
	before := len(appended)
	require.Eventually(t, func() bool { return len(appended) > before+100 }, time.Minute, time.Millisecond)
	cancel()
	writing.Wait()
	t.Logf("the slowest append took %s", slowest)
	held := map[events.Revision]bool{}
	require.NoError(t, l.Read(t.Context(), events.Query{}, func(e events.Event) bool {
		held[e.Revision] = true
		return true
	}))
	for revision := range appended {
		require.True(t, held[revision], "revision %d was acknowledged", revision)
	}
	return slowest
}
