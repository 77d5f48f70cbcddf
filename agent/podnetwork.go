package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"

	"github.com/wakehq/wake/agent/network"
)

// PodNet is the pod network as it is on this node.
type PodNet struct {
	Nets     []netip.Prefix // the addresses of the node's own pods, IPv4 first
	Gateways []netip.Addr   // the node's own address in each of Nets: where its pods find it
	Device   string         // the bridge that the pods are on
}

// Services makes what serves the cluster's Services on a node whose pods are in net: the service proxy and the DNS server, either of which
// may be nil. The agent has the latter Serve. It is called when the pod network is up, and again should the node be given other addresses; ctx ends
// when what it made is not wanted any more. The first change that both are told is full.
type Services func(ctx context.Context, net PodNet) (Proxy, DNS, error)

// openNetwork opens the node's part of the pod network, and sets the node's address if nobody has.
func openNetwork(config *Config) (*network.Network, error) {
	if config.NodeIP == "" {
		own, err := outwardIP()
		if err != nil {
			return nil, err
		}
		config.NodeIP = own
	}
	own, err := netip.ParseAddr(config.NodeIP)
	if err != nil {
		return nil, fmt.Errorf("the node's address: %w", err)
	}
	return network.New(network.Config{Mark: config.Cluster, Cluster: cmp.Or(config.ClusterID, config.Cluster), Node: config.NodeName, NodeIP: own,
		Routing: config.Routing, Log: config.Log})
}

// PodNetwork returns where the pods of this machine are, as an agent with this configuration has left it; no nets if there is nothing.
func PodNetwork(config Config) (PodNet, error) {
	net, err := openNetwork(&config)
	if err != nil {
		return PodNet{}, err
	}
	return podNet(net.Local()), nil
}

func podNet(l network.Local) PodNet {
	return PodNet{Nets: l.Ranges, Gateways: l.Gateways, Device: l.Device}
}
