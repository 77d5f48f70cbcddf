package announce

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlaces(t *testing.T) {
	prefix := netip.MustParsePrefix
	links := []link{
		{index: 1, prefixes: []netip.Prefix{prefix("192.0.2.0/24"), prefix("2001:db8::/64")}, default4: true},
		{index: 2, prefixes: []netip.Prefix{prefix("198.51.100.0/24")}, default6: true},
		{index: 3, prefixes: []netip.Prefix{prefix("192.0.2.128/25")}},
	}
	for text, want := range map[string][]int{
		"192.0.2.7":    {1},
		"192.0.2.200":  {1, 3},
		"198.51.100.9": {2},
		"203.0.113.1":  {1}, // on no link: where the default route goes
		"2001:db8::9":  {1},
		"2001:db9::9":  {2},
	} {
		address := netip.MustParseAddr(text)
		found := places([]netip.Addr{address}, links)
		require.Len(t, found, len(want), text)
		for _, index := range want {
			require.True(t, found[place{index, address}], "%s on link %d", text, index)
		}
	}
	require.Empty(t, places([]netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil))
}
