package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// reachWithin is how long a broker has to take a connection before another is tried.
	reachWithin = 2 * time.Second
	// redialEvery is how long to wait when no broker has taken one.
	redialEvery = 200 * time.Millisecond
	// A connection counts as cut after pingsMissed pings without an answer.
	pingEvery   = time.Second
	pingsMissed = 2
)

// Remote is the brokers of a cluster, as seen from another process. Its connections go to any of them, and on to another when that one ends.
type Remote struct {
	name      string
	addresses []string
	tls       *tls.Config
	log       *slog.Logger

	mu   sync.Mutex
	open map[*nats.Conn]bool
}

var _ Link = (*Remote)(nil)

// NewRemote returns the brokers at addresses, "host:port", which are reached with config. name tells them who connects.
func NewRemote(name string, addresses []string, config *tls.Config, log *slog.Logger) (*Remote, error) {
	if len(addresses) == 0 || config == nil {
		return nil, errors.New("the cluster's brokers: neither their addresses nor TLS may be missing")
	}
	return &Remote{name: name, addresses: addresses, tls: config, log: log, open: map[*nats.Conn]bool{}}, nil
}

// Reach waits until a broker can be reached. It returns ctx's error, with why none could.
func (r *Remote) Reach(ctx context.Context) error {
	for told := ""; ; {
		conn, err := r.connect(LedgerAccount, nats.RetryOnFailedConnect(false))
		if err == nil {
			conn.Close()
			return nil
		}
		if err.Error() != told {
			told = err.Error()
			r.log.Info("waiting for a broker", "error", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no broker could be reached: %w (%w)", err, ctx.Err())
		case <-time.After(redialEvery):
		}
	}
}

// Ledger implements Link. It returns at once, and connects in the background if no broker can be reached now.
func (r *Remote) Ledger(options ...nats.Option) (*nats.Conn, error) {
	return r.connect(LedgerAccount, options...)
}

// Nodes implements Link, as Ledger does.
func (r *Remote) Nodes(options ...nats.Option) (*nats.Conn, error) {
	return r.connect(NodesAccount, options...)
}

func (r *Remote) connect(account string, options ...nats.Option) (*nats.Conn, error) {
	urls := make([]string, len(r.addresses))
	for i, address := range r.addresses {
		urls[i] = "tls://" + address
	}
	conn, err := nats.Connect(strings.Join(urls, ","), append([]nats.Option{
		nats.Name(r.name), nats.Secure(r.tls), nats.TLSHandshakeFirst(), nats.UserInfo(account, ""), nats.IgnoreDiscoveredServers(),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(redialEvery), nats.ReconnectJitter(redialEvery/2, redialEvery/2),
		nats.IgnoreAuthErrorAbort(), nats.Timeout(reachWithin), nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsMissed),
		// What could not be sent is said again by who wants to say it.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				r.log.Warn("the connection to a broker is cut; trying the others", "account", account, "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) {
			r.log.Info("connected to a broker again", "account", account, "broker", c.ConnectedServerName())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			r.log.Warn("broker", "account", account, "error", err)
		}),
		nats.ClosedHandler(r.forget),
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the brokers at %s: %w", strings.Join(r.addresses, ", "), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[conn] = true
	return conn, nil
}

func (r *Remote) forget(conn *nats.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, conn)
}

// Health implements Link.
func (r *Remote) Health() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.open {
		if !conn.IsConnected() && !conn.IsClosed() {
			return fmt.Errorf("no broker at %s can be reached: start them, or look at the network; appends are refused until then", strings.Join(r.addresses, ", "))
		}
	}
	return nil
}
