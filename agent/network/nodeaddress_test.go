package network

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOtherAddress(t *testing.T) {
	m := newWorld(t).machine("m")
	m.ip("link add uplink type bridge")
	m.ip("link set uplink up")
	m.ip("link add pods type bridge")
	m.ip("link set pods up")
	m.ip("address add 192.0.2.7/24 dev uplink")
	m.ip("address add fd00:99::1/64 dev pods nodad")
	other := func(own string) (found netip.Addr) {
		in(t, m.ns, func() {
			var err error
			found, err = OtherAddress(netip.MustParseAddr(own))
			require.NoError(t, err)
		})
		return found
	}
	require.False(t, other("192.0.2.7").IsValid(), "the link's own address is no address for others, and that of pods is another device's")
	m.ip("address add fd00:2::6/64 dev uplink nodad preferred_lft 0")
	require.False(t, other("192.0.2.7").IsValid(), "a deprecated one ends soon")
	m.ip("address add fd00:2::7/64 dev uplink nodad")
	require.Equal(t, netip.MustParseAddr("fd00:2::7"), other("192.0.2.7"))
	require.Equal(t, netip.MustParseAddr("192.0.2.7"), other("fd00:2::7"))
	require.False(t, other("192.0.2.8").IsValid(), "no device has it")
}
