package behaviour

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/wakehq/wake/agent/proxy"
)

// The cluster that is programmed.
const (
	manyServices   = 10_000
	manyEndpoints  = 10  // of each
	changesInARow  = 300 // of one endpoint each
	sparesOfHosts  = 200
	secondOctet    = 100
	firstSpareHost = 10
)

// MeasureProgramming gives the time from objects to rules of 10,000 services with 100,000 endpoints: programming all of them, changing one endpoint, taking over
// from an earlier process, and looking whether all is there when somebody has changed something else. The processor time is that of this process and of the programs
// that it starts. Run it with -benchtime=1x.
func MeasureProgramming(b *testing.B, newBackend Factory) {
	w := newBench(b, kind{}, newBackend)
	full := proxy.Change{Full: true}
	for i := range manyServices {
		ip := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}).String()
		full.Services = append(full.Services, service(fmt.Sprintf("s%d", i), ip, func(svc *corev1.Service) { svc.Spec.Ports = svc.Spec.Ports[:1] }))
		full.SlicesPut = append(full.SlicesPut, tenEndpoints(i, 0))
	}
	round := 0
	for b.Loop() {
		first := spend(func() { require.NoError(b, w.proxy.Apply(b.Context(), full)) })
		var took []time.Duration
		changing := spend(func() {
			for range changesInARow {
				round++
				i := round * 7919 % manyServices
				start := time.Now()
				require.NoError(b, w.proxy.Apply(b.Context(), put(tenEndpoints(i, round))))
				took = append(took, time.Since(start))
			}
		})
		slices.Sort(took)
		w.meddleElsewhere(b)
		looking := spend(func() { require.NoError(b, w.proxy.Repair(b.Context())) })
		idle := spend(func() { require.NoError(b, w.proxy.Repair(b.Context())) })
		require.Empty(b, w.complaints.String())
		w.proxy = w.connect(w.start(b, "one", "10.96.0.0/16"))
		again := spend(func() { require.NoError(b, w.proxy.Apply(b.Context(), full)) })
		b.ReportMetric(first.wall.Seconds(), "first-s")
		b.ReportMetric(again.wall.Seconds(), "again-s")
		b.ReportMetric(milliseconds(took[len(took)/2]), "change-p50-ms")
		b.ReportMetric(milliseconds(took[len(took)*99/100]), "change-p99-ms")
		b.ReportMetric(milliseconds(changing.cpu)/changesInARow, "change-cpu-ms")
		b.ReportMetric(milliseconds(idle.wall), "idle-look-ms")
		b.ReportMetric(milliseconds(looking.wall), "look-ms")
		b.ReportMetric(0, "ns/op")
	}
}

// tenEndpoints is the slice of the i-th service; its last endpoint depends on round.
func tenEndpoints(i, round int) *discoveryv1.EndpointSlice {
	slice := backedBy(fmt.Sprintf("s%d", i))
	slice.Ports = slice.Ports[:1]
	for n := range manyEndpoints {
		host := byte(1 + n)
		if n == manyEndpoints-1 {
			host = byte(firstSpareHost + round%sparesOfHosts)
		}
		addr := netip.AddrFrom4([4]byte{10, byte(secondOctet + i>>8), byte(i), host})
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{addr.String()}, NodeName: ptr("node-b")})
	}
	return slice
}

// spent is what something costs.
type spent struct{ wall, cpu time.Duration }

func spend(do func()) spent {
	start, before := time.Now(), processorTime()
	do()
	return spent{time.Since(start), processorTime() - before}
}

// processorTime is that of this process and of those that it has waited for.
func processorTime() time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		if syscall.Getrusage(who, &usage) == nil {
			sum += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		}
	}
	return sum
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
