package replication

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
)

var newRegistry = sync.OnceValues(schemas.NewRegistry)

func registry(t require.TestingT) *schemas.Registry {
	r, err := newRegistry()
	require.NoError(t, err)
	return r
}

var deciders = []func() runner.Decider{NewDeployments, NewSets}

func TestTranscripts(t *testing.T) {
	transcript.Test(t, registry(t), "testdata/*.txt", deciders...)
}
