package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
)

// leases says which sandbox has which addresses. In a range, the first address is nobody's, the second the node's, the last one of IPv4 is the
// broadcast address; the n-th addresses of the node's ranges go to the same sandbox.
type leases struct {
	mu     sync.Mutex
	ranges []netip.Prefix
	size   int // how many addresses are given, with the first and the second
	last   int // what was given last: an address rests as long as possible
	owner  map[netip.Addr]string
	held   map[string][]netip.Addr
}

// mostAddresses bounds how many addresses of a range are given.
const mostAddresses = 1 << 16

// serve replaces the ranges; what is held stays held.
func (l *leases) serve(ranges []netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner == nil {
		l.owner, l.held = map[netip.Addr]string{}, map[string][]netip.Addr{}
	}
	if slices.Equal(ranges, l.ranges) {
		return
	}
	l.ranges, l.size, l.last = ranges, 0, 1
	for _, r := range ranges {
		size := mostAddresses
		if bits := r.Addr().BitLen() - r.Bits(); bits < 16 {
			size = 1 << bits
		}
		if r.Addr().Is4() {
			size--
		}
		if l.size == 0 || size < l.size {
			l.size = size
		}
	}
}

// allocate gives owner addresses, or those that it has.
func (l *leases) allocate(owner string) ([]netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if held := l.held[owner]; held != nil {
		return held, nil
	}
	if len(l.ranges) == 0 {
		return nil, ErrNotReady
	}
	for range l.size {
		if l.last++; l.last >= l.size {
			l.last = 2
		}
		if addrs := l.at(l.last); l.free(addrs) {
			l.give(owner, addrs)
			return addrs, nil
		}
	}
	return nil, fmt.Errorf("no address of %v is free: %d pods have one", l.ranges, len(l.held))
}

// at gives the n-th address of each range.
func (l *leases) at(n int) []netip.Addr {
	addrs := make([]netip.Addr, len(l.ranges))
	for i, r := range l.ranges {
		bytes := r.Addr().AsSlice()
		tail := bytes[len(bytes)-4:]
		binary.BigEndian.PutUint32(tail, binary.BigEndian.Uint32(tail)+uint32(n))
		addrs[i], _ = netip.AddrFromSlice(bytes)
	}
	return addrs
}

func (l *leases) free(addrs []netip.Addr) bool {
	return !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return l.owner[a] != "" })
}

func (l *leases) give(owner string, addrs []netip.Addr) {
	l.held[owner] = addrs
	for _, a := range addrs {
		l.owner[a] = owner
	}
}

// claim notes that owner has addresses. It says who else has one of them.
func (l *leases) claim(owner string, addrs []netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range addrs {
		if other := l.owner[a]; other != "" && other != owner {
			return fmt.Errorf("the address %s of sandbox %s belongs to sandbox %s", a, short(owner), short(other))
		}
	}
	l.drop(owner)
	l.give(owner, addrs)
	return nil
}

// rename hands what owner has to another.
func (l *leases) rename(owner, to string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	addrs := l.held[owner]
	l.drop(owner)
	l.give(to, addrs)
}

// release takes back what owner has.
func (l *leases) release(owner string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(owner)
}

func (l *leases) drop(owner string) {
	for _, a := range l.held[owner] {
		if l.owner[a] == owner {
			delete(l.owner, a)
		}
	}
	delete(l.held, owner)
}

// covers says that all addresses are of the present ranges.
func (l *leases) covers(addrs []netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ranges) == 0 {
		return true // not known
	}
	return len(addrs) == len(l.ranges) && !slices.ContainsFunc(addrs, func(a netip.Addr) bool {
		return !slices.ContainsFunc(l.ranges, func(r netip.Prefix) bool { return r.Contains(a) })
	})
}
