package nodeipam

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Range is a range of the cluster, and how it is shared out: every node gets a block of Mask bits.
type Range struct {
	Prefix netip.Prefix
	Mask   int
}

// maxBlockBits bounds how many nodes one range may serve: 65,536.
const maxBlockBits = 16

// DefaultRange is where pods' addresses come from unless a cluster is told otherwise: 256 nodes of 254 addresses.
var DefaultRange = Range{Prefix: netip.MustParsePrefix("10.244.0.0/16"), Mask: DefaultMask4}

// The sizes of a node's ranges unless a cluster is told otherwise, as in Kubernetes.
const (
	DefaultMask4 = 24
	DefaultMask6 = 64
)

// ParseRanges reads a comma-separated list of one range, or of one of each family, and gives each the mask of its family.
func ParseRanges(list string, mask4, mask6 int) ([]Range, error) {
	var ranges []Range
	for text := range strings.SplitSeq(list, ",") {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%q is no address range such as 10.244.0.0/16: %w", text, err)
		}
		if prefix != prefix.Masked() {
			return nil, fmt.Errorf("%s has bits set beyond its length: say %s", prefix, prefix.Masked())
		}
		r := Range{Prefix: prefix, Mask: mask4}
		if prefix.Addr().Is6() {
			r.Mask = mask6
		}
		if err := r.check(); err != nil {
			return nil, err
		}
		ranges = append(ranges, r)
	}
	if len(ranges) > 2 || len(ranges) == 2 && ranges[0].Prefix.Addr().Is4() == ranges[1].Prefix.Addr().Is4() {
		return nil, errors.New("say one range, or one IPv4 and one IPv6 range")
	}
	return ranges, nil
}

func (r Range) check() error {
	smallest := 30 // a network, a gateway, a pod, a broadcast address
	if r.Prefix.Addr().Is6() {
		smallest = 126
	}
	switch {
	case r.Mask < r.Prefix.Bits() || r.Mask > smallest:
		return fmt.Errorf("a node's part of %s can't be a /%d: say one from /%d to /%d", r.Prefix, r.Mask, r.Prefix.Bits(), min(smallest, r.Prefix.Bits()+maxBlockBits))
	case r.Mask-r.Prefix.Bits() > maxBlockBits:
		return fmt.Errorf("%s has more than %d parts of /%d: say a longer prefix, or larger parts", r.Prefix, 1<<maxBlockBits, r.Mask)
	}
	return nil
}

// blocks is how many nodes the range serves.
func (r Range) blocks() int { return 1 << (r.Mask - r.Prefix.Bits()) }

// block is the n-th part of the range.
func (r Range) block(n int) netip.Prefix {
	bytes := r.Prefix.Addr().As16()
	high, low := binary.BigEndian.Uint64(bytes[:8]), binary.BigEndian.Uint64(bytes[8:])
	shift := r.Prefix.Addr().BitLen() - r.Mask
	if shift >= 64 {
		high |= uint64(n) << (shift - 64)
	} else {
		low |= uint64(n) << shift
		if shift > 64-maxBlockBits {
			high |= uint64(n) >> (64 - shift)
		}
	}
	binary.BigEndian.PutUint64(bytes[:8], high)
	binary.BigEndian.PutUint64(bytes[8:], low)
	return netip.PrefixFrom(sameFamily(netip.AddrFrom16(bytes), r.Prefix.Addr()), r.Mask)
}

func sameFamily(address, like netip.Addr) netip.Addr {
	if like.Is4() {
		return address.Unmap()
	}
	return address
}

// covering gives the blocks that p lies in or covers, which must be within the range.
func (r Range) covering(p netip.Prefix) []netip.Prefix {
	if p.Bits() >= r.Mask {
		return []netip.Prefix{netip.PrefixFrom(p.Addr(), r.Mask).Masked()}
	}
	part := Range{Prefix: p.Masked(), Mask: r.Mask}
	all := make([]netip.Prefix, part.blocks())
	for n := range all {
		all[n] = part.block(n)
	}
	return all
}

// holds says that p lies within the range.
func (r Range) holds(p netip.Prefix) bool {
	return p.Bits() >= r.Prefix.Bits() && r.Prefix.Contains(p.Addr())
}

// claimPrefix begins the name of a Lease that claims a block.
const claimPrefix = "podcidr-"

// claimName words a block as an object's name may be: "podcidr-10.244.3.0-24", "podcidr-fd00-244-0-3---64".
func claimName(block netip.Prefix) string {
	return claimPrefix + strings.ReplaceAll(block.Addr().String(), ":", "-") + "-" + strconv.Itoa(block.Bits())
}

// claimedBlock is the inverse of claimName.
func claimedBlock(name string) (netip.Prefix, bool) {
	text, ok := strings.CutPrefix(name, claimPrefix)
	cut := strings.LastIndexByte(text, '-')
	if !ok || cut < 0 {
		return netip.Prefix{}, false
	}
	address := text[:cut]
	if !strings.Contains(address, ".") {
		address = strings.ReplaceAll(address, "-", ":")
	}
	block, err := netip.ParsePrefix(address + "/" + text[cut+1:])
	return block, err == nil
}
