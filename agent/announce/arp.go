package announce

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/packet"
)

const (
	protocolARP = 0x0806
	frameBytes  = 1514
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// arpResponder answers for IPv4 addresses on a link.
type arpResponder struct {
	link      link
	conn      *packet.Conn
	addresses atomic.Pointer[map[netip.Addr]bool]
	contested func(netip.Addr, net.HardwareAddr)
	done      chan struct{}
}

func openARP(l link, contested func(netip.Addr, net.HardwareAddr)) (responder, error) {
	conn, err := packet.Listen(&net.Interface{Index: l.index, Name: l.name}, packet.Datagram, protocolARP, nil)
	if err != nil {
		return nil, fmt.Errorf("listening to ARP on %s: %w", l.name, err)
	}
	r := &arpResponder{link: l, conn: conn, contested: contested, done: make(chan struct{})}
	r.answerFor(nil)
	go r.serve()
	return r, nil
}

func (r *arpResponder) answerFor(addresses map[netip.Addr]bool) { r.addresses.Store(&addresses) }

func (r *arpResponder) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (r *arpResponder) close() {
	_ = r.conn.Close()
	<-r.done
}

// serve answers until the connection is closed.
func (r *arpResponder) serve() {
	defer close(r.done)
	buffer := make([]byte, frameBytes)
	for {
		n, _, err := r.conn.ReadFrom(buffer)
		if err != nil {
			return // closed, or the link is gone: then settle opens another
		}
		r.hear(buffer[:n])
	}
}

func (r *arpResponder) hear(message []byte) {
	var p arp.Packet
	if err := p.UnmarshalBinary(message); err != nil {
		return
	}
	mine := *r.addresses.Load()
	switch {
	case mine[p.SenderIP] && !bytes.Equal(p.SenderHardwareAddr, r.link.mac):
		r.contested(p.SenderIP, p.SenderHardwareAddr)
	case p.Operation == arp.OperationRequest && mine[p.TargetIP]:
		_ = r.send(p.SenderHardwareAddr, arp.OperationReply, p.TargetIP, p.SenderHardwareAddr, p.SenderIP) // who asked in vain asks again
	}
}

// claim sends a gratuitous ARP, as a request and as a reply: there are machines that heed one of them only. Linux takes a reply for one only if its target is
// its sender in every respect.
func (r *arpResponder) claim(address netip.Addr) error {
	if err := r.send(broadcast, arp.OperationRequest, address, broadcast, address); err != nil {
		return err
	}
	return r.send(broadcast, arp.OperationReply, address, r.link.mac, address)
}

func (r *arpResponder) send(to net.HardwareAddr, operation arp.Operation, address netip.Addr, targetMAC net.HardwareAddr, target netip.Addr) error {
	p, err := arp.NewPacket(operation, r.link.mac, address, targetMAC, target)
	if err != nil {
		return fmt.Errorf("wording an ARP message about %s: %w", address, err)
	}
	message, err := p.MarshalBinary()
	if err != nil {
		return fmt.Errorf("wording an ARP message about %s: %w", address, err)
	}
	if _, err := r.conn.WriteTo(message, &packet.Addr{HardwareAddr: to}); err != nil {
		return fmt.Errorf("sending ARP on %s: %w", r.link.name, err)
	}
	return nil
}
