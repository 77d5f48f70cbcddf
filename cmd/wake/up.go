package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/wakehq/wake/agent/network"
	"github.com/wakehq/wake/schemas/addresspool"
	"github.com/wakehq/wake/services/service"
)

// upOptions are the flags of "wake up".
type upOptions struct {
	listen     string
	logLevel   string
	routing    string
	dockerHost string
	cluster    string // ID of the cluster that this machine is a node of; empty: the identity's
	dns        dnsOptions
	proxy      proxyOptions
	nodes      string // address of the broker for nodes; empty: no machine can join
	detach     bool
	noAgent    bool
	syncAlways bool

	doors     doors
	retention retention
	identity  identity
	pools     []string // addresses for load balancers
	level     slog.Level
}

func upCommand(place *location) *cobra.Command {
	o := &upOptions{}
	c := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster on this machine, or go on with the one in the data directory",
		Long: `Start a cluster on this machine, or go on with the one in the data directory: broker, API, services and a node agent in one process.

It runs until Ctrl-C (or "wake down"). Containers stay, and the next "wake up" finds them; none is restarted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if o.detach {
				return detach(cmd, place)
			}
			return up(cmd.Context(), cmd, place, o)
		},
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	f := c.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:6443", "address of the API")
	f.StringVar(&o.nodes, "nodes-listen", "", "address, such as 192.0.2.1:4222, at which other machines' agents reach this cluster (default: none can join); they join with --listen's")
	f.StringVar(&o.identity.Node, "node-name", host, "name of this machine's node")
	o.identity.flags(f, ". Unless it is given, the next free range is taken where this machine uses the default already")
	f.StringVar(&o.routing, "pod-routing", string(network.Auto), "how packets get to other nodes' pods: direct (nodes share a link), vxlan, or auto: the first where it can be, else the second")
	o.dns.flags(f)
	o.proxy.flags(f)
	noPodCIDR(f)
	f.StringVar(&o.identity.ServiceCIDR, "service-cidr", service.DefaultRange.String(), "addresses of the services: one range, or one of IPv4 and one of IPv6 apart by a comma, the preferred first")
	f.StringVar(&o.identity.Domain, "cluster-domain", defaultDomain, "what the names of the cluster's services and pods end in")
	f.StringSliceVar(&o.pools, "load-balancer-pool", nil, "addresses for services of type LoadBalancer, such as 192.0.2.100-192.0.2.120 or 192.0.2.0/28: the pool \"default\" in configmap kube-system/load-balancer-pools (default: what is there)")
	o.doors.flags(f)
	f.StringVar(&o.dockerHost, "docker-host", "", "Docker's API (default: DOCKER_HOST, or its socket)")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.BoolVarP(&o.detach, "detach", "d", false, "start it in the background and return when it is ready")
	f.BoolVar(&o.noAgent, "no-agent", false, "run no containers here: control plane only")
	o.retention.flags(f)
	f.StringVar(&o.identity.Archive, "archive-dir", "", "where the archive is (default: archive in the data directory)")
	f.StringVar(&o.identity.Trust, "trust-dir", "", "where the hash chain and the signed checkpoints are, apart from the data (default: beside the data directory, ending in .trust)")
	f.BoolVar(&o.syncAlways, "sync-always", false, "acknowledge a write only when it is on the disk (slower; without it, a crash of the operating system can cost the last second)")
	return c
}

// check refuses flags that can't work before anything is started.
func (o *upOptions) check() error {
	services, err := parseServiceRanges(o.identity.ServiceCIDR)
	if err != nil {
		return fmt.Errorf("--service-cidr: %w", err)
	}
	o.identity.ServiceCIDR = services.String()
	if err := o.level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return fmt.Errorf("--log-level %q: say debug, info, warn or error", o.logLevel)
	}
	if err := o.retention.check(); err != nil {
		return err
	}
	for _, text := range o.pools {
		if _, err := addresspool.ParseRange(text); err != nil {
			return fmt.Errorf("--load-balancer-pool: %w", err)
		}
	}
	if _, err := network.ParseRouting(o.routing); err != nil {
		return fmt.Errorf("--pod-routing: %w", err)
	}
	if err := errors.Join(o.dns.check(), o.proxy.check()); err != nil {
		return err
	}
	if err := checkDomain(o.identity.Domain); err != nil {
		return err
	}
	if err := o.doors.check(); err != nil {
		return err
	}
	return o.identity.check(services)
}

// collectorPercent is how much the heap may grow until garbage is collected: with Go's 100, a control plane that makes thousands of pods at once
// spends a quarter of its time on that. Idle it makes no difference (docs/benchmarks.md).
const collectorPercent = 200

// up runs the cluster until ctx ends.
func up(ctx context.Context, cmd *cobra.Command, place *location, o *upOptions) (err error) {
	began := time.Now()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectorPercent)
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: o.level}))
	slog.SetDefault(log)
	if err := os.MkdirAll(place.dir, 0o700); err != nil {
		return fmt.Errorf("the data directory: %w", err)
	}
	if o.identity, err = place.adopt(o.identity, cmd.Flags().Changed); err != nil {
		return err
	}
	cluster, err := openCluster(ctx, place, o, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.close()) }()
	return cluster.run(ctx, func() error {
		self := running{PID: os.Getpid(), URL: cluster.url(), Node: o.identity.Node, Started: began}
		if err := place.setProcess(self); err != nil {
			return err
		}
		cmd.Printf("Wake is up at %s after %s; node %s, data in %s\n", self.URL, time.Since(began).Round(10*time.Millisecond), o.identity.Node, place.dir)
		if cluster.gate != nil {
			cmd.Printf("  nodes come in at %s; wake token create lets one join\n", cluster.gate.Addr())
		}
		cmd.Printf("  export KUBECONFIG=%s     or: wake kubectl get nodes\n", place.kubeconfig())
		return nil
	})
}
