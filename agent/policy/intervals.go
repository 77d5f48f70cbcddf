package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/wakehq/wake/events/nodewire"
)

// interval is a range of addresses, both ends included.
type interval struct{ from, to netip.Addr }

func (i interval) String() string {
	if i.from == i.to {
		return i.from.String()
	}
	return i.from.String() + "-" + i.to.String()
}

func intervalOf(p netip.Prefix) interval {
	last := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	to, _ := netip.AddrFromSlice(last)
	return interval{p.Masked().Addr(), to}
}

// without gives what is left of i beside cut.
func (i interval) without(cut interval) (left []interval) {
	if cut.to.Less(i.from) || i.to.Less(cut.from) {
		return []interval{i}
	}
	if i.from.Less(cut.from) {
		left = append(left, interval{i.from, cut.from.Prev()})
	}
	if cut.to.Less(i.to) {
		left = append(left, interval{cut.to.Next(), i.to})
	}
	return left
}

// intervalsOf gives the addresses of blocks in a family, in order and apart from each other, as nft wants them.
func intervalsOf(blocks []nodewire.PolicyBlock, f family) (all []interval) {
	for _, b := range blocks {
		if b.CIDR.Addr().Is4() != f.is4 {
			continue
		}
		left := []interval{intervalOf(b.CIDR)}
		for _, e := range b.Except {
			if e.Addr().Is4() != f.is4 {
				continue
			}
			var next []interval
			for _, i := range left {
				next = append(next, i.without(intervalOf(e))...)
			}
			left = next
		}
		all = append(all, left...)
	}
	slices.SortFunc(all, func(a, b interval) int { return a.from.Compare(b.from) })
	merged := all[:0]
	for _, i := range all {
		if n := len(merged); n > 0 && (!merged[n-1].to.Less(i.from) || merged[n-1].to.Next() == i.from) {
			if merged[n-1].to.Less(i.to) {
				merged[n-1].to = i.to
			}
			continue
		}
		merged = append(merged, i)
	}
	return merged
}

// portsOf words ports that have a number as elements of an anonymous set, apart from each other.
func portsOf(ports []nodewire.PolicyPort) (words []string) {
	type span struct{ from, to int }
	spans := map[string][]span{}
	for _, p := range ports {
		s := span{int(p.Port), int(max(p.Port, p.End))}
		if p.Port == 0 {
			s = span{0, 65535}
		}
		if p.Name == "" {
			transport := strings.ToLower(string(p.Protocol))
			spans[transport] = append(spans[transport], s)
		}
	}
	for _, transport := range []string{"tcp", "udp", "sctp"} {
		all := spans[transport]
		slices.SortFunc(all, func(a, b span) int { return a.from - b.from })
		merged := all[:0]
		for _, s := range all {
			if n := len(merged); n > 0 && s.from <= merged[n-1].to+1 {
				merged[n-1].to = max(merged[n-1].to, s.to)
				continue
			}
			merged = append(merged, s)
		}
		for _, s := range merged {
			if s.from == s.to {
				words = append(words, fmt.Sprintf("%s . %d", transport, s.from))
			} else {
				words = append(words, fmt.Sprintf("%s . %d-%d", transport, s.from, s.to))
			}
		}
	}
	return words
}
