package network

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	compareEvery = 10 * time.Second      // without being told of a change
	gatherFor    = 20 * time.Millisecond // changes that come together are looked at together
	retryAfter   = time.Second
)

// Run keeps the kernel in line until ctx ends: when the peers change, when somebody else changes the kernel, and from time to time. What it leaves behind
// goes on working. report is told how the last comparison went whenever that changes.
func (n *Network) Run(ctx context.Context, report func(error)) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go n.watch(watching)
	tick := time.NewTicker(compareEvery)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if len(n.Local().Ranges) > 0 && !n.rules.intact(ctx) {
				n.log.Warn("the pod network's packet filter rules were changed by somebody else, and are written again")
			}
		case <-n.wanted:
			pause(ctx, gatherFor)
		}
		err := n.Reconcile(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if text := fmt.Sprint(err); text != last {
			last = text
			report(err)
		}
		if err != nil {
			n.log.Debug("the pod network is not as it should be; trying again", "error", err)
			time.AfterFunc(retryAfter, n.nudge)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// watch asks for a comparison when routes, devices, addresses or neighbours changed that may be the network's, until ctx ends.
func (n *Network) watch(ctx context.Context) {
	for ctx.Err() == nil {
		if err := n.listen(ctx); err != nil && ctx.Err() == nil {
			n.log.Debug("listening to the kernel's changes failed; again", "error", err)
			n.nudge() // something may have been missed
			pause(ctx, retryAfter)
		}
	}
}

// listen returns why the kernel's messages ended.
func (n *Network) listen(ctx context.Context) error {
	done := make(chan struct{})
	defer close(done)
	failed := make(chan error, 4)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	routes, links := make(chan netlink.RouteUpdate, 64), make(chan netlink.LinkUpdate, 64)
	addrs, neighbours := make(chan netlink.AddrUpdate, 64), make(chan netlink.NeighUpdate, 64)
	err := errors.Join(
		netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{ErrorCallback: fail}),
		netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ErrorCallback: fail}),
		netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{ErrorCallback: fail}),
		netlink.NeighSubscribeWithOptions(neighbours, done, netlink.NeighSubscribeOptions{ErrorCallback: fail}),
	)
	if err != nil {
		return fmt.Errorf("subscribing to the kernel's changes: %w", err)
	}
	for {
		var open bool
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case _, open = <-routes:
			n.nudge()
		case _, open = <-links:
			n.nudge()
		case _, open = <-addrs:
			n.nudge()
		case u, ok := <-neighbours:
			// Only what is taken from the tunnel matters: neighbours come and go all the time.
			if open = ok; u.Type == unix.RTM_DELNEIGH && u.State&unix.NUD_PERMANENT != 0 {
				n.nudge()
			}
		}
		if !open {
			return errors.New("the kernel's messages ended")
		}
	}
}

// Remove takes away all that the network has put on this machine: bridge, tunnel, routes, rules. Pods must be gone.
func (n *Network) Remove(ctx context.Context) error {
	n.setLocal(nil)
	n.kernel.Lock()
	defer n.kernel.Unlock()
	failed := n.applyRoutes(ways{})
	for _, name := range []string{n.names.vxlan, n.names.bridge} {
		link, err := find(name)
		if err == nil && link != nil {
			err = netlink.LinkDel(link)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("removing the device %s: %w", name, err))
		}
	}
	return errors.Join(failed, n.rules.remove(ctx))
}
