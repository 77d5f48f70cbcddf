package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/wakehq/wake/agent"
	"github.com/wakehq/wake/agent/announce"
	"github.com/wakehq/wake/agent/network"
	"github.com/wakehq/wake/agent/policy"
	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/healthcheck"
)

// proxyTable is the nftables table of a cluster's service proxy.
func proxyTable(clusterID string) string { return "wake-" + clusterID }

// policyTable is the name of the nftables tables of a cluster's network policies.
func policyTable(clusterID string) string { return "wake-policy-" + clusterID }

// nodeConfig says how the agent of this machine knows the cluster's own.
func nodeConfig(place *location, id identity, dockerHost string) (agent.Config, error) {
	root, err := filepath.Abs(place.pods())
	if err != nil {
		return agent.Config{}, err
	}
	return agent.Config{NodeName: id.Node, Cluster: id.ID, Root: root, DockerHost: dockerHost}, nil
}

// openAgent connects an agent for this machine to its Docker Engine and its kernel.
func openAgent(ctx context.Context, place *location, o *upOptions, feed agent.Feed, log *slog.Logger) (*agent.Agent, error) {
	config, err := nodeConfig(place, o.identity, o.dockerHost)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(config.Root, 0o700); err != nil {
		return nil, fmt.Errorf("the directory of the pods' files: %w", err)
	}
	config.Feed, config.Log, config.ClusterID = feed, log, o.cluster
	if config.Routing, err = network.ParseRouting(o.routing); err != nil {
		return nil, fmt.Errorf("--pod-routing: %w", err)
	}
	config.ClusterDNS, config.ClusterDomain, config.ResolvConf = o.dns.cluster, o.identity.Domain, o.dns.resolvConf
	config.Services = func(ctx context.Context, net agent.PodNet) (agent.Proxy, agent.DNS, error) {
		backend, err := o.proxy.open(ctx, o.identity, net, log)
		if err != nil {
			return nil, nil, err
		}
		own, err := ownAddresses()
		if err != nil {
			return nil, nil, err
		}
		names, err := o.dns.open(o.identity, net, place, log)
		if err != nil {
			return nil, nil, err
		}
		served := proxy.New(backend, proxy.Node{Name: config.NodeName, Addrs: own}, log)
		served.ReportHealth(healthcheck.New(ctx, log))
		go served.Keep(ctx)
		return served, names, nil
	}
	config.Announcer = announce.New(log)
	if config.Policies, err = policy.New(ctx, policyTable(o.identity.ID), log); err != nil {
		return nil, err
	}
	if err := openIngress(ctx, place, o.doors, &config); err != nil {
		return nil, err
	}
	return agent.New(ctx, config)
}

// ownAddresses are the machine's addresses at which node ports answer.
func ownAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("listing this machine's addresses: %w", err)
	}
	var own []netip.Addr
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && prefix.Addr().IsGlobalUnicast() {
			own = append(own, prefix.Addr())
		}
	}
	return own, nil
}
