package main

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDNSFlags(t *testing.T) {
	good := dnsOptions{cluster: []string{"192.0.2.1", "fd00::1"}, upstream: []string{"192.0.2.2", "192.0.2.3:5353", "fd00::2", "[fd00::3]:54"}}
	require.NoError(t, good.check())
	servers, err := good.upstreams()
	require.NoError(t, err)
	require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.2:53"), netip.MustParseAddrPort("192.0.2.3:5353"),
		netip.MustParseAddrPort("[fd00::2]:53"), netip.MustParseAddrPort("[fd00::3]:54")}, servers)
	for _, bad := range []dnsOptions{{cluster: []string{"dns.example.org"}}, {cluster: []string{"192.0.2.1:53"}}, {upstream: []string{"dns.example.org"}}} {
		require.Error(t, bad.check())
	}
	require.NoError(t, checkDomain("cluster.local"))
	for _, bad := range []string{"", "Cluster.Local", "cluster.local.", "cluster local"} {
		require.ErrorContains(t, checkDomain(bad), "--cluster-domain")
	}
}
