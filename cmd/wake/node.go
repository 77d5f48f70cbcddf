package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/wakehq/wake/agent"
	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/nft"
)

// clusterID names what belongs to this cluster on the machine. It is made once, with the data directory.
func (l *location) clusterID() (string, error) {
	known, err := os.ReadFile(l.identity())
	if id := strings.TrimSpace(string(known)); err == nil && id != "" {
		return id, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the cluster's identity: %w", err)
	}
	id := strings.ToLower(rand.Text()[:8])
	if err := writeFile(l.identity(), []byte(id+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("writing the cluster's identity: %w", err)
	}
	return id, nil
}

// proxyTable is the nftables table of a cluster's service proxy.
func proxyTable(clusterID string) string { return "wake-" + clusterID }

// podBridge is the interface of a cluster's pod network; interface names hold 15 characters.
func podBridge(clusterID string) string { return "wake-" + clusterID }

// openAgent connects an agent for this machine to its Docker Engine and its kernel.
func openAgent(ctx context.Context, place *location, o *upOptions, feed agent.Feed, log *slog.Logger) (*agent.Agent, error) {
	id, err := place.clusterID()
	if err != nil {
		return nil, err
	}
	root, err := filepath.Abs(place.pods())
	if err != nil {
		return nil, err
	}
	backend, err := nft.New(ctx, nft.Config{Table: proxyTable(id), PodNets: []netip.Prefix{o.pods}, ServiceNets: []netip.Prefix{o.services}, PodDevice: podBridge(id)})
	if err != nil {
		return nil, err
	}
	own, err := ownAddresses()
	if err != nil {
		return nil, err
	}
	return agent.New(ctx, agent.Config{NodeName: o.nodeName, Cluster: id, Root: root, Feed: feed, Log: log, DockerHost: o.dockerHost,
		PodCIDR: o.podCIDR, Bridge: podBridge(id), Proxy: proxy.New(backend, proxy.Node{Name: o.nodeName, Addrs: own}, log)})
}

// ownAddresses are the machine's IPv4 addresses at which node ports answer.
func ownAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("listing this machine's addresses: %w", err)
	}
	var own []netip.Addr
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && prefix.Addr().Is4() && !prefix.Addr().IsLoopback() {
			own = append(own, prefix.Addr())
		}
	}
	return own, nil
}
