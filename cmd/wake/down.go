package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/wakehq/wake/agent"
	"github.com/wakehq/wake/agent/ingress"
	"github.com/wakehq/wake/agent/policy"
	"github.com/wakehq/wake/services/nodeipam"
)

// downWithin is how long a cluster may take to end before it is killed.
const downWithin = 30 * time.Second

func downCommand(place *location) *cobra.Command {
	var containers, purge bool
	var dockerHost string
	c := &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster; its containers stay unless told otherwise",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := down(cmd, place)
			if errors.Is(err, errNotRunning) && (containers || purge) {
				err = nil
			}
			if err != nil {
				return err
			}
			if containers || purge {
				if err := removeContainers(cmd, place, dockerHost); err != nil {
					return err
				}
				if err := removeNode(cmd, place, dockerHost, purge); err != nil {
					return err
				}
			}
			if purge {
				return removeData(cmd, place)
			}
			if !containers {
				cmd.Println("Its containers go on running; \"wake up\" finds them again. (wake down --containers stops them, --purge removes the ledger too)")
			}
			return nil
		},
	}
	c.Flags().BoolVar(&containers, "containers", false, "also stop and remove the cluster's containers on this machine, its network, its rules and what serves Ingresses")
	c.Flags().BoolVar(&purge, "purge", false, "remove the containers, the data directory and what lies apart from it: the ledger, the archive, the keys, the checkpoints, everything")
	c.Flags().StringVar(&dockerHost, "docker-host", "", "Docker's API (default: DOCKER_HOST, or its socket)")
	return c
}

// down ends the cluster's process and waits until it has gone.
func down(cmd *cobra.Command, place *location) error {
	r, err := place.process()
	if err != nil {
		return err
	}
	if err := syscall.Kill(r.PID, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping process %d: %w", r.PID, err)
	}
	deadline := time.Now().Add(downWithin)
	for syscall.Kill(r.PID, 0) == nil && isWake(r.PID) {
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d has not ended within %s: see %s, or end it with kill -9 %d (nothing is lost)", r.PID, downWithin, place.logFile(), r.PID)
		}
		select {
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	cmd.Printf("Stopped the cluster in %s (process %d).\n", place.dir, r.PID)
	return nil
}

// removeContainers removes what the cluster has on this machine outside its data directory.
func removeContainers(cmd *cobra.Command, place *location, dockerHost string) error {
	id, err := place.load()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing ever ran here
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(place.pods()); errors.Is(err, fs.ErrNotExist) {
		return nil // no agent ever ran here
	}
	return purgeNode(cmd, place, id, dockerHost)
}

// removeNode removes what this machine has of a cluster elsewhere that it was a node of ("wake agent"), and if it is to be purged, its membership.
func removeNode(cmd *cobra.Command, place *location, dockerHost string, purge bool) error {
	dir := place.node()
	as, err := readMember(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was never one
	}
	if err != nil {
		return err
	}
	unlock, err := lockNode(dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := purgeNode(cmd, &location{dir: dir}, as.identity(), dockerHost); err != nil {
		return err
	}
	if !purge {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing the node's membership: %w", err)
	}
	cmd.Printf("This machine is node %s no more; wake kubectl delete node %s, at the cluster, frees its addresses.\n", as.Node, as.Node)
	return nil
}

// purgeNode removes a node's containers, network and rules from this machine.
func purgeNode(cmd *cobra.Command, place *location, id identity, dockerHost string) error {
	config, err := nodeConfig(place, id, dockerHost)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
	defer cancel()
	err = errors.Join(ingress.Stop(ctx, place.ingressSocket()), removeProxy(ctx, config, id), removePolicies(ctx, id))
	count, purged := agent.Purge(ctx, config)
	if err := errors.Join(err, purged); err != nil {
		return fmt.Errorf("removing what the cluster left on this machine: %w", err)
	}
	cmd.Printf("Removed %d containers.\n", count)
	return nil
}

// removeProxy removes the service proxy's rules.
func removeProxy(ctx context.Context, config agent.Config, id identity) error {
	net, err := agent.PodNetwork(config)
	if err != nil {
		return err
	}
	if len(net.Nets) == 0 { // there are no pods, but there may be rules
		net = agent.PodNet{Nets: []netip.Prefix{nodeipam.DefaultRange.Prefix, netip.MustParsePrefix("fd00::/64")}}
	}
	removing := proxyOptions{mode: modeNftables}
	backend, err := removing.open(ctx, id, net, slog.Default())
	if err != nil {
		return err
	}
	return backend.Remove(ctx)
}

// removePolicies removes the network policies' rules.
func removePolicies(ctx context.Context, id identity) error {
	enforcer, err := policy.New(ctx, policyTable(id.ID), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return enforcer.Remove(ctx)
}

// removeData removes the data directory, but only if it is one, and what lies apart from it.
func removeData(cmd *cobra.Command, place *location) error {
	if _, err := os.Stat(place.broker()); errors.Is(err, os.ErrNotExist) {
		cmd.Printf("There is no cluster in %s; nothing to remove.\n", place.dir)
		return nil
	}
	id, err := place.load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, dir := range []string{place.archive(id), place.trust(id), place.dir} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing the data directory: %w", err)
		}
	}
	cmd.Printf("Removed %s.\n", place.dir)
	return nil
}
