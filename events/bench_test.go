package events_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
)

// objectsLoaded is how many objects the benchmarks load: pods of a hundred sets, half of them placed and running.
const objectsLoaded = 100_000

func benchPod(i int) *corev1.Pod {
	set := fmt.Sprintf("web-%03d", i%100)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("%s-%d", set, i), UID: types.UID(fmt.Sprintf("7a0c6f1e-2b1d-8c3e-9f00-%012d", i)),
			Labels:          map[string]string{"app": set, "pod-template-hash": "5d4f8c7b9"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: set, UID: types.UID("uid-of-" + set)}}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "registry.example/team/" + set + ":1.2.3", Command: []string{"/bin/web", "--port=8080"},
			Env:       []corev1.EnvVar{{Name: "MODE", Value: "production"}, {Name: "LOG_LEVEL", Value: "info"}},
			Ports:     []corev1.ContainerPort{{ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("128Mi")}}}},
			RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst, SchedulerName: "default-scheduler"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1", Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}

// present is the last event of each facet of many objects.
func present(b *testing.B) (all []*events.Event) {
	s := events.NewState(registry())
	add := func(p events.Proposal) {
		e := p.Event
		e.Revision, e.Stored = events.Revision(len(all)+1), time.Now()
		all = append(all, &e)
	}
	for i := range objectsLoaded {
		pod := benchPod(i)
		add(events.Create(s, pod, "PodCreated"))
		if i%2 == 0 {
			ref := events.Ref{Resource: "pods", Namespace: pod.Namespace, Name: pod.Name}
			add(events.Proposal{Event: events.Event{Facet: events.Assigned, Ref: ref, UID: string(pod.UID), Type: "PodBound", Payload: fmt.Appendf(nil, `{"node":"node-%d"}`, i%1000)}})
			add(events.ObserveNew(s, pod, "PodStarted"))
		}
	}
	require.Len(b, all, 2*objectsLoaded)
	return all
}

// BenchmarkLoad tells how long it takes from the last events of 200,000 facets to an answer about the 100,000 objects that they make.
func BenchmarkLoad(b *testing.B) {
	all := present(b)
	last := all[len(all)-1].Ref
	for _, c := range []struct {
		name   string
		load   func(s *events.State, all []*events.Event, recent events.Recent) []events.SetAside
		answer func(b *testing.B, s *events.State)
	}{
		{"one-by-one", func(s *events.State, all []*events.Event, _ events.Recent) []events.SetAside {
			for _, e := range all {
				_, err := s.Apply(*e)
				require.NoError(b, err)
			}
			return nil
		}, nil},
		{"eager", (*events.State).Load, nil},
		{"lazy", (*events.State).LoadLazily, nil},
		{"lazy-then-one-object", (*events.State).LoadLazily, func(b *testing.B, s *events.State) {
			_, ok := s.Get(last)
			require.True(b, ok)
		}},
		{"lazy-then-one-node", (*events.State).LoadLazily, func(b *testing.B, s *events.State) {
			n := 0
			for range s.Indexed(events.ByNode, "node-0") {
				n++
			}
			require.Equal(b, objectsLoaded/1000, n)
		}},
		{"lazy-then-all", (*events.State).LoadLazily, func(b *testing.B, s *events.State) {
			require.Len(b, namesIn(s), objectsLoaded)
		}},
		{"lazy-then-hash", (*events.State).LoadLazily, func(b *testing.B, s *events.State) { require.NotEmpty(b, s.Hash()) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				s := events.NewState(registry())
				require.Empty(b, c.load(s, all, events.Recent{}))
				if c.answer != nil {
					c.answer(b, s)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e6, "ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkHash tells what it costs to have the hash of 100,000 objects at every revision.
func BenchmarkHash(b *testing.B) {
	all := present(b)
	for _, hashed := range []bool{false, true} {
		b.Run(fmt.Sprintf("apply,hashed=%t", hashed), func(b *testing.B) {
			s := events.NewState(registry())
			s.Load(all, events.Recent{})
			if hashed {
				s.Hash()
			}
			i := 0
			for b.Loop() {
				e := *all[i%len(all)]
				e.Revision = s.Revision() + 1
				_, err := s.Apply(e)
				require.NoError(b, err)
				if hashed {
					s.Hash()
				}
				i++
			}
		})
	}
}
