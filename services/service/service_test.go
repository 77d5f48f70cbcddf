package service

import (
	"testing"

	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
)

func newAddresses() runner.Decider { return NewAddresses(DefaultRange) }
func newEndpoints() runner.Decider { return NewEndpoints() }

func TestAddresses(t *testing.T) {
	transcript.Test(t, transcript.Registry(t), "testdata/addresses/*.txt", newAddresses)
}

func TestEndpoints(t *testing.T) {
	transcript.Test(t, transcript.Registry(t), "testdata/endpoints/*.txt", newEndpoints)
}
