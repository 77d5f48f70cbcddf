package archive_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/archive"
	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/conformance"
	"github.com/wakehq/wake/events/jetstream"
	"github.com/wakehq/wake/events/memory"
)

// stream is a ledger that can be archived and that takes foreign messages.
type stream interface {
	archive.Stream
	events.Trimmer
	Raw(subject string, header map[string]string, payload []byte) error
}

// testLedger also takes messages that aren't events.
type testLedger struct {
	*archive.Ledger
	conformance.RawWriter
}

// busy is a keeper that leaves next to nothing in the stream.
var busy = archive.Config{Cluster: "test", SegmentEvents: 7, KeepEvents: 3}

func openDir(t testing.TB, dir string, config archive.Config) *archive.Archive {
	t.Helper()
	store, err := archive.OpenDir(dir)
	require.NoError(t, err)
	a, err := archive.Open(t.Context(), store, config)
	require.NoError(t, err)
	return a
}

// keep runs a keeper as fast as it can until the test ends.
func keep(t testing.TB, a *archive.Archive, s archive.Source) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		keeper := archive.NewKeeper(a, s)
		for ctx.Err() == nil {
			if err := keeper.Step(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, nats.ErrConnectionClosed) {
				assert.NoError(t, err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// kept returns s with an archive that is kept while the test runs.
func kept(t testing.TB, s stream) testLedger {
	t.Helper()
	a := openDir(t, t.TempDir(), busy)
	l, err := archive.NewLedger(t.Context(), s, a)
	require.NoError(t, err)
	keep(t, a, s)
	return testLedger{l, s}
}

// onBroker is a stream on a broker of its own.
type onBroker struct {
	*jetstream.Ledger
	conn *nats.Conn
}

func (l onBroker) Raw(subject string, header map[string]string, payload []byte) error {
	msg := nats.NewMsg(subject)
	msg.Data = payload
	for name, value := range header {
		msg.Header[name] = []string{value}
	}
	_, err := l.conn.RequestMsg(msg, nats.DefaultTimeout)
	return err
}

func openBroker(t testing.TB, dir string) onBroker {
	t.Helper()
	b, err := broker.Start(broker.Config{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	conn, err := b.Ledger()
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	l, err := jetstream.Open(t.Context(), conn, jetstream.Config{})
	require.NoError(t, err)
	return onBroker{l, conn}
}

func TestConformanceInMemory(t *testing.T) {
	conformance.Run(t, func(t *testing.T) events.Ledger { return kept(t, memory.New(memory.Faults{})) })
}

func TestConformanceOnBroker(t *testing.T) {
	conformance.Run(t, func(t *testing.T) events.Ledger { return kept(t, openBroker(t, t.TempDir())) })
}

func TestHistoriesInMemory(t *testing.T) {
	conformance.Histories(t, 200, func(t *testing.T) events.Ledger { return kept(t, memory.New(memory.Faults{})) })
}

func TestHistoriesOnBroker(t *testing.T) {
	conformance.Histories(t, 40, func(t *testing.T) events.Ledger { return kept(t, openBroker(t, t.TempDir())) })
}
