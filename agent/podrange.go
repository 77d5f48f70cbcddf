package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/network"
	"github.com/wakehq/wake/agent/policy"
	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/events/nodewire"
)

// waitsForRange is why a node that has just come can't run pods.
const waitsForRange = "the cluster has not given the node addresses for its pods yet"

// networkRetry is how long a node waits that couldn't set up its pod network.
const networkRetry = 2 * time.Second

// setNoNetwork notes why no pod can be on the pod network now; empty if they can.
func (a *Agent) setNoNetwork(why string) {
	if before := a.noNetwork.Swap(&why); *before == why {
		return
	}
	select {
	case a.nodeChanged <- struct{}{}:
	default:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.pods {
		p.kick()
	}
}

// networkCompared is told how the pod network's last comparison with the kernel went, when that changes.
func (a *Agent) networkCompared(err error) {
	if err != nil {
		a.log.Warn("the pod network is not as it should be; trying again", "error", err)
		return
	}
	a.log.Info("the pod network is as it should be")
}

// enter sets up the pod network with the node's ranges, and what serves Services on it.
func (a *Agent) enter(ctx context.Context, ranges []netip.Prefix) error {
	if err := a.network.Use(ctx, ranges); err != nil {
		return err
	}
	local := a.network.Local()
	a.policing.note(policy.Change{Bridge: &policy.Bridge{Device: local.Device, Nets: local.Ranges}})
	if a.config.Services != nil {
		if a.endServices != nil {
			a.endServices()
			a.serving.Wait()
		}
		serving, end := context.WithCancel(ctx)
		services, dns, err := a.config.Services(serving, podNet(local))
		if err != nil {
			end()
			return fmt.Errorf("serving services: %w", err)
		}
		a.endServices = end
		a.serveNames(serving, dns)
		a.mu.Lock()
		a.proxy, a.dns, a.proxyChanges = services, dns, nil
		a.mu.Unlock()
	}
	a.entered = ranges
	a.setNoNetwork("")
	return nil
}

// errAnew is why slices are asked for anew: whoever serves Services has to hear all of them.
var errAnew = errors.New("a full slice is needed")

// takeSlices enters the pod network and applies the cluster's slices until ctx ends. What an earlier process has left of the network serves at once, though
// the cluster may be away.
func (a *Agent) takeSlices(ctx context.Context) error {
	if left := a.network.Local().Ranges; len(left) > 0 {
		if err := a.enter(ctx, left); err != nil {
			a.log.Warn("the pod network is not as it was left; waiting for the cluster", "error", err)
		}
	}
	close(a.entering)
	for {
		session, end := context.WithCancel(ctx)
		slices, err := a.config.Feed.Slices(session)
		if err == nil {
			err = a.follow(session, ctx, slices)
		}
		end()
		if !errors.Is(err, errAnew) {
			return err
		}
	}
}

// follow applies slices until session ends; what it sets up lives as long as ctx.
func (a *Agent) follow(session, ctx context.Context, incoming <-chan nodewire.Slice) error {
	var wanted []netip.Prefix // ranges that could not be entered yet
	retry := time.NewTimer(networkRetry)
	defer retry.Stop()
	entered := func() bool {
		err := a.enter(ctx, wanted)
		if err != nil && session.Err() == nil {
			a.log.Warn("the pod network can't be set up; trying again", "ranges", wanted, "error", err)
			a.setNoNetwork(err.Error())
			retry.Reset(networkRetry)
		}
		return err == nil
	}
	for {
		select {
		case <-session.Done():
			return session.Err()
		case <-retry.C:
			if wanted != nil && entered() {
				return errAnew
			}
		case s, open := <-incoming:
			if !open {
				return session.Err()
			}
			if ranges := a.rangesOf(s); len(ranges) > 0 && !slices.Equal(ranges, a.entered) {
				if wanted = ranges; entered() {
					wanted = nil
					if !s.Full {
						return errAnew
					}
				}
			}
			a.apply(ctx, s)
		}
	}
}

// rangesOf are the ranges that a slice says are the node's; nil if it says nothing of them.
func (a *Agent) rangesOf(s nodewire.Slice) []netip.Prefix {
	for _, o := range s.Objects {
		if o.Resource == nodewire.Nodes && o.Name == a.config.NodeName && !o.Deleted {
			return rangesIn(o)
		}
	}
	return nil
}

func rangesIn(o nodewire.Object) []netip.Prefix {
	var node corev1.Node
	if err := node.Unmarshal(o.Data); err != nil {
		return nil
	}
	texts := node.Spec.PodCIDRs
	if len(texts) == 0 && node.Spec.PodCIDR != "" {
		texts = []string{node.Spec.PodCIDR}
	}
	var ranges []netip.Prefix
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil {
			ranges = append(ranges, p.Masked())
		}
	}
	slices.SortFunc(ranges, func(a, b netip.Prefix) int { return a.Addr().BitLen() - b.Addr().BitLen() })
	return ranges
}

// applyNode takes over what a slice says of another node, and of this one where it is; a.mu is held.
func (a *Agent) applyNode(o nodewire.Object, change *proxy.Change) error {
	if o.Name == a.config.NodeName {
		var own corev1.Node
		if err := own.Unmarshal(o.Data); err != nil {
			return err
		}
		zone := own.Labels[corev1.LabelTopologyZone]
		change.Zone = &zone
		return nil
	}
	if o.Deleted {
		delete(a.peers, o.Name)
		return nil
	}
	var node corev1.Node
	if err := node.Unmarshal(o.Data); err != nil {
		return err
	}
	peer := network.Peer{Name: o.Name, Ranges: rangesIn(o)}
	for _, address := range node.Status.Addresses {
		if parsed, err := netip.ParseAddr(address.Address); err == nil && address.Type == corev1.NodeInternalIP {
			peer.Addrs = append(peer.Addrs, parsed)
		}
	}
	a.peers[o.Name] = peer
	return nil
}
