package main

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wakehq/wake/agent/network"
	"github.com/wakehq/wake/events/nodewire"
	"github.com/wakehq/wake/gateway/joining"
)

// agentOptions are the flags of "wake agent".
type agentOptions struct {
	join       string
	wish       member
	dockerHost string
	logLevel   string
	routing    string
	dns        dnsOptions
	proxy      proxyOptions
	doors      doors

	token *joining.Token
	level slog.Level
}

func agentCommand(place *location) *cobra.Command {
	o := &agentOptions{}
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run this machine as a node of a cluster elsewhere",
		Long: `Run this machine as a node of a cluster elsewhere. It joins once, with --join and --server, and keeps its certificate in the data directory (which it renews);
from then on it needs neither. It runs until Ctrl-C; containers stay, and the next "wake agent" finds them. While the cluster can't be reached
the pods go on, and it tries again for good.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return runAgent(cmd, place.node(), o)
		},
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	f := c.Flags()
	f.StringVar(&o.join, "join", "", "a token from \"wake token create\", or @FILE that holds one")
	f.StringVar(&o.wish.Server, "server", "", "address of the cluster's API, such as https://192.0.2.1:6443")
	f.StringVar(&o.wish.Node, "node-name", strings.ToLower(host), "name of this machine's node")
	f.StringVar(&o.routing, "pod-routing", string(network.Auto), "how packets get to other nodes' pods: direct (nodes share a link), vxlan, or auto: the first where it can be, else the second")
	o.dns.flags(f)
	o.proxy.flags(f)
	noPodCIDR(f)
	o.doors.flags(f)
	f.StringVar(&o.dockerHost, "docker-host", "", "Docker's API (default: DOCKER_HOST, or its socket)")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	return c
}

// check refuses flags that can't work before anything is started.
func (o *agentOptions) check() error {
	if err := o.level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return fmt.Errorf("--log-level %q: say debug, info, warn or error", o.logLevel)
	}
	if _, err := network.ParseRouting(o.routing); err != nil {
		return fmt.Errorf("--pod-routing: %w", err)
	}
	if err := errors.Join(o.dns.check(), o.proxy.check(), o.doors.check()); err != nil {
		return err
	}
	if o.wish.Server != "" {
		if u, err := url.Parse(o.wish.Server); err != nil || u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("--server %q is no address such as https://192.0.2.1:6443", o.wish.Server)
		}
	}
	if o.join == "" {
		return nil
	}
	text := o.join
	if file, ok := strings.CutPrefix(text, "@"); ok {
		content, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("--join: %w", err)
		}
		text = string(content)
	}
	token, err := joining.ParseToken(text)
	if err != nil {
		return fmt.Errorf("--join: %w", err)
	}
	o.token = &token
	return nil
}

// runAgent runs the node that dir is of until the command's context ends.
func runAgent(cmd *cobra.Command, dir string, o *agentOptions) error {
	ctx := cmd.Context()
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: o.level}))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the data directory: %w", err)
	}
	unlock, err := lockNode(dir)
	if err != nil {
		return err
	}
	defer unlock()
	m, err := openMembership(ctx, dir, o.wish, o.token, log)
	if err != nil {
		return err
	}
	as := m.now
	if as.Node != o.wish.Node && cmd.Flags().Changed("node-name") {
		return fmt.Errorf("--node-name %s: this machine has joined as %s, and its containers say so; leave the flag out, or use another --data-dir", o.wish.Node, as.Node)
	}
	addresses, err := as.brokerAddresses()
	if err != nil {
		return err
	}
	conn, err := nodewire.Dial(as.Node, nodewire.Brokers{Addresses: m.brokers, TLS: m.brokerTLS, Tell: (&complaints{log: log, what: "trying to reach the cluster"}).tell})
	if err != nil {
		return err
	}
	defer conn.Close()
	// To Docker and the kernel a node that joined is a cluster of its own: others may run beside it.
	a, err := openAgent(ctx, &location{dir: dir}, &upOptions{identity: as.identity(), dockerHost: o.dockerHost, routing: o.routing, dns: o.dns, proxy: o.proxy, doors: o.doors,
		cluster: as.Cluster}, nodewire.NewClient(conn, as.Node), log)
	if err != nil {
		return err
	}
	cmd.Printf("Wake agent is up: node %s of cluster %s at %s, data in %s\n", as.Node, as.Cluster, strings.Join(addresses, ", "), dir)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.Run(ctx) })
	g.Go(func() error { return m.keep(ctx, log) })
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// identity is what a node that joined is on its machine.
func (as *member) identity() identity {
	return identity{ID: nodeMark(as.Cluster, as.Node), Node: as.Node, ServiceCIDR: as.ServiceCIDR, podRanges: podRanges{ClusterCIDR: as.ClusterCIDR}, Domain: as.Domain}
}

// nodeMark is what tells a node's containers, network and rules on a machine from others; interface names have room for it.
func nodeMark(cluster, node string) string {
	sum := sha256.Sum256([]byte(cluster + "/" + node))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:8])
}

// lockNode takes dir for this process; the kernel gives it back however the process ends.
func lockNode(dir string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another wake agent runs on %s: stop that one first, or choose another --data-dir: %w", dir, err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}

// complaints logs what goes wrong, again and again the same only once a minute.
type complaints struct {
	log  *slog.Logger
	what string // was being done

	mu   sync.Mutex
	last string
	at   time.Time
}

func (c *complaints) tell(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if text := err.Error(); text != c.last || time.Since(c.at) > time.Minute {
		c.last, c.at = text, time.Now()
		c.log.Warn(c.what, "error", err)
	}
}
