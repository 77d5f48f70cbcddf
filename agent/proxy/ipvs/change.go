package ipvs

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/proxy"
)

// change is what is to be done, and what the kernel holds once it is.
type change struct {
	move move
	ops  []operation
	// flows are the UDP servers that lost endpoints or are new, with those that they have now.
	flows   map[proxy.Key][]netip.AddrPort
	held    map[proxy.Key]service
	servers map[proxy.Key]*proxy.VirtualServer
}

func newChange() *change {
	return &change{
		flows: map[proxy.Key][]netip.AddrPort{}, held: map[proxy.Key]service{}, servers: map[proxy.Key]*proxy.VirtualServer{},
	}
}

func (c *change) put(key proxy.Key, held service, server *proxy.VirtualServer) {
	c.held[key], c.servers[key] = held, server
}

// plan adds what brings one key to a new state; a server of nil is gone.
func (b *Backend) plan(c *change, key proxy.Key, server *proxy.VirtualServer) {
	before := b.held[key]
	after, ops := decideService(key, before, server, b.cfg.Scheduler)
	b.planTo(c, key, after, server, ops)
	var endpoints []netip.AddrPort
	if server != nil {
		endpoints = server.Endpoints
	}
	if before.none() || !keeps(before.weights, endpoints) { // while nobody served it, flows may have gone past us
		note(c.flows, key, endpoints)
	}
}

func (b *Backend) planTo(c *change, key proxy.Key, after service, server *proxy.VirtualServer, ops []operation) {
	var now *proxy.VirtualServer
	if s, known := b.servers[key]; known {
		now = &s
	}
	m := decideMove(decideElements(key, b.held[key], now), decideElements(key, after, server))
	c.move.swapped, c.move.first, c.move.gone = append(c.move.swapped, m.swapped...), append(c.move.first, m.first...), append(c.move.gone, m.gone...)
	c.ops = append(c.ops, ops...)
	c.put(key, after, server)
}

// keeps says whether all endpoints of before are among those of now.
func keeps(before map[netip.AddrPort]uint32, now []netip.AddrPort) bool {
	has := make(map[netip.AddrPort]bool, len(now))
	for _, endpoint := range now {
		has[endpoint] = true
	}
	for endpoint := range before {
		if !has[endpoint] {
			return false
		}
	}
	return true
}

// note remembers the flows of a server for checking, if they are UDP's: those have no end that conntrack sees.
func note(flows map[proxy.Key][]netip.AddrPort, key proxy.Key, endpoints []netip.AddrPort) {
	if key.Protocol == corev1.ProtocolUDP {
		flows[key] = endpoints
	}
}

// carryOut does what is to be done, in the order that keeps the package's promises, and remembers it. After an error what the kernel holds is
// unknown, and the caller reconciles.
func (b *Backend) carryOut(ctx context.Context, c *change) error {
	if err := b.edit(ctx, c.move.swapped, c.move.first); err != nil {
		return err
	}
	if err := b.sendAll(c.ops); err != nil {
		return err
	}
	if err := b.edit(ctx, c.move.gone, nil); err != nil {
		return err
	}
	for key, held := range c.held {
		delete(b.draining, key)
		delete(b.held, key)
		delete(b.servers, key)
		if !held.none() {
			b.held[key] = held
		}
		if held.drains() {
			b.draining[key] = true
		}
		if server := c.servers[key]; server != nil {
			b.servers[key] = *server
		}
	}
	if len(c.flows) == 0 {
		return nil
	}
	if err := b.kernel.ForgetFlows(c.flows); err != nil {
		return fmt.Errorf("forgetting UDP flows of %d virtual servers: %w", len(c.flows), err)
	}
	return nil
}

// few operations are sent one by one.
const few = 8

// sendAll carries out operations in their order.
func (b *Backend) sendAll(ops []operation) error {
	for i := 0; i < len(ops); i++ {
		many := i
		for many < len(ops) && (ops[many].do == addEndpoint || ops[many].do == addService) {
			many++
		}
		if b.bulk != nil && many-i > few {
			if err := b.bulk(ops[i:many]); err != nil {
				return fmt.Errorf("IPVS: operations %d to %d of %d: %w", i+1, many, len(ops), err)
			}
			i = many - 1
			continue
		}
		if err := b.send(ops[i]); err != nil {
			return fmt.Errorf("IPVS: %s, operation %d of %d: %w", ops[i], i+1, len(ops), err)
		}
	}
	return nil
}

// edit takes elements away and adds others, in one transaction.
func (b *Backend) edit(ctx context.Context, gone, put []element) error {
	if len(gone)+len(put) == 0 {
		return nil
	}
	tx := b.nft.NewTransaction()
	for _, e := range gone {
		tx.Delete(e.object())
	}
	for _, e := range put {
		tx.Add(e.object())
	}
	if err := b.run(ctx, tx); err != nil {
		return fmt.Errorf("updating nftables table %s %s (%d elements less, %d more): %w", b.cfg.family().nft, b.cfg.Table, len(gone), len(put), err)
	}
	return nil
}
