package schemas

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func podOf(t testing.TB, name, image string) *corev1.Pod {
	r, err := NewRegistry()
	require.NoError(t, err)
	k, _ := r.ByStorage("", "pods")
	pod := create(t, k, podManifest).(*corev1.Pod)
	pod.Name, pod.Spec.Containers[0].Image = name, image
	return pod
}

func TestPodsShareTheirSpecs(t *testing.T) {
	specs := new(podSpecs)
	decode := func(pod *corev1.Pod) *corev1.Pod {
		whole := pod.DeepCopy()
		whole.Status = corev1.PodStatus{}
		desired, err := whole.Marshal()
		require.NoError(t, err)
		var plain, shared corev1.Pod
		require.NoError(t, plain.Unmarshal(desired))
		require.NoError(t, specs.decode(&shared, desired))
		completePod(&plain)
		completePod(&shared)
		require.Empty(t, cmp.Diff(plain, shared))
		return &shared
	}
	template := podOf(t, "", "registry.example/web:1")
	named := func(name, image string) *corev1.Pod {
		pod := template.DeepCopy()
		pod.Name, pod.Spec.Containers[0].Image = name, image
		return decode(pod)
	}
	a, b, other := named("a", "one"), named("b", "one"), named("c", "two")
	require.Same(t, &a.Spec.Containers[0], &b.Spec.Containers[0])
	require.NotSame(t, &a.Spec.Containers[0], &other.Spec.Containers[0])
	a.Spec.NodeName = "n1" // what is not behind a pointer is the pod's own
	require.Empty(t, named("d", "one").Spec.NodeName)
	for i := range 3 * specsHeld {
		named("x", fmt.Sprint("image-", i))
		if i%100 == 0 {
			require.Same(t, &b.Spec.Containers[0], &named("e", "one").Spec.Containers[0], "what is in use stays")
		}
	}
	require.LessOrEqual(t, len(specs.young)+len(specs.old), 2*specsHeld)
	require.NotContains(t, specs.old, "image-0")

	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 500 {
				pod := template.DeepCopy()
				pod.Spec.Containers[0].Image = fmt.Sprint("image-", i*worker)
				desired, err := pod.Marshal()
				var got corev1.Pod
				if err != nil || specs.decode(&got, desired) != nil || got.Spec.Containers[0].Image != pod.Spec.Containers[0].Image {
					t.Error("a pod got another's spec")
				}
			}
		})
	}
	all.Wait()
}

// What is not as EncodeDesired writes it is read as the generated code reads it.
func TestPodsThatAreWrittenOtherwise(t *testing.T) {
	whole := podOf(t, "a", "one")
	whole.Status.Message = "said"
	full, err := whole.Marshal()
	require.NoError(t, err)
	whole.Status = corev1.PodStatus{}
	plain, err := whole.Marshal()
	require.NoError(t, err)
	meta, err := whole.ObjectMeta.Marshal()
	require.NoError(t, err)
	specs := new(podSpecs)
	unknown := []byte{0x7a, 1, 0}
	for name, desired := range map[string][]byte{"status": full, "nothing": {}, "twice": append(append([]byte{}, plain...), plain...),
		"metadata alone": append([]byte{1<<3 | 2, byte(len(meta)), 1}[:2], meta...), "unknown field": append(append([]byte{}, plain...), unknown...)} {
		var want, got corev1.Pod
		errWant := want.Unmarshal(desired)
		require.Equal(t, fmt.Sprint(errWant), fmt.Sprint(specs.decode(&got, desired)), name)
		if errWant == nil {
			completePod(&want)
			completePod(&got)
			require.Empty(t, cmp.Diff(want, got), name)
		}
	}
	for cut := range plain {
		var want, got corev1.Pod
		require.Equal(t, want.Unmarshal(plain[:cut]) == nil, specs.decode(&got, plain[:cut]) == nil, cut)
	}
}
