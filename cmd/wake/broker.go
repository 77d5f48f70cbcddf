package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/jetstream"
)

// brokerOptions are the flags of "wake broker".
type brokerOptions struct {
	name       string
	ledger     string
	syncAlways bool
}

func brokerCommand(place *location) *cobra.Command {
	r, o := newRole(place, "broker"), &brokerOptions{}
	c := &cobra.Command{
		Use:   "broker",
		Short: "Run one of a cluster's brokers: a copy of the ledger, and a gate for nodes",
		Long: `Run one of the brokers that "wake init" named. Together they hold the ledger: what is acknowledged is on a majority of them, and survives the loss of the others. Each also
has a gate at which nodes come in.

It runs until Ctrl-C, and hands over what it leads before it ends. Killed, the others take over within some seconds.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.runBroker(cmd, o) },
	}
	f := c.Flags()
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	f.StringVar(&o.name, "name", host, "which of the cluster's brokers this is")
	f.StringVar(&o.ledger, "ledger-dir", "", "where it keeps its copy of the ledger, which no other process may use (default: brokers/NAME in the data directory)")
	f.BoolVar(&o.syncAlways, "sync-always", false, "write events to disk before they are acknowledged: they survive a crash of all operating systems at once")
	r.flags(f)
	return c
}

// find returns where a broker is, and where the others are.
func (id identity) find(name string) (own brokerPlace, peers []string, _ error) {
	at := slices.IndexFunc(id.Brokers, func(b brokerPlace) bool { return b.Name == name })
	if at < 0 {
		return own, nil, fmt.Errorf("--name %q: the cluster's brokers are %s", name, strings.Join(id.addresses(func(b brokerPlace) string { return b.Name }), ", "))
	}
	for i, b := range id.Brokers {
		if i != at {
			peers = append(peers, b.routes())
		}
	}
	return id.Brokers[at], peers, nil
}

// listenAt is where a broker listens that others reach at host: there if that is an address of this machine's, else at all of them.
func listenAt(host string, port int) string {
	if net.ParseIP(host) == nil {
		host = "0.0.0.0"
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// config says how a broker of the cluster runs.
func (o *brokerOptions) config(p *plane) (broker.Config, brokerPlace, error) {
	own, peers, err := p.identity.find(o.name)
	if err != nil {
		return broker.Config{}, own, err
	}
	dir := o.ledger
	if dir == "" {
		dir = p.place.brokerOf(own.Name)
	}
	secure := p.authority.BrokerForControlPlane()
	config := broker.Config{Dir: dir, SyncAlways: o.syncAlways, Listen: listenAt(own.Host, own.Port), TLS: secure, Log: p.log}
	if len(peers) > 0 {
		config.Cluster = &broker.Cluster{Name: "wake-" + p.identity.ID, Server: own.Name, Listen: listenAt(own.Host, own.Port+1), Peers: peers, TLS: secure}
	}
	return config, own, nil
}

// runBroker runs a broker and its gate until the command's context ends. Nodes are let in once the ledger, which tells them apart, is loaded.
func (r *role) runBroker(cmd *cobra.Command, o *brokerOptions) (err error) {
	began, asked := time.Now(), cmd.Context()
	p, err := r.begin(cmd)
	if err != nil {
		return err
	}
	config, own, err := o.config(p)
	if err != nil {
		return err
	}
	b, err := broker.Start(config)
	if err != nil {
		return fmt.Errorf("broker %s: %w", own.Name, err)
	}
	defer func() { err = errors.Join(err, p.close(), b.Close()) }()
	var known atomic.Pointer[plane] // once it has a view
	gate, err := b.OpenGate(broker.GateConfig{Listen: listenAt(own.Host, own.Port+2), TLS: p.authority.NodeGate(), Log: p.log,
		Admit: func(leaf *x509.Certificate) (broker.Guest, error) {
			if known.Load() == nil {
				return broker.Guest{}, errors.New("this broker has not loaded the ledger yet; try another")
			}
			return p.admit(leaf)
		}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gate.Close()) }()
	h, err := openHealth(r.health, b)
	if err != nil {
		return err
	}
	cmd.Printf("Wake broker %s is up after %s; data in %s, nodes come in at %s\n", own.Name, time.Since(began).Round(10*time.Millisecond), config.Dir, gate.Addr())
	g, ctx := errgroup.WithContext(asked)
	g.Go(func() error { return h.run(ctx) })
	g.Go(func() error { return gate.Run(ctx) })
	g.Go(func() error {
		if err := p.openRemote(ctx, b, retention{}); err != nil {
			return err
		}
		known.Store(p)
		p.metrics.leads(func() bool { return b.Leads(jetstream.StreamName) })
		h.ready(p)
		cmd.Printf("Wake broker %s has the ledger after %s, up to revision %d\n", own.Name, time.Since(began).Round(10*time.Millisecond), p.view.Status().Revision)
		return context.Cause(ctx)
	})
	return r.end(asked, g.Wait())
}
