package simulation

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/services/simulation"
)

var background = context.Background()

func TestAKilledNode(t *testing.T) {
	for _, agent := range []bool{false, true} {
		state := grow(t, nodes(3, "4", agent), deployment("web", 6, "500m"))
		before := state.Hash()
		r := ask(t, state, simulation.Question{Kill: []string{"n3"}})
		text, err := json.MarshalIndent(r, "", " ")
		require.NoError(t, err)
		t.Log(string(text))
		require.Equal(t, before, state.Hash())
		found := simulation.Span(40 * time.Second)
		if agent {
			found = simulation.Span(10 * time.Second)
		}
		require.Equal(t, simulation.NodeLost, r.Steps[0].What)
		require.Equal(t, found, r.Steps[0].At)
		require.Len(t, r.Evicted, 2)
		require.Len(t, r.Placed, 2)
		require.Len(t, r.Ending, 2)
		require.NotNil(t, r.Converges)
	}
}
