package network

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"
)

// These tests build network namespaces and need root. A node is this test's program, run again in a namespace of its own.

const asNode = "WAKE_TEST_NODE"

func TestMain(m *testing.M) {
	if text := os.Getenv(asNode); text != "" {
		if err := beNode(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// order is what a test asks a node to do; the answer is an error's text, empty for none.
type order struct {
	Use     []netip.Prefix
	Peers   []Peer
	Attach  *Sandbox
	Release string
	Alone   bool // forget all peers
	Remove  bool
}

// beNode does what it is ordered to on standard input.
func beNode(text string) error {
	var config Config
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return err
	}
	config.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	n, err := New(config)
	if err != nil {
		return err
	}
	ctx := context.Background()
	go func() { _ = n.Run(ctx, func(err error) { config.Log.Info("compared", "error", err) }) }()
	in := json.NewDecoder(os.Stdin)
	fmt.Println("ready")
	for {
		var o order
		if err := in.Decode(&o); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := obey(ctx, n, o); err != nil {
			fmt.Println(strings.ReplaceAll(err.Error(), "\n", "; "))
		} else {
			fmt.Println()
		}
	}
}

func obey(ctx context.Context, n *Network, o order) error {
	switch {
	case o.Use != nil:
		return n.Use(ctx, o.Use)
	case o.Peers != nil, o.Alone:
		n.SetPeers(o.Peers)
	case o.Attach != nil:
		return n.Attach(ctx, *o.Attach)
	case o.Release != "":
		n.Release(o.Release)
	case o.Remove:
		return n.Remove(ctx)
	}
	return nil
}

// world is some machines on links.
type world struct {
	t      *testing.T
	prefix string
	nodes  map[string]*node
}

// machine is a namespace with a name.
type machine struct {
	t    *testing.T
	name string
	ns   netns.NsHandle
}

// node is a machine on which the pod network runs.
type node struct {
	*machine
	config Config
	peer   Peer
	proc   *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	pods   int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	require.Zero(t, os.Geteuid(), "this test builds network namespaces and needs root")
	return &world{t: t, prefix: fmt.Sprintf("podnet%06d", rand.IntN(1_000_000)), nodes: map[string]*node{}}
}

func run(t *testing.T, command string, args ...string) string {
	t.Helper()
	out, err := exec.Command(command, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", command, strings.Join(args, " "), out)
	return string(out)
}

func (w *world) machine(name string) *machine {
	w.t.Helper()
	m := &machine{t: w.t, name: w.prefix + name}
	run(w.t, "ip", "netns", "add", m.name)
	w.t.Cleanup(func() { run(w.t, "ip", "netns", "del", m.name) })
	var err error
	m.ns, err = netns.GetFromName(m.name)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = m.ns.Close() })
	m.ip("link set lo up")
	return m
}

// ip runs "ip" in the machine's namespace.
func (m *machine) ip(command string) string {
	m.t.Helper()
	return run(m.t, "ip", append([]string{"-n", m.name}, strings.Fields(command)...)...)
}

// sh runs a command in the machine's namespace.
func (m *machine) sh(command string) string {
	m.t.Helper()
	return run(m.t, "nsenter", "--net=/var/run/netns/"+m.name, "sh", "-ec", command)
}

// link joins two machines by a cable; the ends are called as the machine at the other end.
func link(a, b *machine, end, other string) {
	a.ip(fmt.Sprintf("link add %s type veth peer name %s netns %s", end, other, b.name))
	a.ip("link set " + end + " up")
	b.ip("link set " + other + " up")
}

// in runs f on a thread in a namespace; sockets that it opens stay there.
func in(t *testing.T, ns netns.NsHandle, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := netns.Set(ns)
		if err == nil {
			f()
		}
		done <- err
	}()
	require.NoError(t, <-done)
}

// office builds a link that nodes a and b share, and another one behind a router with node c. Docker's policy is everywhere.
func office(t *testing.T, routing Routing, dual bool) (w *world, outside *machine) {
	t.Helper()
	w = newWorld(t)
	router := w.machine("r")
	router.ip("link add lan type bridge")
	router.ip("link set lan up")
	router.ip("addr add 192.0.2.254/24 dev lan")
	router.sh("echo 1 > /proc/sys/net/ipv4/ip_forward")
	for i, name := range []string{"a", "b", "c"} {
		m := w.machine(name)
		link(m, router, "eth0", "to-"+name)
		gateway := "192.0.2.254"
		address := fmt.Sprintf("192.0.2.%d", i+1)
		if name == "c" {
			gateway, address = "198.51.100.254", "198.51.100.1"
			router.ip("addr add 198.51.100.254/24 dev to-c")
		} else {
			router.ip("link set to-" + name + " master lan")
		}
		m.ip("addr add " + address + "/24 dev eth0")
		m.ip("route add default via " + gateway)
		m.sh("iptables -w -P FORWARD DROP")
		n := &node{machine: m, config: Config{Mark: name + w.prefix[6:], Cluster: w.prefix, Node: name, NodeIP: netip.MustParseAddr(address), Routing: routing}}
		n.peer = Peer{Name: name, Ranges: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i))}, Addrs: []netip.Addr{n.config.NodeIP}}
		if dual {
			n.peer.Ranges = append(n.peer.Ranges, netip.MustParsePrefix(fmt.Sprintf("fd00:244:0:%d::/64", i)))
		}
		w.nodes[name] = n
		n.start()
		require.Empty(t, n.tell(order{Use: n.peer.Ranges}))
	}
	w.meet("a", "b", "c")
	return w, router
}

// meet tells the nodes of each other, and all others of nobody.
func (w *world) meet(names ...string) {
	w.t.Helper()
	var peers []Peer
	for _, name := range names {
		peers = append(peers, w.nodes[name].peer)
	}
	for _, name := range names {
		require.Empty(w.t, w.nodes[name].tell(order{Peers: peers}))
	}
	for _, name := range names {
		for _, p := range peers {
			if p.Name != name {
				soon(w.t, noticed, "the route from "+name+" to "+p.Name, func() bool {
					return strings.Contains(w.nodes[name].ip("route show proto 157"), p.Ranges[0].String()) &&
						(len(p.Ranges) == 1 || strings.Contains(w.nodes[name].ip("-6 route show proto 157"), p.Ranges[1].String()))
				})
			}
		}
	}
}

// start runs the node's process.
func (n *node) start() {
	n.t.Helper()
	config, err := json.Marshal(n.config)
	require.NoError(n.t, err)
	self, err := os.Executable()
	require.NoError(n.t, err)
	n.proc = exec.Command("nsenter", "--net=/var/run/netns/"+n.name, self)
	n.proc.Env = append(os.Environ(), asNode+"="+string(config))
	n.proc.Stderr = n.t.Output()
	n.in, err = n.proc.StdinPipe()
	require.NoError(n.t, err)
	out, err := n.proc.StdoutPipe()
	require.NoError(n.t, err)
	n.out = bufio.NewScanner(out)
	require.NoError(n.t, n.proc.Start())
	n.t.Cleanup(n.kill)
	require.True(n.t, n.out.Scan())
	require.Equal(n.t, "ready", n.out.Text())
}

// kill ends the node's process as a power cut would; what it put into the kernel stays.
func (n *node) kill() {
	_ = n.proc.Process.Kill()
	_ = n.proc.Wait()
}

// tell has the node do something, and returns the error's text.
func (n *node) tell(o order) string {
	n.t.Helper()
	require.NoError(n.t, json.NewEncoder(n.in).Encode(o))
	require.True(n.t, n.out.Scan(), "the node's process has ended")
	return n.out.Text()
}

// pod is a namespace with a process that holds it.
type pod struct {
	t *testing.T
	Sandbox
	ns netns.NsHandle
}

// pod makes a pod and attaches it. It serves TCP and UDP at 8080, telling each client where it seems to come from.
func (n *node) pod(ports ...HostPort) *pod {
	n.t.Helper()
	p := n.unattached()
	p.Ports = ports
	require.Empty(n.t, n.tell(order{Attach: &p.Sandbox}))
	return p
}

func (n *node) unattached() *pod {
	n.t.Helper()
	n.pods++
	hold := exec.Command("unshare", "--net", "sh", "-c", "ip link set lo up; echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; echo ok; exec sleep 1000")
	out, err := hold.StdoutPipe()
	require.NoError(n.t, err)
	require.NoError(n.t, hold.Start())
	n.t.Cleanup(func() { _ = hold.Process.Kill(); _ = hold.Wait() })
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(n.t, err)
	p := &pod{t: n.t, Sandbox: Sandbox{ID: fmt.Sprintf("%s%02d%s", n.config.Node, n.pods, strings.Repeat("0", 50)), PID: hold.Process.Pid}}
	for _, r := range n.peer.Ranges {
		a := r.Addr()
		for range n.pods + 1 {
			a = a.Next()
		}
		p.Addrs = append(p.Addrs, a)
	}
	p.ns, err = netns.GetFromPid(p.PID)
	require.NoError(n.t, err)
	n.t.Cleanup(func() { _ = p.ns.Close() })
	serve(n.t, p.ns, 8080)
	return p
}

// serve answers every client in a namespace with the address that it comes from, and then with what it sends.
func serve(t *testing.T, ns netns.NsHandle, port int) {
	t.Helper()
	in(t, ns, func() {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		u, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		require.NoError(t, err)
		t.Cleanup(func() { _ = u.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer func() { _ = c.Close() }()
					host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
					_, _ = fmt.Fprintln(c, host)
					_, _ = io.Copy(c, c)
				}()
			}
		}()
		go func() {
			buffer := make([]byte, 2048)
			for {
				_, from, err := u.ReadFrom(buffer)
				if err != nil {
					return
				}
				host, _, _ := net.SplitHostPort(from.String())
				_, _ = u.WriteTo([]byte(host), from)
			}
		}()
	})
}

// ask connects from a namespace and returns whom the server sees. Over TCP it sends a megabyte and wants it back.
func ask(t *testing.T, ns netns.NsHandle, network, target string) (seen string, err error) {
	t.Helper()
	const within = 3 * time.Second
	in(t, ns, func() {
		var c net.Conn
		if c, err = net.DialTimeout(network, target, within); err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(within))
		if network == "udp" {
			buffer := make([]byte, 100)
			for range 3 { // what answers the first packet of all may take its time
				_ = c.SetDeadline(time.Now().Add(time.Second))
				_, _ = c.Write([]byte("who am I?"))
				var n int
				if n, err = c.Read(buffer); err == nil {
					seen = string(buffer[:n])
					return
				}
			}
			return
		}
		reader := bufio.NewReader(c)
		if seen, err = reader.ReadString('\n'); err != nil {
			return
		}
		seen = strings.TrimSpace(seen)
		sent := make([]byte, 1<<20)
		go func() { _, _ = c.Write(sent) }()
		_, err = io.ReadFull(reader, make([]byte, len(sent)))
	})
	return seen, err
}

// gets holds that a client gets through over TCP and UDP, and whom the server sees.
func gets(t *testing.T, from netns.NsHandle, to netip.Addr, port int, seen string, why string) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		got := connects(t, from, network, netip.AddrPortFrom(to, uint16(port)).String(), why)
		require.Equal(t, seen, got, "%s, %s: whom the server sees", why, network)
	}
}

// connects returns whom the server sees when a client gets through, which may take more than one try: the tunnel's entries come after the route that tests wait for.
func connects(t *testing.T, from netns.NsHandle, network, target, why string) (seen string) {
	t.Helper()
	soon(t, patience, why+", "+network, func() bool {
		var err error
		seen, err = ask(t, from, network, target)
		return err == nil
	})
	return seen
}

// How long is waited for what the node does by itself.
const (
	noticed  = compareEvery - 2*time.Second // what it is told of, or hears of; it must not have to come across it
	patience = time.Minute                  // the rest: the machine may be busy with others
)

// soon waits in the test's own goroutine, so that what it asks may fail the test.
func soon(t *testing.T, within time.Duration, what string, is func() bool) {
	t.Helper()
	for begun := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		require.Less(t, time.Since(begun), within, what)
	}
}
