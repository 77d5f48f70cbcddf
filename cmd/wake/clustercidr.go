package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/pflag"

	"github.com/wakehq/wake/services/nodeipam"
)

// podRanges is where the addresses of a cluster's pods come from.
type podRanges struct {
	ClusterCIDR string `json:"clusterCIDR,omitempty"` // one range, or one of each family; empty: the cluster is older than these
	MaskSize4   int    `json:"nodeCIDRMaskSize,omitempty"`
	MaskSize6   int    `json:"nodeCIDRMaskSizeIPv6,omitempty"`
}

// flags declares the flags that say so; more is told of the first.
func (p *podRanges) flags(f *pflag.FlagSet, more string) {
	f.StringVar(&p.ClusterCIDR, "cluster-cidr", nodeipam.DefaultRange.Prefix.String(), "addresses of the pods, shared out among the nodes; with IPv6, say 10.244.0.0/16,fd00:244::/56"+more)
	f.IntVar(&p.MaskSize4, "node-cidr-mask-size", nodeipam.DefaultMask4, "prefix length of a node's part of the IPv4 range")
	f.IntVar(&p.MaskSize6, "node-cidr-mask-size-ipv6", nodeipam.DefaultMask6, "prefix length of a node's part of the IPv6 range")
}

// parse reads the ranges; none of a cluster that is older than them.
func (p podRanges) parse() ([]nodeipam.Range, error) {
	if p.ClusterCIDR == "" {
		return nil, nil
	}
	return nodeipam.ParseRanges(p.ClusterCIDR, p.MaskSize4, p.MaskSize6)
}

// check refuses ranges that can't be, or overlap with those of the services.
func (p podRanges) check(services serviceRanges) error {
	ranges, err := p.parse()
	if err != nil {
		return fmt.Errorf("--cluster-cidr %s: %w", p.ClusterCIDR, err)
	}
	for _, r := range ranges {
		if i := slices.IndexFunc(services, r.Prefix.Overlaps); i >= 0 {
			return fmt.Errorf("--cluster-cidr %s and --service-cidr %s overlap: choose ranges apart from each other", r.Prefix, services[i])
		}
	}
	return nil
}

// spareRanges is how many ranges after the default one are looked at.
const spareRanges = 11

// free returns p, or the next /16 after it that this machine doesn't use, if p is the default range; used tells what uses a range, if anything does.
func (p podRanges) free(services serviceRanges, used func(netip.Prefix) (by string, err error)) (podRanges, error) {
	if p.ClusterCIDR != nodeipam.DefaultRange.Prefix.String() {
		return p, nil
	}
	first := nodeipam.DefaultRange.Prefix.Addr().As4()
	var taken []error
	for n := range byte(1 + spareRanges) {
		candidate := netip.PrefixFrom(netip.AddrFrom4([4]byte{first[0], first[1] + n, 0, 0}), 16)
		by, err := used(candidate)
		switch {
		case err != nil:
			return p, fmt.Errorf("looking for a free range for pods: %w", err)
		case by == "" && !slices.ContainsFunc(services, candidate.Overlaps):
			p.ClusterCIDR = candidate.String()
			return p, nil
		}
		taken = append(taken, fmt.Errorf("%s is used by %s", candidate, by))
	}
	return p, fmt.Errorf("this machine uses all ranges that are tried for pods; say which one to take with --cluster-cidr: %w", errors.Join(taken...))
}

// noPodCIDR takes the flag of earlier versions, and says what became of it.
func noPodCIDR(f *pflag.FlagSet) {
	f.String("pod-cidr", "", "")
	if err := f.MarkDeprecated("pod-cidr", "the cluster gives every node its addresses: see --cluster-cidr of \"wake up\""); err != nil {
		panic(err) // there is no such flag: a mistake in the program
	}
}
