package loadbalancer_test

import (
	"fmt"

	"github.com/wakehq/wake/itest/fabric"
)

// answered says that a pod has answered both clients so often.
func answered(one, other *fabric.Counting, pod string, times int) error {
	for _, tally := range []fabric.Tally{one.SoFar(), other.SoFar()} {
		if n := tally.By[pod]; n < times {
			return fmt.Errorf("%s answered %d times; %s; %s; answers by %v", pod, n, tally, tally.Kinds(), tally.By)
		}
	}
	return nil
}
