package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
)

func TestTranscripts(t *testing.T) {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	transcript.Test(t, registry, "testdata/*.txt", func() runner.Decider { return Node{since: transcript.Began} })
}
