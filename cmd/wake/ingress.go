package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wakehq/wake/agent"
	"github.com/wakehq/wake/agent/ingress"
	"github.com/wakehq/wake/events"
)

// doors says whether a node serves Ingresses, and where.
type doors struct {
	ingress.Addresses
	open bool
}

func (d *doors) flags(f *pflag.FlagSet) {
	f.BoolVar(&d.open, "ingress", false, "serve Ingresses on this node")
	d.addresses(f)
}

func (d *doors) addresses(f *pflag.FlagSet) {
	f.StringVar(&d.HTTP, "ingress-http", ":80", "address at which Ingresses are served with --ingress, without TLS (empty: nowhere)")
	f.StringVar(&d.HTTPS, "ingress-https", ":443", "the same, with TLS (empty: nowhere)")
}

// check refuses addresses that can't be.
func (d *doors) check() error {
	for flag, address := range map[string]string{"ingress-http": d.HTTP, "ingress-https": d.HTTPS} {
		if address == "" {
			continue
		}
		if _, err := net.ResolveTCPAddr("tcp", address); err != nil {
			return fmt.Errorf("--%s %q is no address such as :80 or 192.0.2.1:80: %w", flag, address, err)
		}
	}
	if d.HTTP == d.HTTPS {
		return fmt.Errorf("--ingress-http and --ingress-https are both %q: they must differ", d.HTTP)
	}
	return nil
}

// openIngress has the agent serve Ingresses, or ends what an agent before has left of that.
func openIngress(ctx context.Context, place *location, d doors, config *agent.Config) error {
	socket := place.ingressSocket()
	if !d.open {
		return ingress.Stop(ctx, socket)
	}
	if len(socket) > maxSocketPath {
		return fmt.Errorf("the data directory's path is too long for a socket in it (%s has %d bytes, at most %d can be): choose a shorter --data-dir", socket, len(socket), maxSocketPath)
	}
	build, err := buildOf()
	if err != nil {
		return err
	}
	config.Labels = map[string]string{events.IngressLabel: "true"}
	config.Ingress = ingress.NewKeeper(ingress.KeeperConfig{Socket: socket, Addresses: d.Addresses, Build: build, Log: config.Log,
		Start: func(takeOver bool) error { return startIngress(place, d, build, takeOver) }})
	return nil
}

// maxSocketPath is what the kernel takes.
const maxSocketPath = 107

// buildOf tells apart the versions of this program, as far as a process that outlives it cares.
func buildOf() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	info, err := os.Stat(self)
	if err != nil {
		return "", fmt.Errorf("looking at this program: %w", err)
	}
	return fmt.Sprintf("%s %d %d", version(), info.Size(), info.ModTime().UnixNano()), nil
}

// startIngress starts "wake ingress" in a session of its own, so that it outlives this process.
func startIngress(place *location, d doors, build string, takeOver bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(place.ingressLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("the log of what serves Ingresses: %w", err)
	}
	defer func() { _ = log.Close() }()
	child := exec.Command(self, "ingress", "--socket", place.ingressSocket(), "--build", build, "--ingress-http", d.HTTP, "--ingress-https", d.HTTPS,
		fmt.Sprintf("--take-over=%v", takeOver))
	child.Stdout, child.Stderr = log, log
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return fmt.Errorf("starting %s ingress: %w", self, err)
	}
	go func() { _ = child.Wait() }() // its keeper finds out by the socket
	return nil
}

// ingressCommand is what startIngress starts.
func ingressCommand() *cobra.Command {
	var d doors
	var socket, build string
	var takeOver bool
	c := &cobra.Command{
		Use: "ingress", Short: "Serve Ingresses on this machine (an agent starts this)", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := d.check(); err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			server, err := ingress.NewServer(d.Addresses, log)
			if err != nil {
				return err
			}
			if takeOver {
				if err := server.TakeOver(cmd.Context(), socket); err != nil {
					return err
				}
			}
			return ingress.Serve(cmd.Context(), socket, build, server)
		},
	}
	d.addresses(c.Flags())
	c.Flags().StringVar(&socket, "socket", "", "where the agent speaks to it")
	c.Flags().BoolVar(&takeOver, "take-over", false, "serve on the sockets of the process that is there now")
	c.Flags().StringVar(&build, "build", "", "the agent's version")
	return c
}
