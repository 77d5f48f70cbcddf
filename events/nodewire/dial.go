package nodewire

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	dialWithin = 10 * time.Second
	// redialEvery is how often a node tries to reach its broker again, give or take redialJitter.
	redialEvery  = 250 * time.Millisecond
	redialJitter = 250 * time.Millisecond
	// missAfter pings without an answer a connection counts as cut.
	pingEvery = 5 * time.Second
	missAfter = 2
)

// Dial returns the connection of a node to the gate of a remote broker at address, "host:port". It returns at once and connects in the background,
// again and again for good, each time with what config then returns: a certificate may be renewed meanwhile. The caller closes it. Trouble is told to
// tell, which must not block.
func Dial(node, address string, config func() (*tls.Config, error), tell func(error)) (*nats.Conn, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("the broker's address %q: %w", address, err)
	}
	conn, err := nats.Connect("nats://"+address,
		nats.Name("node "+node), nats.CustomInboxPrefix(strings.TrimSuffix(Inbox(node), ".")),
		nats.SetCustomDialer(&secureDialer{address: address, config: config, tell: tell}), nats.IgnoreDiscoveredServers(),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(redialEvery), nats.ReconnectJitter(redialJitter, redialJitter),
		nats.IgnoreAuthErrorAbort(), nats.Timeout(dialWithin), nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(missAfter),
		// What could not be sent is said again by who wants to say it, and then it is true.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				tell(fmt.Errorf("the connection to the broker at %s is cut: %w", address, err))
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			tell(fmt.Errorf("the broker at %s: %w", address, err))
		}))
	if err != nil {
		return nil, fmt.Errorf("connecting to the broker at %s: %w", address, err)
	}
	return conn, nil
}

// secureDialer opens TLS connections.
type secureDialer struct {
	address string
	config  func() (*tls.Config, error)
	tell    func(error)
}

// Dial implements nats.CustomDialer.
func (d *secureDialer) Dial(network, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialWithin)
	defer cancel()
	config, err := d.config()
	if err != nil {
		return nil, err
	}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, network, d.address)
	if err != nil {
		err = fmt.Errorf("reaching the broker at %s: %w", d.address, err)
		d.tell(err)
		return nil, err
	}
	return &greeted{Conn: conn, dialer: d}, nil
}

// greeted passes on why the broker lets nobody in, which its client keeps to itself.
type greeted struct {
	net.Conn
	dialer *secureDialer
	heard  bool
}

// Read is called by one goroutine at a time.
func (g *greeted) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if !g.heard && n > 0 {
		g.heard = true
		if refusal, ok := strings.CutPrefix(string(p[:n]), "-ERR "); ok {
			g.dialer.tell(fmt.Errorf("the broker at %s lets this node in no more: %s", g.dialer.address, strings.TrimSpace(refusal)))
		}
	}
	return n, err
}
