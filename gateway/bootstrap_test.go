package gateway_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/gateway"
	"github.com/wakehq/wake/schemas"
)

// Each start is an event, so that whatever follows from a start follows from the ledger; all else is written once.
func TestEachStartIsRecorded(t *testing.T) {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		ledger := memory.New(memory.Faults{})
		view, err := events.OpenView(t.Context(), ledger, registry)
		require.NoError(t, err)
		config := gateway.BootstrapConfig{API: netip.MustParseAddrPort("192.0.2.1:6443"), ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}}
		for starts := range 3 {
			before := view.State().Revision()
			require.NoError(t, gateway.Bootstrap(t.Context(), ledger, view, config))
			o, ok := view.State().Get(events.StartLease())
			require.True(t, ok)
			e, spec := o.Facet(events.Desired), o.Typed().(*coordinationv1.Lease).Spec
			require.Equal(t, []string{"WakeStarted", "system:bootstrap"}, []string{e.Type, e.Actor})
			require.EqualValues(t, starts, *spec.LeaseTransitions)
			require.WithinDuration(t, time.Now(), e.At, time.Millisecond)
			require.True(t, spec.RenewTime.Equal(spec.AcquireTime))
			if starts > 0 {
				require.Equal(t, before+1, view.State().Revision())
			}
			time.Sleep(time.Hour)
		}
	})
}
