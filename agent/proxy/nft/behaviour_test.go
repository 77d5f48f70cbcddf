package nft_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/proxy/behaviour"
	"github.com/wakehq/wake/agent/proxy/nft"
)

func TestBehaviour(t *testing.T) { behaviour.Run(t, inWorld) }

func TestConnectionsThatWaitMoveOn(t *testing.T) { behaviour.RunRetrying(t, inWorld) }

// inWorld is the backend for a node of the suite's.
func inWorld(t testing.TB, node behaviour.Node) proxy.Backend {
	backend, err := nft.New(t.Context(), nft.Config{
		Table:       "wake-" + node.Cluster,
		PodNets:     []netip.Prefix{node.PodNet},
		ServiceNets: []netip.Prefix{node.ServiceNet},
		PodDevice:   node.PodDevice,
		ForwardMark: node.ForwardMark,
	})
	require.NoError(t, err)
	return backend
}
