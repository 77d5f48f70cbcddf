package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BenchmarkSchedule places 10,000 pods on 5,000 nodes without a ledger: deciding, and folding what was decided.
func BenchmarkSchedule(b *testing.B) {
	const nodes, pods = 5_000, 10_000
	apart := func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels}}}}}
	}
	spread := func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone,
			WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels}}}
	}
	for _, c := range []struct {
		name      string
		workloads int
		distinct  bool // requests differ from workload to workload
		rule      func(*corev1.Pod)
	}{
		{"one workload", 1, false, nil}, {"100 workloads", 100, false, nil}, {"10,000 workloads", pods, false, nil},
		{"100 shapes, interleaved", 100, true, nil}, {"anti-affinity", 10, false, apart}, {"zone spread", 10, false, spread},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w := newWorld(b)
				for i := range nodes {
					w.create(aNode(fmt.Sprintf("node-%d", i), "cpu=32 memory=128Gi pods=110", corev1.LabelTopologyZone, fmt.Sprintf("zone-%d", i%3)))
				}
				for i := range pods {
					workload := i % c.workloads
					requests := "cpu=100m memory=128Mi"
					if c.distinct {
						requests = fmt.Sprintf("cpu=%dm memory=128Mi", 100+workload)
					}
					p := ownedBy(aPod(fmt.Sprintf("pod-%d", i), requests, "app", fmt.Sprintf("app-%d", workload)), fmt.Sprintf("rs-%d", workload))
					if c.rule != nil {
						c.rule(p)
					}
					w.create(p)
				}
				deciding, bound := time.Duration(0), 0
				b.StartTimer()
				for bound < pods {
					began := time.Now()
					d := w.decide()
					deciding += time.Since(began)
					require.NotEmpty(b, d.Each)
					for _, p := range d.Each {
						require.Equal(b, PodBound, p.Type)
						w.append(p)
					}
					bound += len(d.Each)
				}
				b.ReportMetric(pods/deciding.Seconds(), "decided-pods/s")
			}
			b.ReportMetric(float64(pods*b.N)/b.Elapsed().Seconds(), "pods/s")
		})
	}
}

// BenchmarkNothingFits decides again and again about 10,000 pods that have no place on 5,000 nodes, one of which changes each time.
func BenchmarkNothingFits(b *testing.B) {
	for _, shapes := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d shapes", shapes), func(b *testing.B) {
			w := newWorld(b)
			for i := range 5_000 {
				w.create(aNode(fmt.Sprintf("node-%d", i), "cpu=1 memory=128Gi pods=110"))
			}
			for i := range 10_000 {
				w.create(aPod(fmt.Sprintf("pod-%d", i), fmt.Sprintf("cpu=%dm", 2000+i%shapes)))
			}
			for range 12 {
				for _, p := range w.decide().Each {
					w.append(p)
				}
			}
			for b.Loop() {
				alter(w, "nodes", "node-1", func(n *corev1.Node) { n.Spec.Unschedulable = !n.Spec.Unschedulable })
				require.Empty(b, w.decide().Each)
			}
		})
	}
}
