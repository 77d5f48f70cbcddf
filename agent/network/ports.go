package network

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// HostPort is a port of the node at which a pod answers.
type HostPort struct {
	At       netip.Addr // one of the node's addresses; not valid: all of them
	Protocol string     // tcp, udp or sctp
	Port     uint16
	PodPort  uint16
}

func (p HostPort) String() string {
	at := "*"
	if p.At.IsValid() {
		at = p.At.String()
	}
	return fmt.Sprintf("%s:%d/%s", at, p.Port, p.Protocol)
}

// hostPorts keeps account of who is attached, and at which ports of the node they answer.
type hostPorts struct {
	mu    sync.Mutex
	pods  map[string]portHolder // by sandbox
	holds map[string][]int      // sockets that keep others from taking the ports, by sandbox
}

type portHolder struct {
	addrs []netip.Addr
	ports []HostPort
}

// put notes that a sandbox is attached. Its ports are kept from other programs; one that another has is an error, unless it is so already.
func (h *hostPorts) put(sandbox string, addrs []netip.Addr, ports []HostPort, insist bool) (changed bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pods == nil {
		h.pods, h.holds = map[string]portHolder{}, map[string][]int{}
	}
	if _, known := h.pods[sandbox]; known {
		return false, nil
	}
	var sockets []int
	for _, p := range ports {
		held, err := reserve(p, slices.ContainsFunc(addrs, netip.Addr.Is6))
		if err != nil && insist {
			closeAll(append(sockets, held...))
			return false, fmt.Errorf("the pod wants port %s of the node: %w", p, err)
		}
		sockets = append(sockets, held...)
	}
	h.pods[sandbox], h.holds[sandbox] = portHolder{addrs: addrs, ports: ports}, sockets
	return len(ports) > 0, nil
}

// drop forgets a sandbox and says whether it had ports.
func (h *hostPorts) drop(sandbox string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := h.pods[sandbox]
	closeAll(h.holds[sandbox])
	delete(h.pods, sandbox)
	delete(h.holds, sandbox)
	return len(held.ports) > 0
}

// attached lists the sandboxes that are.
func (h *hostPorts) attached() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.pods))
}

// rules words the ports of all, each once: should two pods want the same, the first by name has it.
func (h *hostPorts) rules() []portRule {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []portRule
	for _, sandbox := range slices.Sorted(maps.Keys(h.pods)) {
		pod := h.pods[sandbox]
		for _, p := range pod.ports {
			for _, a := range pod.addrs {
				if !p.At.IsValid() || p.At.BitLen() == a.BitLen() {
					all = append(all, portRule{HostPort: p, to: netip.AddrPortFrom(a, p.PodPort)})
				}
			}
		}
	}
	key := func(a, b portRule) int {
		return cmp.Or(strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), a.At.Compare(b.At), cmp.Compare(a.to.Addr().BitLen(), b.to.Addr().BitLen()))
	}
	slices.SortStableFunc(all, key)
	return slices.CompactFunc(all, func(a, b portRule) bool { return key(a, b) == 0 })
}

// reserve binds a port, so that no other program of the node takes it while its packets go to the pod. Nobody listens at it.
func reserve(p HostPort, dual bool) ([]int, error) {
	addrs := []netip.Addr{p.At}
	if !p.At.IsValid() {
		addrs = []netip.Addr{netip.IPv4Unspecified()}
		if dual {
			addrs = append(addrs, netip.IPv6Unspecified())
		}
	}
	var sockets []int
	for _, a := range addrs {
		socket, err := bind(p.Protocol, netip.AddrPortFrom(a, p.Port))
		if err != nil {
			return sockets, err
		}
		if socket >= 0 {
			sockets = append(sockets, socket)
		}
	}
	return sockets, nil
}

// bind binds a socket; -1 for a protocol that the kernel hasn't got.
func bind(protocol string, at netip.AddrPort) (int, error) {
	kind, number := unix.SOCK_STREAM, unix.IPPROTO_TCP
	switch protocol {
	case "udp":
		kind, number = unix.SOCK_DGRAM, unix.IPPROTO_UDP
	case "sctp":
		number = unix.IPPROTO_SCTP
	}
	var address unix.Sockaddr = &unix.SockaddrInet4{Port: int(at.Port()), Addr: as4(at.Addr())}
	domain := unix.AF_INET
	if at.Addr().Is6() {
		domain, address = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	}
	socket, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, number)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return -1, nil
	}
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if domain == unix.AF_INET6 {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(socket, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(socket, address))
	}
	if err != nil {
		closeAll([]int{socket})
		return -1, err
	}
	return socket, nil
}

func as4(a netip.Addr) [4]byte {
	if a.Is4() {
		return a.As4()
	}
	return [4]byte{}
}

func closeAll(sockets []int) {
	for _, s := range sockets {
		_ = unix.Close(s) // nothing was ever written
	}
}

// forgetFlows ends the UDP flows to ports that have just come to a pod or gone from it: the kernel would go on sending them where it did.
func forgetFlows(ports []HostPort) error {
	for _, p := range ports {
		if p.Protocol != "udp" {
			continue
		}
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			filter := &netlink.ConntrackFilter{}
			err := errors.Join(filter.AddProtocol(unix.IPPROTO_UDP), filter.AddPort(netlink.ConntrackOrigDstPort, p.Port))
			if err == nil {
				_, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, filter)
			}
			if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
				return fmt.Errorf("forgetting the flows to port %s: %w", p, err)
			}
		}
	}
	return nil
}
