package announce

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
)

const (
	protocolIPv6  = 0x86dd
	headerBytes   = 40 // of IPv6
	nextHeaderAt  = 6
	hopLimitAt    = 7
	sourceAt      = 8
	icmpv6        = 58
	solicitation  = 135
	advertisement = 136
	ndpHopLimit   = 255 // what came from another link has less (RFC 4861, 7.1.1)
)

var allNodes = netip.MustParseAddr("ff02::1")

// ndpResponder answers for IPv6 addresses on a link. It hears neighbours through a packet socket, since those that ask whether an address is still here ask
// that very address, which no interface has.
type ndpResponder struct {
	link      link
	in        *packet.Conn
	out       *ndp.Conn
	contested func(netip.Addr, net.HardwareAddr)
	done      chan struct{}

	mu        sync.Mutex
	addresses map[netip.Addr]bool
	groups    map[netip.Addr]bool // solicited-node multicast groups that were joined
}

func openNDP(l link, contested func(netip.Addr, net.HardwareAddr)) (responder, error) {
	ifi, err := net.InterfaceByIndex(l.index)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", l.name, err)
	}
	out, _, err := ndp.Listen(ifi, ndp.LinkLocal)
	if err != nil {
		return nil, fmt.Errorf("speaking neighbour discovery on %s: %w", l.name, err)
	}
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: nextHeaderAt, Size: 1}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: icmpv6, SkipTrue: 4},
		bpf.LoadAbsolute{Off: headerBytes, Size: 1}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: solicitation, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: advertisement, SkipTrue: 1},
		bpf.RetConstant{Val: frameBytes}, bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return nil, fmt.Errorf("assembling the filter of neighbour discovery: %w", err)
	}
	in, err := packet.Listen(ifi, packet.Datagram, protocolIPv6, &packet.Config{Filter: filter})
	if err != nil {
		_ = out.Close()
		return nil, fmt.Errorf("listening to neighbour discovery on %s: %w", l.name, err)
	}
	r := &ndpResponder{link: l, in: in, out: out, contested: contested, done: make(chan struct{}), groups: map[netip.Addr]bool{}}
	go r.serve()
	return r, nil
}

// answerFor joins the groups to which neighbours send their questions about addresses, and leaves those of others.
func (r *ndpResponder) answerFor(addresses map[netip.Addr]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addresses = addresses
	wanted := map[netip.Addr]bool{}
	for address := range addresses {
		if group, err := ndp.SolicitedNodeMulticast(address); err == nil {
			wanted[group] = true
		}
	}
	for group := range wanted {
		if !r.groups[group] && r.out.JoinGroup(group) == nil {
			r.groups[group] = true
		}
	}
	for group := range r.groups {
		if !wanted[group] {
			_ = r.out.LeaveGroup(group)
			delete(r.groups, group)
		}
	}
}

func (r *ndpResponder) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (r *ndpResponder) close() {
	_ = r.in.Close()
	<-r.done
	_ = r.out.Close() // and with it the groups
}

// serve answers until the connection is closed.
func (r *ndpResponder) serve() {
	defer close(r.done)
	buffer := make([]byte, frameBytes)
	for {
		n, _, err := r.in.ReadFrom(buffer)
		if err != nil {
			return // closed, or the link is gone: then settle opens another
		}
		if n > headerBytes && buffer[hopLimitAt] == ndpHopLimit {
			source, _ := netip.AddrFromSlice(buffer[sourceAt : sourceAt+16])
			r.hear(source, buffer[headerBytes:n])
		}
	}
}

func (r *ndpResponder) hear(source netip.Addr, message []byte) {
	parsed, err := ndp.ParseMessage(message)
	if err != nil {
		return
	}
	switch m := parsed.(type) {
	case *ndp.NeighborSolicitation:
		if r.mine(m.TargetAddress) {
			_ = r.advertise(m.TargetAddress, source) // who asked in vain asks again
		}
	case *ndp.NeighborAdvertisement:
		for _, option := range m.Options {
			if l, ok := option.(*ndp.LinkLayerAddress); ok && r.mine(m.TargetAddress) && !bytes.Equal(l.Addr, r.link.mac) {
				r.contested(m.TargetAddress, l.Addr)
			}
		}
	}
}

func (r *ndpResponder) mine(address netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addresses[address]
}

// claim sends an unsolicited advertisement that overrides what neighbours know.
func (r *ndpResponder) claim(address netip.Addr) error {
	return r.advertise(address, netip.IPv6Unspecified())
}

// advertise tells who asked that address is here; everybody if nobody in particular asked.
func (r *ndpResponder) advertise(address, to netip.Addr) error {
	message := &ndp.NeighborAdvertisement{Solicited: !to.IsUnspecified(), Override: true, TargetAddress: address,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: r.link.mac}}}
	if to.IsUnspecified() {
		to = allNodes
	}
	if to.IsLinkLocalUnicast() || to.IsMulticast() {
		to = to.WithZone(r.link.name)
	}
	if err := r.out.WriteTo(message, nil, to); err != nil {
		return fmt.Errorf("advertising %s on %s: %w", address, r.link.name, err)
	}
	return nil
}
