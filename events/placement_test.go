package events

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPlacedOn(t *testing.T) {
	for payload, want := range map[string]string{`{"node":"n1"}`: "n1", `{"node":"n1","why":{"nodes":1,"top":[{"node":"n2"}]}}`: "n1", `{"node":"a\"b"}`: `a"b`,
		`{ "node": "n1" }`: "n1", `{"why":{"nodes":2},"node":"n1"}`: "n1", `{"node":"n1","more":1}`: "n1", `{}`: ""} {
		node, err := placedOn([]byte(payload))
		require.NoError(t, err, payload)
		require.Equal(t, want, node, payload)
	}
	for _, payload := range []string{``, `{"node":"n1"`, `{"node":"n1","why":{"nodes":1`, `{"node":"n1","why":{"nodes":1}`, `{"node":7}`, `n1`} {
		_, err := placedOn([]byte(payload))
		require.Error(t, err, payload)
	}
}

// However a placement is filled, its node is read as it was written.
func TestPlacedOnReadsWhatIsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Placement{Node: rapid.String().Draw(t, "node")}
		if rapid.Bool().Draw(t, "why") {
			p.Why = &Choice{Nodes: 1, Out: map[string]int{rapid.String().Draw(t, "reason"): 1}, Near: []Miss{{Node: "n", Lacks: rapid.String().Draw(t, "lacks")}}}
		}
		node, err := placedOn(must(json.Marshal(p)))
		require.NoError(t, err)
		require.Equal(t, p.Node, node)
	})
}
