// Package rtnetlink asks the kernel for lists of links, addresses, routes and neighbours. It guarantees that a list is whole: one that a change on the
// machine interrupted, so that something may be missing or twice, is asked for again.
package rtnetlink

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// tries is how often a list is asked for. Where pods come and go by the dozen several in a row are interrupted.
const tries = 50

// Whole returns what list does, which calls one of netlink's functions that can say netlink.ErrDumpInterrupted.
func Whole[T any](list func() ([]T, error)) (all []T, err error) {
	for range tries {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return nil, fmt.Errorf("%d times in a row: %w", tries, err)
}
