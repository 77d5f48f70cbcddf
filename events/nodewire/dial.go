package nodewire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// dialWithin is how long one broker has to take the connection before the next is tried.
	dialWithin  = 3 * time.Second
	greetWithin = 10 * time.Second
	// redialEvery is how often a node tries to reach its brokers again, give or take redialJitter.
	redialEvery  = 250 * time.Millisecond
	redialJitter = 250 * time.Millisecond
	// missAfter pings without an answer a connection counts as cut.
	pingEvery = time.Second
	missAfter = 2
)

// Brokers is how a node reaches the brokers of its cluster.
type Brokers struct {
	// Addresses returns where their gates are, "host:port", at least one. It is asked before each try: they may move.
	Addresses func() []string
	// TLS returns how to connect. It is asked before each try: a certificate may be renewed.
	TLS func() (*tls.Config, error)
	// Tell is told of trouble, and must not block.
	Tell func(error)
}

// Dial returns the connection of a node to the gate of a broker, of any that takes it. It returns at once and connects in the background, again and again for good;
// when a broker ends, it goes on to the next one. The caller closes it.
func Dial(node string, brokers Brokers) (*nats.Conn, error) {
	for _, address := range brokers.Addresses() {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("the broker's address %q: %w", address, err)
		}
	}
	d := &secureDialer{Brokers: brokers}
	conn, err := nats.Connect("nats://brokers.invalid", // the dialer knows better
		nats.Name("node "+node), nats.CustomInboxPrefix(strings.TrimSuffix(Inbox(node), ".")),
		nats.SetCustomDialer(d), nats.SkipHostLookup(), nats.IgnoreDiscoveredServers(),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(redialEvery), nats.ReconnectJitter(redialJitter, redialJitter),
		nats.IgnoreAuthErrorAbort(), nats.Timeout(greetWithin), nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(missAfter),
		// What could not be sent is said again by who wants to say it, and then it is true.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				brokers.Tell(fmt.Errorf("the connection to the broker at %s is cut: %w", d.last(), err))
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			brokers.Tell(fmt.Errorf("the broker at %s: %w", d.last(), err))
		}))
	if err != nil {
		return nil, fmt.Errorf("connecting to the brokers: %w", err)
	}
	return conn, nil
}

// secureDialer opens TLS connections, each to the broker after the last one.
type secureDialer struct {
	Brokers

	mu      sync.Mutex
	address string // of the last try
}

func (d *secureDialer) last() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.address
}

// next returns the address to try.
func (d *secureDialer) next(all []string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := 0
	for i, address := range all {
		if address == d.address {
			at = (i + 1) % len(all)
		}
	}
	d.address = all[at]
	return d.address
}

// Dial implements nats.CustomDialer: it tries each broker once.
func (d *secureDialer) Dial(network, _ string) (net.Conn, error) {
	config, err := d.TLS()
	if err != nil {
		return nil, err
	}
	all := d.Addresses()
	if len(all) == 0 {
		return nil, errors.New("this node knows no broker")
	}
	for range all {
		address := d.next(all)
		ctx, cancel := context.WithTimeout(context.Background(), dialWithin)
		var conn net.Conn
		conn, err = (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
		cancel()
		if err == nil {
			return &greeted{Conn: conn, dialer: d, address: address}, nil
		}
		err = fmt.Errorf("reaching the broker at %s: %w", address, err)
		d.Tell(err)
	}
	return nil, err
}

// greeted passes on why the broker lets nobody in, which its client keeps to itself.
type greeted struct {
	net.Conn
	dialer  *secureDialer
	address string
	heard   bool
}

// Read is called by one goroutine at a time.
func (g *greeted) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if !g.heard && n > 0 {
		g.heard = true
		if refusal, ok := strings.CutPrefix(string(p[:n]), "-ERR "); ok {
			g.dialer.Tell(fmt.Errorf("the broker at %s lets this node in no more: %s", g.address, strings.TrimSpace(refusal)))
		}
	}
	return n, err
}
