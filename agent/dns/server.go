package dns

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/wakehq/wake/agent/proxy"
)

// ErrNotFull is returned by Apply when the first change isn't a full one.
var ErrNotFull = errors.New("the first change must be full: answering from a part would deny the rest")

// Config says where a server answers and what. Only Listen is needed.
type Config struct {
	Listen []string      // host:port, for UDP and TCP each; port 0: any
	Domain string        // of the cluster; empty: cluster.local
	TTL    time.Duration // of the cluster's records, and of denials; 0: 5 s
	// PodRanges are the addresses that pods have. If there are any, only they have pod names, and their reverse names aren't
	// asked of other servers.
	PodRanges []netip.Prefix

	Upstreams  []netip.AddrPort // name servers for all other names; none: those of ResolvConf
	ResolvConf string           // file that names them, followed as it changes; empty: only the cluster's names are answered
	CacheBytes int              // of answers from name servers; 0: 32 MiB
	StaleFor   time.Duration    // how long they are used beyond their time; 0: a day

	// State is a file that keeps the cluster's objects for the next start, so that a node that starts without the control plane
	// answers; what changed in the last half minute may be missing. Empty: there is none.
	State string

	Log *slog.Logger // nil: nothing is logged
}

const (
	defaultTTL        = 5 * time.Second
	defaultCacheBytes = 32 << 20
	defaultStale      = 24 * time.Hour
	socketBuffer      = 4 << 20 // bytes of queries that wait
	tcpIdle           = 10 * time.Second
	maxConnections    = 512 // over TCP, at an address
	saveEvery         = 6   // watches
	bindTries         = 10
)

// Server answers DNS queries. It is safe for concurrent use.
type Server struct {
	log       *slog.Logger
	zone      *zone
	resolver  *resolver
	upstreams *upstreams
	sockets   []*socket

	state   string
	known   atomic.Bool // there is something to answer from
	mu      sync.Mutex
	fold    *fold
	full    bool // a full change has arrived
	unsaved bool
}

// socket is one address at which is answered.
type socket struct {
	udp  net.PacketConn
	tcp  net.Listener
	addr netip.AddrPort
}

// Open takes the addresses to listen at. Queries wait until Serve.
func Open(config Config) (*Server, error) {
	domain := strings.ToLower(strings.Trim(cmp.Or(config.Domain, "cluster.local"), "."))
	if _, ok := dns.IsDomainName(domain); !ok || domain == "" {
		return nil, fmt.Errorf("dns: Config.Domain %q is not a domain name", config.Domain)
	}
	if len(config.Listen) == 0 {
		return nil, errors.New("dns: Config.Listen names no address")
	}
	s := &Server{log: cmp.Or(config.Log, slog.New(slog.DiscardHandler)), fold: newFold(), state: config.State}
	s.zone = &zone{name: domain + ".", ttl: uint32(cmp.Or(config.TTL, defaultTTL) / time.Second), pods: config.PodRanges}
	if err := s.restore(); err != nil {
		s.log.Warn("what was answered before can't be read: the cluster's names wait for the control plane", "error", err)
	}
	for _, address := range config.Listen {
		k, err := listen(address)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.sockets = append(s.sockets, k)
		if ip := k.addr.Addr(); !ip.IsUnspecified() {
			s.zone.self = append(s.zone.self, ip)
		}
	}
	s.upstreams = &upstreams{log: s.log, own: func(a netip.AddrPort) bool { return ownAddress(s.Addrs(), a) }}
	s.upstreams.set(config.Upstreams)
	if len(config.Upstreams) == 0 && config.ResolvConf != "" {
		s.upstreams.file = config.ResolvConf
		if _, err := s.upstreams.reload(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	s.resolver = newResolver(s.upstreams, cmp.Or(config.CacheBytes, defaultCacheBytes), cmp.Or(config.StaleFor, defaultStale))
	return s, nil
}

// listen takes an address for UDP and TCP alike.
func listen(address string) (*socket, error) {
	var failures []error
	for range bindTries {
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("listening for DNS: %w", err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err != nil { // when any port would do, another one may be free for both
			failures = append(failures, err, tcp.Close())
			continue
		}
		_ = udp.(*net.UDPConn).SetReadBuffer(socketBuffer) // the kernel may allow less
		addr := tcp.Addr().(*net.TCPAddr).AddrPort()
		return &socket{udp: udp, tcp: limited(tcp, maxConnections), addr: netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())}, nil
	}
	return nil, fmt.Errorf("listening for DNS: %w", errors.Join(failures...))
}

// Addrs are the addresses at which the server listens.
func (s *Server) Addrs() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, k := range s.sockets {
		addrs = append(addrs, k.addr)
	}
	return addrs
}

// Close gives up the addresses.
func (s *Server) Close() error {
	var failures []error
	for _, k := range s.sockets {
		failures = append(failures, k.udp.Close(), k.tcp.Close())
	}
	return errors.Join(failures...)
}

// Apply takes in a change of the cluster's objects; the next query sees it. The first change must be a full one.
func (s *Server) Apply(change proxy.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !change.Full && !s.full {
		return ErrNotFull
	}
	s.full, s.unsaved = true, true
	s.take(change)
	return nil
}

// take folds a change in; mu is held.
func (s *Server) take(change proxy.Change) {
	s.zone.table.update(s.fold.apply(change))
	s.zone.serial.Store(max(s.zone.serial.Load()+1, uint32(time.Now().Unix())))
	s.known.Store(true)
}

// Serve answers until ctx ends, then gives up the addresses. An error says which address went away before.
func (s *Server) Serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	handle := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		_, udp := w.RemoteAddr().(*net.UDPAddr)
		_ = w.WriteMsg(s.reply(ctx, r, udp)) // who asked may have left
	})
	for _, k := range s.sockets {
		for _, server := range []*dns.Server{
			{PacketConn: k.udp, Handler: handle, UDPSize: bufferBytes},
			{Listener: k.tcp, Handler: handle, ReadTimeout: tcpIdle, IdleTimeout: func() time.Duration { return tcpIdle }},
		} {
			group.Go(func() error {
				if err := server.ActivateAndServe(); err != nil && ctx.Err() == nil {
					return fmt.Errorf("answering DNS at %s: %w", k.addr, err)
				}
				return nil
			})
		}
	}
	group.Go(func() error { return s.watch(ctx) })
	<-ctx.Done()
	_ = s.Close() // what was open is all that counts
	return group.Wait()
}

// watch follows the node's name servers, looks for loops among them, and saves what is answered.
func (s *Server) watch(ctx context.Context) error {
	s.upstreams.probe(ctx, false, s.secret)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return s.save()
		case <-tick.C:
		}
		changed, err := s.upstreams.reload()
		if err != nil {
			s.log.Warn("the node's name servers can't be read; those of before serve on", "error", err)
		}
		if changed || n%probeEvery == 0 {
			s.upstreams.probe(ctx, !changed, s.secret)
		}
		if n%saveEvery == 0 {
			if err := s.save(); err != nil {
				s.log.Warn("what is answered can't be saved: after a restart the cluster's names wait for the control plane", "error", err)
			}
		}
	}
}

// secret is a name in the zone that nobody can know.
func (s *Server) secret() string { return strings.ToLower(rand.Text()) + ".loop." + s.zone.name }
