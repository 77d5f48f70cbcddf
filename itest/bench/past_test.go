package bench

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkPast asks a running cluster of 100,000 objects about random moments among its 1,000,000 events, over the API: for one pod, and for a page of the list of all pods,
// which takes the state of the whole cluster. No moment is asked for twice.
func BenchmarkPast(b *testing.B) {
	p := newProcess(b, "--no-agent")
	p.start()
	p.stop()
	p.fill()
	p.start()
	p.until("the archive has caught up", func() bool { return p.archived() > oldEvents*9/10 })
	client, random := p.client().RESTClient(), rand.New(rand.NewPCG(7, 7))
	ask := func(path string, parameters ...string) time.Duration {
		// Pods are complete after the first 300,000 events; from there on the state is as large as it gets.
		request := client.Get().AbsPath(path).Param("at", fmt.Sprint(300_000+random.IntN(oldEvents-300_000)))
		for i := 0; i < len(parameters); i += 2 {
			request.Param(parameters[i], parameters[i+1])
		}
		began := time.Now()
		_, err := request.DoRaw(b.Context())
		require.NoError(b, err)
		return time.Since(began)
	}
	for name, read := range map[string]func() time.Duration{
		"object": func() time.Duration {
			return ask(fmt.Sprintf("/api/v1/namespaces/default/pods/web-%d-%d", random.IntN(oldSets), random.IntN(oldPodsPerSet)))
		},
		"cluster": func() time.Duration { return ask("/api/v1/pods", "limit", "100") },
	} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				took = append(took, read())
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2].Seconds()*1000, "median-ms")
			b.ReportMetric(took[len(took)-1].Seconds()*1000, "worst-ms")
		})
	}
	p.stop()
}
