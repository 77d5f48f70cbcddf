package scheduler

import (
	"testing"

	"github.com/wakehq/wake/services/runner/transcript"
)

func TestTranscripts(t *testing.T) {
	transcript.Test(t, kinds, "testdata/*.txt", New)
}
