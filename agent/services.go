package agent

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/events/nodewire"
)

// Proxy makes the services' addresses work on the node. After an error it remembers the changes, and takes them up at the next call.
type Proxy interface {
	Apply(ctx context.Context, changes ...proxy.Change) error
}

// DNS answers for the services' names on the node. Apply must not wait for anything.
type DNS interface {
	Apply(change proxy.Change) error
	Serve(ctx context.Context) error
	Addrs() []netip.AddrPort // where it answers; pods are given those of port 53
}

// Announcer answers for addresses on the node's links. Announce and Heard must not wait for anything.
type Announcer interface {
	Announce(addresses []netip.Addr) // these and no others
	Heard()                          // the control plane was heard just now
	Run(ctx context.Context) error
}

// Ingress serves Ingresses on the node. Apply must not wait for anything, and leaves out what it doesn't need.
type Ingress interface {
	Apply(full bool, objects []nodewire.Object)
	Run(ctx context.Context) error
}

const proxyRetry = 2 * time.Second

// serveNames has the node's DNS answer until ctx ends.
func (a *Agent) serveNames(ctx context.Context, dns DNS) {
	a.nameServers(dns)
	if dns == nil {
		return
	}
	a.serving.Go(func() {
		if err := dns.Serve(ctx); err != nil {
			a.log.Error("the node's DNS has ended: pods find no names until the agent is started again", "error", err)
		}
	})
}

// addService adds a service to what the proxy is to be told.
func addService(c *proxy.Change, o nodewire.Object, s *corev1.Service) {
	if o.Deleted {
		c.ServicesGone = append(c.ServicesGone, types.NamespacedName{Namespace: o.Namespace, Name: o.Name})
	} else {
		c.Services = append(c.Services, s)
	}
}

// addEndpoints adds an endpoint slice to what the proxy is to be told.
func addEndpoints(c *proxy.Change, o nodewire.Object, s *discoveryv1.EndpointSlice) {
	if o.Deleted {
		c.SlicesGone = append(c.SlicesGone, types.NamespacedName{Namespace: o.Namespace, Name: o.Name})
	} else {
		c.SlicesPut = append(c.SlicesPut, s)
	}
}

// tellServices hands a change to those who make services reachable: to the DNS at once, so that it never waits for a proxy that fails,
// and to serveProxy; a.mu is held.
func (a *Agent) tellServices(change proxy.Change) {
	about := change.Full || len(change.Services)+len(change.ServicesGone)+len(change.SlicesPut)+len(change.SlicesGone) > 0
	if about && a.dns != nil {
		if err := a.dns.Apply(change); err != nil {
			a.log.Error("the DNS server couldn't apply a change", "error", err)
		}
	}
	if a.proxy == nil || !about && change.Zone == nil {
		return
	}
	a.proxyChanges = append(a.proxyChanges, change)
	select {
	case a.proxyChanged <- struct{}{}:
	default:
	}
}

// serveProxy tells the proxy of changes in their order, apart from everything else: pods don't wait for it. What comes while it is busy comes to it
// at once.
func (a *Agent) serveProxy(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.proxyChanged:
		}
		a.mu.Lock()
		proxy, changes := a.proxy, a.proxyChanges
		a.proxyChanges = nil
		a.mu.Unlock()
		if err := proxy.Apply(ctx, changes...); err != nil && ctx.Err() == nil {
			a.log.Warn("the service proxy couldn't apply a change; trying again", "error", err)
			time.AfterFunc(proxyRetry, func() { a.retryProxy(proxy) })
		}
	}
}

// tellAnnouncer says which addresses are to be announced, if that has changed or everything was told anew; a.mu is held.
func (a *Agent) tellAnnouncer() {
	if a.config.Announcer != nil && a.objects.readdressed {
		a.config.Announcer.Announce(slices.SortedFunc(maps.Values(a.objects.addresses), netip.Addr.Compare))
	}
}

// retryProxy has a proxy that failed take up what it remembers, if it is still the node's.
func (a *Agent) retryProxy(p Proxy) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.proxy != p {
		return
	}
	a.proxyChanges = append(a.proxyChanges, proxy.Change{})
	select {
	case a.proxyChanged <- struct{}{}:
	default:
	}
}
