package main

import (
	"crypto/x509"
	"errors"
	"net"
	"strconv"

	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/nodewire"
	"github.com/wakehq/wake/gateway"
	"github.com/wakehq/wake/gateway/joining"
	"github.com/wakehq/wake/gateway/pki"
)

// openGate opens the address at which other machines' agents come in, if there is to be one.
func (c *cluster) openGate() error {
	if c.options.nodes == "" {
		return nil
	}
	var err error
	c.gate, err = c.broker.OpenGate(broker.GateConfig{Listen: c.options.nodes, TLS: c.authority.NodeGate(), Admit: c.admit, Log: c.log})
	if err != nil {
		return err
	}
	c.onClose(c.gate.Close)
	return nil
}

// admit tells whose a certificate is, and what it is good for: the subjects of one node, as long as there is that Node object.
func (p *plane) admit(leaf *x509.Certificate) (broker.Guest, error) {
	node, ok := pki.NodeOf(leaf)
	if !ok {
		return broker.Guest{}, errors.New("the certificate is not a node's")
	}
	if err := joining.Admitted(p.view.State(), node); err != nil {
		return broker.Guest{}, err
	}
	return broker.Guest{Name: node.Name, Publish: nodewire.Publishes(node.Name), Subscribe: nodewire.Subscribes(node.Name), Inbox: nodewire.Inbox(node.Name)}, nil
}

// joining is what machines that join are told; nil if none can.
func (c *cluster) joining() *gateway.Joining {
	if c.gate == nil {
		return nil
	}
	address := c.gate.Addr().String()
	if own, ok := c.gate.Addr().(*net.TCPAddr); ok && own.IP.IsUnspecified() {
		address = net.JoinHostPort("", strconv.Itoa(own.Port))
	}
	return &gateway.Joining{Broker: address, Cluster: c.identity.ID, ServiceCIDR: c.identity.ServiceCIDR, ClusterCIDR: c.identity.ClusterCIDR, Domain: c.identity.Domain}
}
