package dns

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"

	"github.com/miekg/dns"
)

const (
	maxAliases  = 8  // of this zone, one after the other
	recordBytes = 16 // of the shortest record in a message
)

// reply gives the answer to a query, cut to what the way back carries.
func (s *Server) reply(ctx context.Context, r *dns.Msg, udp bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(r)
	m.RecursionAvailable = true
	size := dns.MaxMsgSize
	if udp {
		size = dns.MinMsgSize
	}
	opt := r.IsEdns0()
	if opt != nil {
		m.SetEdns0(bufferBytes, opt.Do())
		if udp {
			size = min(max(int(opt.UDPSize()), dns.MinMsgSize), bufferBytes)
		}
	}
	switch {
	case r.Opcode != dns.OpcodeQuery:
		m.Rcode = dns.RcodeNotImplemented
	case len(r.Question) != 1:
		m.Rcode = dns.RcodeFormatError
	case opt != nil && opt.Version() != 0:
		m.Rcode = dns.RcodeBadVers
	case r.Question[0].Qclass != dns.ClassINET, r.Question[0].Qtype == dns.TypeAXFR, r.Question[0].Qtype == dns.TypeIXFR:
		m.Rcode = dns.RcodeRefused
	default:
		s.answer(ctx, m, r.CheckingDisabled, size)
	}
	m.Truncate(size)
	return m
}

// answer fills in the answer to the reply's question.
func (s *Server) answer(ctx context.Context, m *dns.Msg, cd bool, size int) {
	asked := m.Question[0]
	q := question{owner: asked.Name, name: strings.ToLower(asked.Name), qtype: asked.Qtype, turn: int(rand.Uint32() >> 8), limit: size/recordBytes + 1}
	if s.zone.holds(q.name) {
		s.local(ctx, m, q, cd)
		return
	}
	if a, ok := s.zone.reverse(q); ok {
		s.fill(m, a)
		return
	}
	s.foreign(ctx, m, q, cd)
}

// local answers about the cluster, along its aliases.
func (s *Server) local(ctx context.Context, m *dns.Msg, q question, cd bool) {
	if q.qtype == dns.TypeHINFO && s.upstreams.seen(q.name) {
		m.Rcode = dns.RcodeRefused
		return
	}
	for range maxAliases {
		a := s.zone.answer(q)
		if s.fill(m, a); a.chase == "" || !s.known.Load() {
			return
		}
		if q.owner, q.name = a.chase, a.chase; !s.zone.holds(q.name) {
			s.foreign(ctx, m, q, cd)
			return
		}
	}
	m.Rcode = dns.RcodeServerFailure // aliases in a circle
}

// fill adds an answer of the zone's.
func (s *Server) fill(m *dns.Msg, a answer) {
	if !s.known.Load() {
		m.Rcode = dns.RcodeServerFailure
		return
	}
	m.Authoritative = true
	m.Rcode = a.rcode
	m.Answer = append(m.Answer, a.answer...)
	m.Extra = append(a.extra, m.Extra...)
	if len(a.answer) == 0 {
		m.Ns = append(m.Ns, s.zone.soa())
	}
}

// foreign adds what other name servers answer.
func (s *Server) foreign(ctx context.Context, m *dns.Msg, q question, cd bool) {
	opt := m.IsEdns0()
	found, err := s.resolver.resolve(ctx, key{name: q.name, qtype: q.qtype, do: opt != nil && opt.Do(), cd: cd})
	if err != nil {
		m.Rcode = dns.RcodeServerFailure
		if errors.Is(err, ErrNoServers) && len(m.Answer) == 0 {
			m.Rcode = dns.RcodeRefused
		}
		return
	}
	for _, rr := range found.Answer {
		if strings.EqualFold(rr.Header().Name, q.name) {
			rr.Header().Name = q.owner // some compare the letters as they wrote them
		}
	}
	m.Rcode = found.Rcode
	m.Answer = append(m.Answer, found.Answer...)
	m.Ns = append(m.Ns, found.Ns...)
	for _, rr := range found.Extra {
		if t := rr.Header().Rrtype; t != dns.TypeOPT && t != dns.TypeTSIG {
			m.Extra = append([]dns.RR{rr}, m.Extra...)
		}
	}
}
