package announce_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/packet"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/wakehq/wake/agent/announce"
)

// The addresses of the link: node i has 192.0.2.i and 2001:db8::i, the client the 9s. No interface has the announced ones.
var (
	four = netip.MustParseAddr("192.0.2.100")
	six  = netip.MustParseAddr("2001:db8::100")
)

const client = 9

// machine is a network namespace on the link.
type machine struct {
	ns  netns.NsHandle
	mac net.HardwareAddr
}

// newLink puts machines with these numbers on a bridge, in namespaces of their own. The test's thread ends with the test.
func newLink(t *testing.T, numbers ...int) map[int]machine {
	t.Helper()
	require.Zero(t, os.Geteuid(), "this test builds network namespaces and needs root: run it with sudo")
	runtime.LockOSThread() // never unlocked
	bridge := newNamespace(t)
	require.NoError(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "link"}}))
	up(t, "link")
	machines := map[int]machine{}
	for _, n := range numbers {
		m := machine{ns: newNamespace(t)}
		require.NoError(t, netns.Set(bridge))
		port := fmt.Sprintf("port%d", n)
		require.NoError(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: "eth0", PeerNamespace: netlink.NsFd(m.ns)}))
		link, br := named(t, port), named(t, "link")
		require.NoError(t, netlink.LinkSetMaster(link, br))
		up(t, port)
		require.NoError(t, netns.Set(m.ns))
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/eth0/accept_dad", []byte("0"), 0o644))
		for _, text := range []string{fmt.Sprintf("192.0.2.%d/24", n), fmt.Sprintf("2001:db8::%d/64", n)} {
			addr, err := netlink.ParseAddr(text)
			require.NoError(t, err)
			require.NoError(t, netlink.AddrAdd(named(t, "eth0"), addr))
		}
		up(t, "eth0")
		m.mac = named(t, "eth0").Attrs().HardwareAddr
		machines[n] = m
	}
	return machines
}

func newNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	ns, err := netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

func named(t *testing.T, name string) netlink.Link {
	t.Helper()
	link, err := netlink.LinkByName(name)
	require.NoError(t, err)
	return link
}

func up(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, netlink.LinkSetUp(named(t, name)))
}

// run runs an announcer on a machine until the test ends or stop is called.
func (m machine) run(t *testing.T) (a *announce.Announcer, stop func()) {
	t.Helper()
	a = announce.New(slog.New(slog.NewTextHandler(io.Discard, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread is in the machine's namespace
		if netns.Set(m.ns) == nil {
			_ = a.Run(ctx)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return a, stop
}

// knows is who the machine takes for the owner of an address, after it has sent a packet there.
func (m machine) knows(t *testing.T, address netip.Addr) string {
	t.Helper()
	require.NoError(t, netns.Set(m.ns))
	if conn, err := net.Dial("udp", netip.AddrPortFrom(address, 9).String()); err == nil {
		_, _ = conn.Write([]byte("?"))
		_ = conn.Close()
	}
	return m.remembers(t, address)
}

// remembers is the same, without a packet.
func (m machine) remembers(t *testing.T, address netip.Addr) string {
	t.Helper()
	require.NoError(t, netns.Set(m.ns))
	all, err := netlink.NeighList(named(t, "eth0").Attrs().Index, netlink.FAMILY_ALL)
	require.NoError(t, err)
	for _, n := range all {
		if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == address && n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 {
			return n.HardwareAddr.String()
		}
	}
	return ""
}

const (
	soon = time.Minute
	tick = 20 * time.Millisecond
)

// eventually looks from the test's own thread: on another one, which may change at any time, nobody knows in whose namespace it is.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for begun := time.Now(); !is(); time.Sleep(tick) {
		require.Less(t, time.Since(begun), soon, what)
	}
}

// TestNeighboursFindTheAnnouncer holds that a neighbour's kernel finds addresses that no interface has, and learns at once, without asking, that they moved.
func TestNeighboursFindTheAnnouncer(t *testing.T) {
	machines := newLink(t, 1, 2, client)
	first, _ := machines[1].run(t)
	second, _ := machines[2].run(t)
	for _, address := range []netip.Addr{four, six} {
		require.Empty(t, machines[client].knows(t, address))
	}
	first.Announce([]netip.Addr{four, six})
	for _, address := range []netip.Addr{four, six} {
		eventually(t, address.String(), func() bool { return machines[client].knows(t, address) == machines[1].mac.String() })
	}
	first.Announce(nil)
	second.Heard() // it doesn't give up, should the first claim them once more
	second.Announce([]netip.Addr{four, six})
	moved := time.Now()
	for _, address := range []netip.Addr{four, six} {
		eventually(t, address.String(), func() bool { return machines[client].remembers(t, address) == machines[2].mac.String() })
	}
	t.Logf("the neighbour knew after %s", time.Since(moved).Round(time.Millisecond))
}

// TestSilenceAfterTheEnd holds that a process that ended announces nothing.
func TestSilenceAfterTheEnd(t *testing.T) {
	machines := newLink(t, 1, client)
	a, stop := machines[1].run(t)
	a.Announce([]netip.Addr{four})
	eventually(t, "it is found", func() bool { return machines[client].knows(t, four) != "" })
	stop()
	require.NoError(t, netns.Set(machines[client].ns))
	require.NoError(t, netlink.NeighDel(&netlink.Neigh{LinkIndex: named(t, "eth0").Attrs().Index, IP: four.AsSlice()}))
	deadline := time.Now().Add(2 * time.Second) // longer than a kernel waits for an answer
	for time.Now().Before(deadline) {
		require.Empty(t, machines[client].knows(t, four))
		time.Sleep(tick)
	}
}

// TestContest plays two machines that are both told to announce an address. The one that hears the control plane keeps it; the one that doesn't gives it up.
func TestContest(t *testing.T) {
	machines := newLink(t, 1, 2, client)
	cut, _ := machines[1].run(t)
	cut.Announce([]netip.Addr{four, six})
	for _, address := range []netip.Addr{four, six} {
		eventually(t, "it is found", func() bool { return machines[client].knows(t, address) == machines[1].mac.String() })
	}
	heard, _ := machines[2].run(t)
	heard.Heard()
	heard.Announce([]netip.Addr{four, six})
	believes := func(address netip.Addr, n int) bool {
		heard.Heard() // all the time
		return machines[client].remembers(t, address) == machines[n].mac.String()
	}
	for _, address := range []netip.Addr{four, six} {
		eventually(t, "it moves", func() bool { return believes(address, 2) })
		require.NoError(t, netns.Set(machines[client].ns))
		require.NoError(t, netlink.NeighDel(&netlink.Neigh{LinkIndex: named(t, "eth0").Attrs().Index, IP: address.AsSlice()}))
		eventually(t, "asked anew", func() bool { machines[client].knows(t, address); return believes(address, 2) })
	}
	// Either machine may be believed for a moment only, and contradicts another one but seldom.
	eventually(t, "the forger is believed", func() bool { forge(t, machines[1]); return believes(four, 1) })
	eventually(t, "and contradicted", func() bool { defer forge(t, machines[1]); return believes(four, 2) })
	eventually(t, "told anew, it claims the address again", func() bool { cut.Announce([]netip.Addr{four}); return believes(four, 1) })
}

// forge claims the address for a machine, once.
func forge(t *testing.T, m machine) {
	t.Helper()
	require.NoError(t, netns.Set(m.ns))
	conn, err := packet.Listen(&net.Interface{Index: named(t, "eth0").Attrs().Index}, packet.Datagram, 0x0806, nil)
	require.NoError(t, err)
	everybody := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	p, err := arp.NewPacket(arp.OperationRequest, m.mac, four, everybody, four)
	require.NoError(t, err)
	message, err := p.MarshalBinary()
	require.NoError(t, err)
	_, err = conn.WriteTo(message, &packet.Addr{HardwareAddr: everybody})
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}
