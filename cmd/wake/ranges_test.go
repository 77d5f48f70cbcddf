package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseServiceRanges(t *testing.T) {
	for text, want := range map[string]string{
		"10.96.0.0/16":               "10.96.0.0/16",
		"10.96.3.4/16, fd00:1::/112": "10.96.0.0/16,fd00:1::/112",
		"fd00:1::/112,10.96.0.0/16":  "fd00:1::/112,10.96.0.0/16",
	} {
		ranges, err := parseServiceRanges(text)
		require.NoError(t, err)
		require.Equal(t, want, ranges.String())
	}
	for text, want := range map[string]string{
		"":                                   `"" is no address range`,
		"10.96.0.0":                          `"10.96.0.0" is no address range`,
		"10.96.0.0/16,10.97.0.0/16":          "one range of IPv4 and one of IPv6",
		"10.96.0.0/16,fd00::/112,fd01::/112": "one range of IPv4 and one of IPv6",
		"10.96.0.0/31":                       "no room for services",
	} {
		_, err := parseServiceRanges(text)
		require.ErrorContains(t, err, want)
	}
}
