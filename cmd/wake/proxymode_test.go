package main

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/agent/proxy/ipvs"
)

func TestProxyMode(t *testing.T) {
	require.ErrorContains(t, (&proxyOptions{mode: "iptables"}).check(), "--proxy-mode")
	var told strings.Builder
	log := slog.New(slog.NewTextHandler(&told, nil))
	byNftables, err := (&proxyOptions{mode: modeNftables}).choose(t.Context(), log)
	require.NoError(t, err)
	require.False(t, byNftables)
	require.Empty(t, told.String())

	can := ipvs.Check(t.Context(), "rr")
	chosen, err := (&proxyOptions{mode: modeAuto, scheduler: "rr"}).choose(t.Context(), log)
	forced, forcedErr := (&proxyOptions{mode: modeIPVS, scheduler: "rr"}).choose(t.Context(), log)
	require.True(t, forced)
	if can == nil {
		require.NoError(t, err)
		require.True(t, chosen)
		require.NoError(t, forcedErr)
		require.Contains(t, told.String(), "served by IPVS")
		return
	}
	require.NoError(t, err)
	require.False(t, chosen)
	require.ErrorIs(t, forcedErr, ipvs.ErrNoIPVS)
	require.Contains(t, told.String(), "served by nftables")
}
