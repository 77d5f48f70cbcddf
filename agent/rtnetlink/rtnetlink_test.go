package rtnetlink

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
)

func TestInterruptedListsAreAskedForAgain(t *testing.T) {
	asked := 0
	all, err := Whole(func() ([]int, error) {
		if asked++; asked < 3 {
			return []int{1}, netlink.ErrDumpInterrupted
		}
		return []int{1, 2}, nil
	})
	require.NoError(t, err)
	require.Equal(t, []int{1, 2}, all)

	refused := errors.New("refused")
	_, err = Whole(func() ([]int, error) { return nil, refused })
	require.Equal(t, refused, err, "no other error is tried again")
	_, err = Whole(func() ([]int, error) { return []int{1}, netlink.ErrDumpInterrupted })
	require.ErrorIs(t, err, netlink.ErrDumpInterrupted)
}
