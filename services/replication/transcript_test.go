package replication

import (
	"testing"

	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
)

var deciders = []func() runner.Decider{NewDeployments, NewSets}

func TestTranscripts(t *testing.T) {
	transcript.Test(t, transcript.Registry(t), "testdata/*.txt", deciders...)
}
