package dns

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/proxytest"
)

const webName = "web.shop.svc.cluster.local."

func TestARestartWithoutTheControlPlane(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dns.state")
	first := open(t, Config{State: file})
	require.NoError(t, first.save())
	require.NoFileExists(t, file, "there is nothing to save yet")
	require.NoError(t, first.Apply(everything(t)))
	require.NoError(t, first.save())
	// A process that is killed while it saves leaves this behind.
	require.NoError(t, os.WriteFile(file+".new", []byte("half of"), 0o600))

	second := open(t, Config{State: file})
	start(t, second)
	require.Equal(t, contentsOf(&first.zone.table), contentsOf(&second.zone.table))
	require.Equal(t, "10.96.0.10", said(ask(t, second, "udp", webName, dns.TypeA)))
	require.ErrorIs(t, second.Apply(proxy.Change{}), ErrNotFull, "what was saved isn't what the cluster says")
	require.NoError(t, second.Apply(proxy.Change{Full: true, Services: []*corev1.Service{service("shop", "new", []string{"10.96.0.77"})}}))
	require.Equal(t, "NXDOMAIN SOA", said(ask(t, second, "udp", webName, dns.TypeA)))
	require.NoError(t, second.save())
	third := open(t, Config{State: file})
	require.Equal(t, contentsOf(&second.zone.table), contentsOf(&third.zone.table))
}

func TestWhatIsSavedIsWhatIsAnswered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dns.state")
	rapid.Check(t, func(rt *rapid.T) {
		cluster := proxytest.NewCluster()
		before := &Server{zone: &zone{}, fold: newFold(), state: file}
		require.NoError(rt, before.Apply(cluster.Everything()))
		for range rapid.IntRange(1, 6).Draw(rt, "changes") {
			require.NoError(rt, before.Apply(cluster.Change(rt)))
		}
		require.NoError(rt, before.save())
		after := &Server{zone: &zone{}, fold: newFold(), state: file}
		require.NoError(rt, after.restore())
		require.Equal(rt, contentsOf(&before.zone.table), contentsOf(&after.zone.table))
	})
}

func TestADamagedStateIsNotAnswered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dns.state")
	s := open(t, Config{State: file})
	require.NoError(t, s.Apply(everything(t)))
	require.NoError(t, s.save())
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, at := range []int{0, 35, 39, len(whole) / 2, len(whole) - 1} {
		flipped := append([]byte(nil), whole...)
		flipped[at] ^= 1
		for _, damaged := range [][]byte{flipped, whole[:at]} {
			require.NoError(t, os.WriteFile(file, damaged, 0o600))
			later := open(t, Config{State: file})
			require.ErrorIs(t, later.restore(), errDamaged)
			require.False(t, later.known.Load())
			require.Equal(t, dns.RcodeServerFailure, later.reply(t.Context(), new(dns.Msg).SetQuestion(webName, dns.TypeA), true).Rcode)
		}
	}
	require.NoError(t, s.Apply(proxy.Change{}))
	require.NoError(t, s.save(), "it is replaced after the next change")
	require.NoError(t, open(t, Config{State: file}).restore())

	lost := open(t, Config{State: filepath.Join(file, "nowhere")})
	require.NoError(t, lost.Apply(everything(t)))
	require.ErrorContains(t, lost.save(), fmt.Sprintf("saving %d services", len(everything(t).Services)))
	require.True(t, lost.unsaved)
}

func TestConnectionsAreLimited(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := limited(inner, 2)
	accepted := make(chan net.Conn, 8)
	ended := make(chan error, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- conn
		}
	}()
	for range 4 {
		conn, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
	}
	first, second := <-accepted, <-accepted
	select {
	case <-accepted:
		require.Fail(t, "a third connection was let in")
	case <-time.After(50 * time.Millisecond):
	}
	require.NoError(t, first.Close())
	require.Error(t, first.Close(), "closed twice, but its room is given back once")
	third := <-accepted
	select {
	case <-accepted:
		require.Fail(t, "the room of one connection was given to two")
	case <-time.After(50 * time.Millisecond):
	}
	require.NoError(t, l.Close())
	require.ErrorIs(t, <-ended, net.ErrClosed)
	require.NoError(t, second.Close())
	require.NoError(t, third.Close())
}
