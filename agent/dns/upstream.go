package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/wakehq/wake/agent/dns/resolv"
)

const (
	tryTime     = 1500 * time.Millisecond
	passes      = 2 // over the servers: a datagram may get lost
	downTime    = 5 * time.Second
	maxServers  = 8
	watchEvery  = 5 * time.Second
	probeEvery  = 12 // watches
	defaultPort = 53
)

// ErrNoServers says that there is no other name server to ask.
var ErrNoServers = errors.New("the node has no name server but this one")

// upstream is one other name server.
type upstream struct {
	addr netip.AddrPort
	// down is until when it is asked after all others, in nanoseconds of Unix time.
	down atomic.Int64
	// loops says that what it is asked comes back here, returned that the probe of now has.
	loops, returned atomic.Bool
}

// upstreams are the name servers of the node.
type upstreams struct {
	file   string // resolv.conf; empty: the servers are fixed
	own    func(netip.AddrPort) bool
	log    *slog.Logger
	list   atomic.Pointer[[]*upstream]
	probes sync.Map // name of a probe that is under way → *upstream
	// read tells when the file was last read as it is.
	read time.Time
}

// set replaces the servers. Those that are this server itself are left out.
func (u *upstreams) set(addrs []netip.AddrPort) {
	var list []*upstream
	for _, addr := range addrs {
		if u.own(addr) {
			u.log.Warn("a name server of the node is this one; it is left out", "server", addr)
			continue
		}
		if len(list) < maxServers && !slices.ContainsFunc(list, func(s *upstream) bool { return s.addr == addr }) {
			list = append(list, &upstream{addr: addr})
		}
	}
	u.list.Store(&list)
}

// reload reads the file again if it has changed, and says whether it had. The servers stay when it can't be read.
func (u *upstreams) reload() (bool, error) {
	if u.file == "" {
		return false, nil
	}
	info, err := os.Stat(u.file)
	if err != nil {
		return false, fmt.Errorf("the node's name servers: %w", err)
	}
	if info.ModTime().Equal(u.read) {
		return false, nil
	}
	text, err := os.ReadFile(u.file)
	if err != nil {
		return false, fmt.Errorf("the node's name servers: %w", err)
	}
	u.read = info.ModTime()
	var addrs []netip.AddrPort
	for _, server := range resolv.Parse(string(text)).Nameservers {
		if addr, err := netip.ParseAddr(server); err == nil {
			addrs = append(addrs, netip.AddrPortFrom(addr, defaultPort))
		}
	}
	u.set(addrs)
	return true, nil
}

// usable gives the servers in the order in which to ask them.
func (u *upstreams) usable(now time.Time) []*upstream {
	list := u.list.Load()
	if list == nil {
		return nil
	}
	servers := slices.DeleteFunc(slices.Clone(*list), func(s *upstream) bool { return s.loops.Load() })
	down := func(s *upstream) int {
		if s.down.Load() > now.UnixNano() {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(servers, func(a, b *upstream) int { return cmp.Compare(down(a), down(b)) })
	return servers
}

// exchange asks one server after the other until one knows.
func (u *upstreams) exchange(ctx context.Context, query *dns.Msg) (*dns.Msg, error) {
	servers := u.usable(time.Now())
	if len(servers) == 0 {
		return nil, ErrNoServers
	}
	var failures []error
	for range passes {
		for _, s := range servers {
			if err := ctx.Err(); err != nil {
				return nil, errors.Join(append(failures, err)...)
			}
			reply, err := s.ask(ctx, query)
			if err == nil {
				s.down.Store(0)
				return reply, nil
			}
			failures = append(failures, err)
		}
	}
	return nil, errors.Join(failures...)
}

// ask asks once, over TCP if the answer needs it.
func (s *upstream) ask(ctx context.Context, query *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	query = query.Copy()
	reply, err := s.send(ctx, "udp", query)
	if err == nil && query.IsEdns0() != nil && (reply.Rcode == dns.RcodeFormatError || reply.Rcode == dns.RcodeNotImplemented) {
		query.Extra = nil // a server from before EDNS
		reply, err = s.send(ctx, "udp", query)
	}
	if err == nil && reply.Truncated {
		reply, err = s.send(ctx, "tcp", query)
	}
	if err != nil {
		s.down.Store(time.Now().Add(downTime).UnixNano())
		return nil, fmt.Errorf("name server %s: %w", s.addr, err)
	}
	if reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("name server %s answers %s", s.addr, dns.RcodeToString[reply.Rcode])
	}
	return reply, nil
}

var errOtherQuestion = errors.New("the answer is to another question")

// send sends a query from a port of its own and checks that the answer belongs to it.
func (s *upstream) send(ctx context.Context, network string, query *dns.Msg) (*dns.Msg, error) {
	query.Id = dns.Id()
	client := dns.Client{Net: network, Timeout: tryTime}
	reply, _, err := client.ExchangeContext(ctx, query, s.addr.String())
	if err != nil {
		return nil, err
	}
	if len(reply.Question) != 1 || !reply.Response {
		return nil, errOtherQuestion
	}
	asked, answered := query.Question[0], reply.Question[0]
	if !strings.EqualFold(asked.Name, answered.Name) || asked.Qtype != answered.Qtype || asked.Qclass != answered.Qclass {
		return nil, errOtherQuestion
	}
	return reply, nil
}

// probe finds servers that ask this one in turn: each is asked for a name that nobody else can know. With again only those are
// probed that were found before, as they may have been set right.
func (u *upstreams) probe(ctx context.Context, again bool, name func() string) {
	list := u.list.Load()
	if list == nil {
		return
	}
	for _, s := range *list {
		if again && !s.loops.Load() {
			continue
		}
		secret := name()
		s.returned.Store(false)
		u.probes.Store(secret, s)
		query := new(dns.Msg)
		query.SetQuestion(secret, dns.TypeHINFO)
		_, err := s.ask(ctx, query) // what counts is whether the question arrives here
		u.probes.Delete(secret)
		switch {
		case s.returned.Load() && !s.loops.Swap(true):
			u.log.Warn("a name server of the node asks this one in turn; it is left out", "server", s.addr)
		case !s.returned.Load() && err == nil && s.loops.Swap(false):
			u.log.Info("a name server of the node doesn't ask this one any more; it is asked again", "server", s.addr)
		}
	}
}

// seen notes that a probe has come back; false if the name is none.
func (u *upstreams) seen(name string) bool {
	s, ok := u.probes.Load(name)
	if ok {
		s.(*upstream).returned.Store(true)
	}
	return ok
}

// ownAddress says whether an address is one at which this machine listens with one of the sockets.
func ownAddress(listening []netip.AddrPort, addr netip.AddrPort) bool {
	ip := addr.Addr().Unmap().WithZone("")
	for _, l := range listening {
		if l.Port() != addr.Port() {
			continue
		}
		if l.Addr().Unmap() == ip || l.Addr().IsUnspecified() && localAddress(ip) {
			return true
		}
	}
	return false
}

func localAddress(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr().Unmap() == ip
	})
}
