package timetravel

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

func TestStatesAreHeldUpToABound(t *testing.T) {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	s := newStates()
	s.limit = 100
	var folded []events.Revision
	fold := func(_ context.Context, _ *events.State, revision events.Revision) (*events.State, int, error) {
		folded = append(folded, revision)
		state := events.NewState(registry)
		state.Advance(revision)
		return state, 40, nil
	}
	get := func(revision events.Revision) {
		state, err := s.get(t.Context(), revision, fold)
		require.NoError(t, err)
		require.Equal(t, revision, state.Revision())
	}
	// Far enough apart that none is folded onto another, which would count for both.
	a, b, c := events.Revision(1), events.Revision(1+2*near), events.Revision(1+4*near)
	for _, revision := range []events.Revision{a, b, a, c, a, c} {
		get(revision)
	}
	require.Equal(t, []events.Revision{a, b, c}, folded, "the third pushes the least recently used out")
	get(b)
	require.Equal(t, []events.Revision{a, b, c, b}, folded)
	require.Equal(t, 80, s.size)
	s.limit = 10
	get(5 * near * 2)
	require.Len(t, s.kept, 1, "the newest is held however large it is")
}
