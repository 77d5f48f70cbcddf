package service

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/transcript"
)

func registry(t interface {
	require.TestingT
	Helper()
}) *schemas.Registry {
	t.Helper()
	r, err := schemas.NewRegistry()
	require.NoError(t, err)
	return r
}

func newAddresses() runner.Decider { return NewAddresses(DefaultRange) }
func newEndpoints() runner.Decider { return NewEndpoints() }

func TestAddresses(t *testing.T) {
	transcript.Test(t, registry(t), "testdata/addresses/*.txt", newAddresses)
}

func TestEndpoints(t *testing.T) {
	transcript.Test(t, registry(t), "testdata/endpoints/*.txt", newEndpoints)
}
