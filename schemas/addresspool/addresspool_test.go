package addresspool_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/schemas/addresspool"
)

func TestParse(t *testing.T) {
	pools, errs := addresspool.Parse(map[string]string{
		"default": "192.0.2.100-192.0.2.120, 192.0.2.7\n",
		"office":  "addresses: [198.51.100.0/24, '2001:db8::/120']\nautoAssign: false\navoidBuggyIPs: true\nnamespaces: [shop]\nnodeSelector: {rack: a}\n",
	})
	require.Empty(t, errs)
	require.Len(t, pools, 2)
	require.Equal(t, "default (192.0.2.100-192.0.2.120, 192.0.2.7)", pools[0].String())
	require.True(t, pools[0].AutoAssign)
	require.True(t, pools[0].Serves("anything"))
	for text, within := range map[string]bool{"192.0.2.99": false, "192.0.2.100": true, "192.0.2.120": true, "192.0.2.121": false, "192.0.2.7": true, "::7": false} {
		require.Equal(t, within, pools[0].Contains(netip.MustParseAddr(text)), text)
	}
	require.Equal(t, "office (198.51.100.0-198.51.100.255, 2001:db8::-2001:db8::ff)", pools[1].String())
	require.False(t, pools[1].AutoAssign)
	require.False(t, pools[1].Contains(netip.MustParseAddr("198.51.100.255")), "a buggy one")
	require.True(t, pools[1].Contains(netip.MustParseAddr("2001:db8::ff")))
	require.True(t, pools[1].Serves("shop"))
	require.False(t, pools[1].Serves("default"))
}

func TestParseTellsWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "no range of addresses, such as",
		"192.0.2.300":                        "no range of addresses, such as",
		"192.0.2.0/33":                       "no range of addresses, such as",
		"192.0.2.9-192.0.2.1":                "ends before it begins",
		"192.0.2.9-2001:db8::1":              "begins with one IP family and ends with the other",
		"127.0.0.1-127.0.0.9":                "no service can be reached at",
		"192.0.2.1, 192.0.2.0/24":            "192.0.2.1 and 192.0.2.0-192.0.2.255 overlap",
		"addresses: []":                      "a pool without addresses",
		"addresses: [192.0.2.1]\nauto: true": `unknown field "auto"`,
		"addresses: [192.0.2.1]\nnodeSelector: {'a b': c}": "nodeSelector:",
	} {
		pools, errs := addresspool.Parse(map[string]string{"bad": text, "good": "203.0.113.1"})
		require.Len(t, errs, 1, text)
		require.ErrorContains(t, errs.ToAggregate(), "data[bad]: Invalid value")
		require.ErrorContains(t, errs.ToAggregate(), want)
		require.Len(t, pools, 1, "the good one stays")
	}
	_, errs := addresspool.Parse(map[string]string{"a": "192.0.2.0/28", "b": "192.0.2.15"})
	require.ErrorContains(t, errs.ToAggregate(), "192.0.2.15 overlaps 192.0.2.0-192.0.2.15 of pool a")
}
