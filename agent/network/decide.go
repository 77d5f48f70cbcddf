package network

import (
	"net/netip"
	"slices"
)

// reach is how the kernel would send to an address.
type reach struct {
	own    bool // it is this machine's
	onLink bool // it is on a link of this machine's
	device int  // the link
}

// route is a way to a peer's pods.
type route struct {
	via    netip.Addr
	device int
	source netip.Addr // what the node itself sends from; not valid: the kernel chooses
	onLink bool       // via needs no route of its own
}

// ways is all that the kernel is to be told of other nodes.
type ways struct {
	routes     map[netip.Prefix]route
	neighbours map[netip.Addr]string // on the VXLAN device: who has an address, by hardware address
	tunnels    map[string]netip.Addr // by hardware address: the node behind it
	ranges     []netip.Prefix        // of peers
	nodes      []netip.Addr          // that need not be translated for
	kept       map[netip.Prefix]bool // routes that are to stay as they are
	stranded   []string              // peers that can't be reached as asked
}

// question is all that ways depend on.
type question struct {
	local   Local
	self    string
	routing Routing
	tunnel  int        // the VXLAN device; 0: there is none
	from    netip.Addr // the node's end of tunnels
	peers   []Peer
	reaches map[netip.Addr]reach // of the peers' addresses; those that the kernel couldn't tell are missing
	before  map[netip.Prefix]bool
}

// decide chooses the way to each peer. A peer on this machine needs none.
func decide(q question) ways {
	w := ways{routes: map[netip.Prefix]route{}, neighbours: map[netip.Addr]string{}, tunnels: map[string]netip.Addr{}, kept: map[netip.Prefix]bool{}}
	for _, p := range q.peers {
		if p.Name == q.self || slices.ContainsFunc(p.Addrs, func(a netip.Addr) bool { return q.reaches[a].own }) {
			w.ranges = append(w.ranges, p.Ranges...)
			continue
		}
		for _, r := range p.Ranges {
			if !slices.ContainsFunc(q.local.Ranges, func(own netip.Prefix) bool { return own.Addr().BitLen() == r.Addr().BitLen() }) || q.overlaps(r) {
				continue
			}
			w.ranges = append(w.ranges, r)
			if !w.direct(q, p, r) && !w.through(q, p, r) {
				w.stranded = append(w.stranded, p.Name)
			}
		}
	}
	return w
}

// overlaps says that r isn't apart from the node's own ranges: whoever says so is wrong, or no longer right.
func (q question) overlaps(r netip.Prefix) bool {
	return slices.ContainsFunc(q.local.Ranges, r.Overlaps)
}

// direct routes r to an address of the peer's on a link that both share.
func (w *ways) direct(q question, p Peer, r netip.Prefix) bool {
	if q.routing == VXLAN {
		return false
	}
	for _, a := range p.Addrs {
		if a.BitLen() != r.Addr().BitLen() {
			continue
		}
		to, told := q.reaches[a]
		if !told && q.before[r] { // no route at all, now: this is no time to change one's mind
			w.kept[r] = true
			return true
		}
		if to.onLink {
			w.routes[r] = route{via: a, device: to.device}
			w.nodes = append(w.nodes, a)
			return true
		}
	}
	return false
}

// through routes r into the tunnel: its first address, which no pod has, stands for the peer.
func (w *ways) through(q question, p Peer, r netip.Prefix) bool {
	at := slices.IndexFunc(p.Addrs, func(a netip.Addr) bool { return a.BitLen() == q.from.BitLen() })
	if at < 0 || q.tunnel == 0 || q.routing == Direct {
		return false
	}
	own := slices.IndexFunc(q.local.Ranges, func(own netip.Prefix) bool { return own.Addr().BitLen() == r.Addr().BitLen() })
	mac := string(tunnelMAC(p.Name))
	// What the node itself sends has an address of its own range, so that the answer comes back through the tunnel.
	w.routes[r] = route{via: r.Addr(), device: q.tunnel, source: q.local.Gateways[own], onLink: true}
	w.neighbours[r.Addr()] = mac
	w.tunnels[mac] = p.Addrs[at]
	return true
}

// tunnelMAC is the hardware address of a node's end of tunnels.
func tunnelMAC(node string) []byte { return hashedMAC("vtep " + node) }
