package dns

import (
	"net/netip"
	"slices"
	"sort"
	"strings"
	"sync/atomic"

	"github.com/miekg/dns"
)

// specVersion is the version of the Kubernetes DNS specification that is followed.
const specVersion = "1.1.0"

// zone answers questions about one domain.
type zone struct {
	name   string // fully qualified, in lower case
	ttl    uint32 // seconds, of all records
	self   []netip.Addr
	pods   []netip.Prefix // empty: any address may be a pod's
	serial atomic.Uint32
	table  table
}

// answer is what is said to one question. The records' owner is the name as it was asked.
type answer struct {
	rcode         int
	answer, extra []dns.RR
	// chase is the name at the end of a CNAME that has yet to be resolved; empty: there is none.
	chase string
}

// question is one question to a zone.
type question struct {
	owner string // as it was asked
	name  string // fully qualified, in lower case
	qtype uint16
	turn  int // where to start in a list of addresses: the load's balance
	limit int // of records that can fit into a reply
}

// holds says whether a name, fully qualified and in lower case, is the zone's to answer.
func (z *zone) holds(name string) bool {
	if !strings.HasSuffix(name, z.name) {
		return false
	}
	rest := len(name) - len(z.name)
	return rest == 0 || name[rest-1] == '.' && (rest < 2 || name[rest-2] != '\\')
}

// answer answers a question about a name that the zone holds.
func (z *zone) answer(q question) answer {
	if q.name == z.name {
		return z.apex(q)
	}
	labels := strings.Split(strings.TrimSuffix(q.name, "."+z.name), ".")
	below, last := labels[:len(labels)-1], labels[len(labels)-1]
	switch {
	case strings.Contains(q.name, `\`): // no name here needs an escape
	case last == "svc":
		return z.service(q, below)
	case last == "pod":
		return z.pod(q, below)
	case last == "dns-version" && len(below) == 0:
		return z.txt(q, specVersion)
	case last == "dns" && len(below) == 0:
		return answer{}
	case last == "dns" && len(below) == 1 && below[0] == "ns":
		return answer{answer: z.addresses(q, q.owner, z.self)}
	}
	return answer{rcode: dns.RcodeNameError}
}

// apex answers about the zone itself.
func (z *zone) apex(q question) answer {
	switch q.qtype {
	case dns.TypeSOA:
		return answer{answer: []dns.RR{z.soa()}}
	case dns.TypeNS:
		server := "ns.dns." + z.name
		ns := &dns.NS{Hdr: z.header(q.owner, dns.TypeNS), Ns: server}
		return answer{answer: []dns.RR{ns}, extra: z.anyAddresses(server, z.self)}
	}
	return answer{}
}

func (z *zone) txt(q question, text string) answer {
	if q.qtype != dns.TypeTXT {
		return answer{}
	}
	return answer{answer: []dns.RR{&dns.TXT{Hdr: z.header(q.owner, dns.TypeTXT), Txt: []string{text}}}}
}

// service answers about names below svc: [[host | port, protocol,] service,] namespace.
func (z *zone) service(q question, labels []string) answer {
	n := len(labels)
	if n == 0 {
		return answer{}
	}
	if n == 1 {
		if z.table.namespace(labels[0]) {
			return answer{}
		}
		return answer{rcode: dns.RcodeNameError}
	}
	e := z.table.entry(labels[n-2], labels[n-1])
	switch {
	case e == nil || n > 4:
		return answer{rcode: dns.RcodeNameError}
	case n == 2 && e.external != "":
		return z.alias(q, e.external)
	case n == 2 && q.qtype != dns.TypeSRV && len(e.addrs) > 0:
		return answer{answer: z.addresses(q, q.owner, e.addrs)}
	}
	found, exists := e.find(labels[:n-2])
	if !exists {
		return answer{rcode: dns.RcodeNameError}
	}
	if q.qtype == dns.TypeSRV {
		return z.srv(q, found, labels[n-2]+"."+labels[n-1]+".svc."+z.name)
	}
	var addrs []netip.Addr
	for _, ep := range found {
		addrs = append(addrs, ep.addr)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return answer{answer: z.addresses(q, q.owner, slices.Compact(addrs))}
}

// find gives the endpoints that labels below the service name, with the ports that are meant. A name may exist without any.
func (e *entry) find(labels []string) (found []endpoint, exists bool) {
	switch {
	case len(labels) == 0:
		return e.front, len(e.front) > 0
	case len(labels) == 2:
		wantPort, isPort := strings.CutPrefix(labels[0], "_")
		wantProtocol, isProtocol := strings.CutPrefix(labels[1], "_")
		if !isPort || !isProtocol {
			return nil, false
		}
		for _, ep := range e.front {
			for i, p := range ep.ports {
				if p.name == wantPort && p.protocol == wantProtocol {
					ep.ports = ep.ports[i : i+1]
					found = append(found, ep)
					break
				}
			}
		}
		return found, len(found) > 0
	}
	if protocol, ok := strings.CutPrefix(labels[0], "_"); ok {
		// Names of ports lie below this one, so it exists.
		return nil, slices.ContainsFunc(e.front, func(ep endpoint) bool {
			return slices.ContainsFunc(ep.ports, func(p port) bool { return p.protocol == protocol && p.name != "" })
		})
	}
	from := sort.Search(len(e.endpoints), func(i int) bool { return e.endpoints[i].host >= labels[0] })
	to := from
	for to < len(e.endpoints) && e.endpoints[to].host == labels[0] {
		to++
	}
	return e.endpoints[from:to], to > from
}

// srv gives a record for each port of each host, and the hosts' addresses beside them.
func (z *zone) srv(q question, found []endpoint, service string) answer {
	type target struct {
		name string
		port uint16
	}
	var a answer
	known := map[target]bool{}
	hosts := map[string][]netip.Addr{}
	for i := range found {
		ep := found[(i+q.turn%len(found))%len(found)]
		name := service
		if ep.host != "" {
			name = ep.host + "." + service
		}
		if len(ep.ports) > 0 && !slices.Contains(hosts[name], ep.addr) {
			hosts[name] = append(hosts[name], ep.addr)
			a.extra = append(a.extra, z.anyAddresses(name, []netip.Addr{ep.addr})...)
		}
		for _, p := range ep.ports {
			t := target{name, p.number}
			if known[t] {
				continue
			}
			known[t] = true
			a.answer = append(a.answer, &dns.SRV{Hdr: z.header(q.owner, dns.TypeSRV), Port: p.number, Target: name})
		}
		if len(a.answer) >= q.limit {
			break
		}
	}
	for _, rr := range a.answer {
		rr.(*dns.SRV).Weight = uint16(max(1, 100/len(a.answer)))
	}
	return a
}

// alias answers for an ExternalName service.
func (z *zone) alias(q question, target string) answer {
	if addr, err := netip.ParseAddr(strings.TrimSuffix(target, ".")); err == nil {
		return answer{answer: z.addresses(q, q.owner, []netip.Addr{addr})} // what many write, though it isn't a name
	}
	a := answer{answer: []dns.RR{&dns.CNAME{Hdr: z.header(q.owner, dns.TypeCNAME), Target: target}}}
	if q.qtype != dns.TypeCNAME {
		a.chase = target
	}
	return a
}

// pod answers about names below pod: [address,] namespace. They say themselves what the answer is.
func (z *zone) pod(q question, labels []string) answer {
	switch len(labels) {
	case 0, 1:
		return answer{}
	case 2:
		addr, ok := undashed(labels[0])
		if ok && (len(z.pods) == 0 || z.podRange(addr)) {
			return answer{answer: z.addresses(q, q.owner, []netip.Addr{addr})}
		}
	}
	return answer{rcode: dns.RcodeNameError}
}

func (z *zone) podRange(addr netip.Addr) bool {
	return slices.ContainsFunc(z.pods, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// reverse answers what an address is called; ok is false when that is for others to say.
func (z *zone) reverse(q question) (a answer, ok bool) {
	addr, ok := reverseAddr(q.name)
	if !ok {
		return answer{}, false
	}
	names := z.table.called(addr)
	if len(names) == 0 {
		return answer{rcode: dns.RcodeNameError}, z.podRange(addr)
	}
	if q.qtype == dns.TypePTR {
		for _, name := range names {
			a.answer = append(a.answer, &dns.PTR{Hdr: z.header(q.owner, dns.TypePTR), Ptr: name + "." + z.name})
		}
	}
	return a, true
}

// reverseAddr reads 4.3.2.1.in-addr.arpa. and its like.
func reverseAddr(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		labels := strings.Split(rest, ".")
		slices.Reverse(labels)
		addr, err := netip.ParseAddr(strings.Join(labels, "."))
		return addr, err == nil && addr.Is4()
	}
	rest, ok := strings.CutSuffix(name, ".ip6.arpa.")
	if !ok || len(rest) != 63 {
		return netip.Addr{}, false
	}
	var text []byte
	for i := 62; i >= 0; i -= 2 {
		if i > 0 && rest[i-1] != '.' {
			return netip.Addr{}, false
		}
		if text = append(text, rest[i]); i%8 == 0 && i > 0 {
			text = append(text, ':')
		}
	}
	addr, err := netip.ParseAddr(string(text))
	return addr, err == nil
}

// addresses gives the records of the question's type, starting at its turn.
func (z *zone) addresses(q question, owner string, addrs []netip.Addr) []dns.RR {
	if q.qtype != dns.TypeA && q.qtype != dns.TypeAAAA || len(addrs) == 0 {
		return nil
	}
	records := make([]dns.RR, 0, min(len(addrs), q.limit))
	for i := range addrs {
		addr := addrs[(i+q.turn%len(addrs))%len(addrs)]
		if addr.Is4() == (q.qtype == dns.TypeA) {
			records = append(records, z.address(owner, addr))
		}
		if len(records) >= q.limit {
			break
		}
	}
	return records
}

// anyAddresses gives the records of addresses of both families.
func (z *zone) anyAddresses(owner string, addrs []netip.Addr) []dns.RR {
	var records []dns.RR
	for _, addr := range addrs {
		records = append(records, z.address(owner, addr))
	}
	return records
}

func (z *zone) address(owner string, addr netip.Addr) dns.RR {
	if addr.Is4() {
		return &dns.A{Hdr: z.header(owner, dns.TypeA), A: addr.AsSlice()}
	}
	return &dns.AAAA{Hdr: z.header(owner, dns.TypeAAAA), AAAA: addr.AsSlice()}
}

func (z *zone) header(owner string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rrtype, Class: dns.ClassINET, Ttl: z.ttl}
}

// soa says in negative answers how long they may be kept: as long as others.
func (z *zone) soa() dns.RR {
	return &dns.SOA{
		Hdr: z.header(z.name, dns.TypeSOA), Ns: "ns.dns." + z.name, Mbox: "hostmaster." + z.name,
		Serial: z.serial.Load(), Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: z.ttl,
	}
}
