package schemas

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
)

const (
	// specsHeld is how many specs a generation of podSpecs holds.
	specsHeld = 1024
	// maxSharedSpec bounds the specs that are held, in bytes.
	maxSharedSpec = 16 << 10
)

// podSpecs remembers decoded specs by their bytes: the pods of one template have the same spec, which is most of what a pod takes in time and memory.
// Whatever a spec points to is then shared by many pods, as decoded objects may be anyway: nobody changes them in place.
type podSpecs struct {
	mu         sync.RWMutex
	young, old map[string]*heldSpec // a full young generation becomes the old one, which is forgotten
}

type heldSpec struct {
	spec corev1.PodSpec
	qos  corev1.PodQOSClass // follows from the spec
}

// decode reads the desired facet of a pod, and what completePod computes from it. What is not as EncodeDesired writes it is left to the generated code.
func (s *podSpecs) decode(obj runtime.Object, desired []byte) error {
	pod := obj.(*corev1.Pod)
	meta, spec, ok := cutPod(desired)
	if !ok {
		return pod.Unmarshal(desired)
	}
	if err := pod.ObjectMeta.Unmarshal(meta); err != nil {
		return err
	}
	held := s.get(spec)
	if held == nil {
		held = &heldSpec{}
		if err := held.spec.Unmarshal(spec); err != nil {
			return err
		}
		held.qos = qos.ComputePodQOS(&corev1.Pod{Spec: held.spec})
		s.put(spec, held)
	}
	pod.Spec, pod.Status.QOSClass = held.spec, held.qos
	return nil
}

func (s *podSpecs) get(spec []byte) *heldSpec {
	s.mu.RLock()
	held, old := s.young[string(spec)], s.old[string(spec)]
	s.mu.RUnlock()
	if held == nil && old != nil {
		s.put(spec, old)
		return old
	}
	return held
}

func (s *podSpecs) put(spec []byte, held *heldSpec) {
	if len(spec) > maxSharedSpec {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young == nil || len(s.young) >= specsHeld {
		s.young, s.old = make(map[string]*heldSpec, specsHeld), s.young
	}
	s.young[string(spec)] = held
}

// The tags of a pod's protobuf fields, all of which are messages; see k8s.io/api/core/v1/generated.proto.
var podTags = [...]byte{1<<3 | 2, 2<<3 | 2, 3<<3 | 2}

// cutPod cuts a pod into its metadata and its spec. It fails if there is a status that says something, or if these fields don't come once and in order.
func cutPod(pod []byte) (meta, spec []byte, ok bool) {
	var fields [len(podTags)][]byte
	for i, tag := range podTags {
		if len(pod) == 0 || pod[0] != tag {
			return nil, nil, false
		}
		size, n := binary.Uvarint(pod[1:])
		if n <= 0 || size > uint64(len(pod)-1-n) {
			return nil, nil, false
		}
		fields[i], pod = pod[1+n:1+n+int(size)], pod[1+n+int(size):]
	}
	return fields[0], fields[1], len(pod) == 0 && bytes.Equal(fields[2], emptyPodStatus())
}

// emptyPodStatus is what a status that says nothing is written as: its strings are, though empty.
var emptyPodStatus = sync.OnceValue(func() []byte {
	status, err := (&corev1.PodStatus{}).Marshal()
	if err != nil {
		return nil
	}
	return slices.Clip(status)
})
