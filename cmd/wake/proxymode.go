package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/spf13/pflag"

	"github.com/wakehq/wake/agent"
	"github.com/wakehq/wake/agent/network"
	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/ipvs"
	"github.com/wakehq/wake/agent/proxy/nft"
)

// The ways in which a node can serve Services.
const (
	modeAuto     = "auto"
	modeNftables = "nftables"
	modeIPVS     = "ipvs"
)

// proxyOptions say how a node serves Services.
type proxyOptions struct {
	mode      string
	scheduler string // of IPVS
}

func (o *proxyOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.mode, "proxy-mode", modeAuto, "what serves Services on this node: ipvs, nftables, or auto: the first where the kernel has it, else the second")
	f.StringVar(&o.scheduler, "ipvs-scheduler", "rr", "how IPVS chooses endpoints: rr, wrr, lc, wlc, sh, mh or another that the kernel has")
}

// check refuses flags that can't work.
func (o *proxyOptions) check() error {
	if modes := []string{modeAuto, modeNftables, modeIPVS}; !slices.Contains(modes, o.mode) {
		return fmt.Errorf("--proxy-mode %q: say auto, nftables or ipvs", o.mode)
	}
	return nil
}

// choose says whether IPVS is to serve, and in the log why it isn't.
func (o *proxyOptions) choose(ctx context.Context, log *slog.Logger) (bool, error) {
	if o.mode == modeNftables {
		return false, nil
	}
	err := ipvs.Check(ctx, o.scheduler)
	if o.mode == modeAuto && errors.Is(err, ipvs.ErrNoIPVS) {
		log.Info("Services are served by nftables", "because", err)
		return false, nil
	}
	if err == nil {
		log.Info("Services are served by IPVS", "scheduler", o.scheduler)
	}
	return true, err
}

// open opens the service proxy of this machine for pods in net. What the other way of serving has left is removed.
func (o *proxyOptions) open(ctx context.Context, id identity, net agent.PodNet, log *slog.Logger) (proxy.Backend, error) {
	services, err := parseServiceRanges(id.ServiceCIDR)
	if err != nil {
		return nil, fmt.Errorf("the cluster's service addresses %q: %w", id.ServiceCIDR, err)
	}
	byIPVS := ipvs.Config{Table: proxyTable(id.ID), PodNets: net.Nets, ServiceNets: services, PodDevice: net.Device, Scheduler: o.scheduler, ForwardMark: network.ForwardMark}
	wanted, err := o.choose(ctx, log)
	if err != nil {
		return nil, fmt.Errorf("--proxy-mode %s: %w", o.mode, err)
	}
	if wanted {
		return ipvs.New(ctx, byIPVS)
	}
	if err := ipvs.RemoveLeft(ctx, byIPVS); err != nil {
		return nil, err
	}
	return nft.New(ctx, nft.Config{Table: proxyTable(id.ID), PodNets: net.Nets, ServiceNets: services, PodDevice: net.Device, ForwardMark: network.ForwardMark})
}
