package main

import (
	"fmt"
	"net/netip"
	"strings"
)

// serviceRanges are where the addresses of services come from: one range, or one of each family, the preferred family first.
type serviceRanges []netip.Prefix

// parseServiceRanges reads ranges apart by a comma.
func parseServiceRanges(text string) (serviceRanges, error) {
	var ranges serviceRanges
	for part := range strings.SplitSeq(text, ",") {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("%q is no address range such as 10.96.0.0/16: %w", part, err)
		}
		if prefix.Addr().BitLen()-prefix.Bits() < 2 {
			return nil, fmt.Errorf("%s has no room for services: it takes a shorter prefix", prefix)
		}
		ranges = append(ranges, prefix.Masked())
	}
	if len(ranges) > 2 || len(ranges) == 2 && ranges[0].Addr().Is4() == ranges[1].Addr().Is4() {
		return nil, fmt.Errorf("%s: there may be one range of IPv4 and one of IPv6", text)
	}
	return ranges, nil
}

func (r serviceRanges) String() string {
	texts := make([]string, 0, len(r))
	for _, prefix := range r {
		texts = append(texts, prefix.String())
	}
	return strings.Join(texts, ",")
}
