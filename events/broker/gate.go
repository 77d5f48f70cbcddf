package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What a node may do at the gate.
const (
	// maxGuestPayload bounds a message of a node, its headers included, in bytes.
	maxGuestPayload = 1 << 20
	// maxGuestSubscriptions bounds the subscriptions of a connection. An agent has three, and one more for each log that is read.
	maxGuestSubscriptions = 256
	// maxGuestConnections bounds the connections of a node: a new one ends its oldest, which may be one that a cut link left behind.
	maxGuestConnections = 4
	// Each in a second, and how much may come at once after some silence. More is not refused: it waits, and only its own node with it.
	guestMessages, guestMessageBurst       = 1000, 4000
	guestBytes, guestByteBurst             = 16 << 20, 32 << 20
	guestConnections, guestConnectionBurst = 10, 50

	// maxStrangers bounds the connections that have not shown who they are yet, each for no longer than introductionTime.
	maxStrangers     = 256
	introductionTime = 5 * time.Second
	guestWriteTime   = 10 * time.Second
	// readmitEvery is how long a node that isn't admitted any more may stay connected.
	readmitEvery = 500 * time.Millisecond
)

// Guest is a node at the gate. All fields must be set.
type Guest struct {
	Name               string   // its connections share limits
	Publish, Subscribe []string // the only subjects that it may
	Inbox              string   // what the reply subjects of its requests must begin with, the last dot included
}

// GateConfig says where nodes come in, and which.
type GateConfig struct {
	Listen string      // "host:port", port 0 for any
	TLS    *tls.Config // must require and verify the certificates of clients
	// Admit tells whose verified certificate leaf is, or why it lets nobody in (any more). It is asked again and again as long as a
	// connection lasts, and must be quick.
	Admit func(leaf *x509.Certificate) (Guest, error)
	Log   *slog.Logger // slog.Default() if nil
}

// Gate lets nodes into the nodes' account from outside. What it lets through it has understood and written anew, so the server never
// sees a byte that a node made up.
type Gate struct {
	config   GateConfig
	broker   *Broker
	listener net.Listener

	mu        sync.Mutex
	strangers int
	sessions  map[string][]*session // by node, the oldest first
	limits    map[string]*limits
	count     int
	serving   sync.WaitGroup
}

// OpenGate listens; Run serves.
func (b *Broker) OpenGate(config GateConfig) (*Gate, error) {
	if config.TLS == nil || config.TLS.ClientAuth != tls.RequireAndVerifyClientCert || config.Admit == nil {
		return nil, errors.New("the nodes' gate needs TLS that requires client certificates, and somebody who tells whose they are")
	}
	config.Log = cmp.Or(config.Log, slog.Default())
	config.TLS = config.TLS.Clone()
	config.TLS.SessionTicketsDisabled = true // each connection shows its certificate
	l, err := net.Listen("tcp", config.Listen)
	if err != nil {
		return nil, fmt.Errorf("the nodes' address: %w", err)
	}
	return &Gate{config: config, broker: b, listener: l, sessions: map[string][]*session{}, limits: map[string]*limits{}}, nil
}

// Addr returns where the gate listens.
func (g *Gate) Addr() net.Addr { return g.listener.Addr() }

// Close stops listening. It ends Run.
func (g *Gate) Close() error {
	if err := g.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing the nodes' address: %w", err)
	}
	return nil
}

// Run serves until ctx ends, and returns its error, or why nobody can connect any more.
func (g *Gate) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer g.serving.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = g.Close() })
	defer stop()
	g.serving.Go(func() { g.readmit(ctx) })
	for {
		conn, err := g.listener.Accept()
		switch {
		case ctx.Err() != nil:
			return errors.Join(ctx.Err(), closed(conn))
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("the nodes' address %s is closed: %w", g.Addr(), err)
		case err != nil:
			g.config.Log.Warn("a node's connection could not be accepted", "error", err)
			pause(ctx, readmitEvery)
			continue
		}
		if !g.stranger(+1) {
			_ = conn.Close()
			continue
		}
		g.serving.Go(func() { g.serve(ctx, conn) })
	}
}

func closed(conn net.Conn) error {
	if conn == nil {
		return nil
	}
	return conn.Close()
}

// stranger counts those who have not shown who they are; false if there are too many.
func (g *Gate) stranger(change int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if change > 0 && g.strangers >= maxStrangers {
		return false
	}
	g.strangers += change
	return true
}

// serve serves one connection until it ends.
func (g *Gate) serve(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	s, err := g.introduce(ctx, conn)
	g.stranger(-1)
	if err != nil {
		g.config.Log.Debug("somebody was not let in at the nodes' gate", "from", conn.RemoteAddr(), "error", err)
		return
	}
	defer g.leave(s)
	// A certificate that runs out ends its connection.
	expiry := time.AfterFunc(time.Until(s.leaf.NotAfter), func() { s.end(errors.New("its certificate has expired")) })
	defer expiry.Stop()
	stop := context.AfterFunc(ctx, func() { s.end(ctx.Err()) })
	defer stop()
	if err := s.run(); err != nil && ctx.Err() == nil {
		g.config.Log.Warn("a node's connection was ended", "node", s.guest.Name, "from", conn.RemoteAddr(), "error", err)
	}
}

// introduce shakes hands and finds out who it is.
func (g *Gate) introduce(ctx context.Context, conn net.Conn) (*session, error) {
	shake, cancel := context.WithTimeout(ctx, introductionTime)
	defer cancel()
	secure := tls.Server(conn, g.config.TLS)
	if err := secure.HandshakeContext(shake); err != nil {
		return nil, err
	}
	leaf := secure.ConnectionState().VerifiedChains[0][0]
	guest, err := g.config.Admit(leaf)
	if err != nil {
		_ = secure.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = fmt.Fprintf(secure, "-ERR 'Authorization Violation: %s'\r\n", strings.ReplaceAll(err.Error(), "'", "")) // who has left needn't know
		return nil, err
	}
	if guest.Name == "" || guest.Inbox == "" || len(guest.Publish) == 0 || len(guest.Subscribe) == 0 {
		return nil, fmt.Errorf("guest %q has no subjects of its own", guest.Name)
	}
	s := &session{guest: guest, leaf: leaf, conn: secure, ended: make(chan struct{})}
	g.enter(s)
	return s, nil
}

// enter gives a session its limits, and a user in the broker that nobody else can be.
func (g *Gate) enter(s *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count++
	s.user = User{Account: NodesAccount, Name: "node-" + s.guest.Name + "-" + strconv.Itoa(g.count), Password: rand.Text(), Publish: s.guest.Publish, Subscribe: s.guest.Subscribe}
	if g.limits[s.guest.Name] == nil {
		g.limits[s.guest.Name] = newLimits(time.Now())
	}
	s.limits, s.broker = g.limits[s.guest.Name], g.broker
	if all := g.sessions[s.guest.Name]; len(all) >= maxGuestConnections {
		all[0].end(fmt.Errorf("it has %d newer connections", maxGuestConnections))
	}
	g.sessions[s.guest.Name] = append(g.sessions[s.guest.Name], s)
	g.broker.guests.Store(s.user.Name, s.user)
}

// leave takes both back. The limits stay as long as somebody who comes back could gain by their loss.
func (g *Gate) leave(s *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.broker.guests.Delete(s.user.Name)
	g.sessions[s.guest.Name] = slices.DeleteFunc(g.sessions[s.guest.Name], func(other *session) bool { return other == s })
	if len(g.sessions[s.guest.Name]) == 0 {
		delete(g.sessions, s.guest.Name)
	}
}

// readmit asks again and again whether those who are connected still may be.
func (g *Gate) readmit(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, readmitEvery)
		g.mu.Lock()
		var all []*session
		for _, sessions := range g.sessions {
			all = append(all, sessions...)
		}
		for name, l := range g.limits {
			if len(g.sessions[name]) == 0 && l.full(time.Now()) {
				delete(g.limits, name)
			}
		}
		g.mu.Unlock()
		for _, s := range all {
			if _, err := g.config.Admit(s.leaf); err != nil {
				s.end(fmt.Errorf("it is not admitted any more: %w", err))
			}
		}
	}
}

// pause waits for d, or less if ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
