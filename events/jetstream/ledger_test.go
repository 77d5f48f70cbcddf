package jetstream_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/conformance"
	"github.com/wakehq/wake/events/jetstream"
)

func startBroker(t testing.TB, config broker.Config) *broker.Broker {
	t.Helper()
	b, err := broker.Start(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func connect(t testing.TB, b *broker.Broker) *nats.Conn {
	t.Helper()
	conn, err := b.Ledger()
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	return conn
}

// rawLedger also takes messages that aren't events.
type rawLedger struct {
	*jetstream.Ledger
	conn *nats.Conn
}

func (l rawLedger) Raw(subject string, header map[string]string, payload []byte) error {
	msg := nats.NewMsg(subject)
	msg.Data = payload
	for name, value := range header {
		msg.Header[name] = []string{value}
	}
	_, err := l.conn.RequestMsg(msg, nats.DefaultTimeout)
	return err
}

func openLedger(t testing.TB, conn *nats.Conn) rawLedger {
	t.Helper()
	l, err := jetstream.Open(t.Context(), conn, jetstream.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return rawLedger{l, conn}
}

// fresh opens an empty ledger on a broker of its own.
func fresh(t testing.TB) rawLedger {
	t.Helper()
	return openLedger(t, connect(t, startBroker(t, broker.Config{Dir: t.TempDir()})))
}

func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T) events.Ledger { return fresh(t) })
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	b, err := broker.Start(broker.Config{Dir: dir})
	require.NoError(t, err)
	conn, err := b.Ledger()
	require.NoError(t, err)
	conformance.Restart(t, openLedger(t, conn), func() events.Ledger {
		conn.Close()
		require.NoError(t, b.Close())
		return openLedger(t, connect(t, startBroker(t, broker.Config{Dir: dir})))
	})
}

func TestHistories(t *testing.T) {
	conformance.Histories(t, 1000, func(t *testing.T) events.Ledger { return fresh(t) })
}
