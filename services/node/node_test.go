package node

import (
	"testing"

	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
)

func TestTranscripts(t *testing.T) {
	transcript.Test(t, transcript.Registry(t), "testdata/*.txt", func() runner.Decider { return New() })
}
