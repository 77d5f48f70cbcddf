package broker_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events/broker"
)

func start(t *testing.T, config broker.Config) *broker.Broker {
	t.Helper()
	b, err := broker.Start(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func TestOneProcessPerDirectory(t *testing.T) {
	dir := t.TempDir()
	b := start(t, broker.Config{Dir: dir})
	_, err := broker.Start(broker.Config{Dir: dir})
	var inUse *broker.InUseError
	require.ErrorAs(t, err, &inUse)
	require.Equal(t, os.Getpid(), inUse.PID)
	require.ErrorContains(t, err, strconv.Itoa(os.Getpid()))
	require.ErrorContains(t, err, dir)
	require.ErrorContains(t, err, "wake down")
	require.NoError(t, b.Close())
	start(t, broker.Config{Dir: dir})
}

func TestAccountsAreApart(t *testing.T) {
	b := start(t, broker.Config{Dir: t.TempDir()})
	ledger, err := b.Ledger()
	require.NoError(t, err)
	defer ledger.Close()
	nodes, err := b.Nodes()
	require.NoError(t, err)
	defer nodes.Close()

	sub, err := ledger.SubscribeSync(">")
	require.NoError(t, err)
	require.NoError(t, ledger.Flush())
	_, err = nodes.Request("ledger.desired.core.pods.default.a", nil, 10*time.Second)
	require.ErrorIs(t, err, nats.ErrNoResponders)
	for _, request := range []string{"INFO", "STREAM.INFO.LEDGER", "STREAM.PURGE.LEDGER"} {
		answer, err := nodes.Request("$JS.API."+request, []byte("{}"), 10*time.Second)
		if err == nil {
			require.Contains(t, string(answer.Data), "not enabled for account", request)
		} else {
			require.ErrorIs(t, err, nats.ErrNoResponders, request)
		}
	}
	require.NoError(t, ledger.Publish("own", nil))
	msg, err := sub.NextMsg(10 * time.Second)
	require.NoError(t, err)
	require.Equal(t, "own", msg.Subject, "nothing of the nodes' came before")
}

func TestListen(t *testing.T) {
	require.Empty(t, start(t, broker.Config{Dir: t.TempDir()}).Address())
	b := start(t, broker.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", Users: []broker.User{
		{Account: broker.NodesAccount, Name: "n1", Password: "secret", Publish: []string{"node.n1.>"}, Subscribe: []string{"node.n1.>", "_INBOX.>"}}}})
	_, err := nats.Connect(b.Address())
	require.ErrorIs(t, err, nats.ErrAuthorization)
	_, err = nats.Connect(b.Address(), nats.UserInfo("n1", "wrong"))
	require.ErrorIs(t, err, nats.ErrAuthorization)

	refused := make(chan error, 1)
	conn, err := nats.Connect(b.Address(), nats.UserInfo("n1", "secret"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	require.NoError(t, err)
	defer conn.Close()
	nodes, err := b.Nodes()
	require.NoError(t, err)
	defer nodes.Close()
	sub, err := nodes.SubscribeSync("node.*.pod")
	require.NoError(t, err)
	require.NoError(t, nodes.Flush())
	require.NoError(t, conn.Publish("node.n2.pod", nil))
	require.NoError(t, conn.Publish("node.n1.pod", nil))
	msg, err := sub.NextMsg(10 * time.Second)
	require.NoError(t, err)
	require.Equal(t, "node.n1.pod", msg.Subject, "a node speaks for itself only")
	require.ErrorIs(t, <-refused, nats.ErrPermissionViolation)
}

func TestBadConfig(t *testing.T) {
	_, err := broker.Start(broker.Config{Dir: t.TempDir(), Users: []broker.User{{Account: "OTHER", Name: "x"}}})
	require.ErrorContains(t, err, "OTHER")
	_, err = broker.Start(broker.Config{Dir: t.TempDir(), Listen: "nonsense"})
	require.ErrorContains(t, err, "nonsense")
	file := t.TempDir() + "/file"
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = broker.Start(broker.Config{Dir: file})
	require.ErrorContains(t, err, file)
}
