package scheduler

import (
	"encoding/binary"
	"hash/fnv"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// shape is what the pods of a kind ask of any node, whatever else runs in the cluster. Pods of one shape suit the same nodes equally well.
type shape struct {
	demand
	points      *points
	seed        uint64                // of the order among equals, so that different shapes begin with different nodes
	extended    []corev1.ResourceName // sorted
	required    nodeaffinity.RequiredNodeAffinity
	preferred   *nodeaffinity.PreferredSchedulingTerms
	tolerations []corev1.Toleration
	pinned      []string // the only nodes that can do, sorted, when the pod names them as a DaemonSet's does; else nil
	isPinned    bool
	unsupported string // a hard constraint that isn't understood

	asked int // how often a place was looked for
}

func newShape(p *corev1.Pod, d demand, seed uint64, points *points) *shape {
	s := &shape{demand: d, points: points, seed: seed, extended: d.extendedNames(), required: nodeaffinity.GetRequiredNodeAffinity(p), tolerations: p.Spec.Tolerations,
		unsupported: unsupported(p)}
	if affinity := nodeAffinity(p); affinity != nil {
		s.pinned, s.isPinned = pinnedTo(affinity.RequiredDuringSchedulingIgnoredDuringExecution)
		preferred, err := nodeaffinity.NewPreferredSchedulingTerms(affinity.PreferredDuringSchedulingIgnoredDuringExecution)
		if err != nil {
			s.unsupported = "the pod's preferred node affinity can't be read: " + err.Error()
		}
		s.preferred = preferred
	}
	return s
}

func nodeAffinity(p *corev1.Pod) *corev1.NodeAffinity {
	if p.Spec.Affinity == nil {
		return nil
	}
	return p.Spec.Affinity.NodeAffinity
}

// pinnedTo gives the names of the nodes that a selector allows when each of its terms names some.
func pinnedTo(selector *corev1.NodeSelector) (names []string, pinned bool) {
	if selector == nil {
		return nil, false
	}
	for _, term := range selector.NodeSelectorTerms {
		named := false
		for _, field := range term.MatchFields {
			if field.Key == "metadata.name" && field.Operator == corev1.NodeSelectorOpIn {
				names, named = append(names, field.Values...), true
				break
			}
		}
		if !named {
			return nil, false
		}
	}
	slices.Sort(names)
	return slices.Compact(names), true
}

// unsupported names a hard constraint of the pod that this scheduler can't honour, or "".
func unsupported(p *corev1.Pod) string {
	if len(p.Spec.ResourceClaims) > 0 {
		return "the pod uses resource claims, which this scheduler can't place"
	}
	for i := range p.Spec.Volumes {
		switch v := &p.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			return "the pod uses persistentvolumeclaim \"" + v.PersistentVolumeClaim.ClaimName + "\", and this scheduler can't place persistent volumes"
		case v.Ephemeral != nil:
			return "the pod uses the ephemeral volume \"" + v.Name + "\", and this scheduler can't place persistent volumes"
		}
	}
	return ""
}

// shapeKey is equal for pods of one shape.
func shapeKey(p *corev1.Pod, d *demand) string {
	b := make([]byte, 0, 128)
	for _, n := range [...]int64{d.cpu, d.memory, d.storage, d.scoredCPU, d.scoredMemory} {
		b = binary.AppendVarint(b, n)
	}
	for _, name := range d.extendedNames() {
		b = appendText(b, 'x', string(name))
		b = binary.AppendVarint(b, d.extended[name])
	}
	for _, port := range d.ports {
		b = appendText(b, 'h', port.ip)
		b = appendText(b, '/', string(port.protocol))
		b = binary.AppendVarint(b, int64(port.port))
	}
	b = append(b, placementKey(p)...)
	for i := range p.Spec.Tolerations {
		b = appendMessage(b, 't', &p.Spec.Tolerations[i])
	}
	return string(appendText(b, 'u', unsupported(p)))
}

// placementKey is equal for pods that ask for the same nodes by label and name.
func placementKey(p *corev1.Pod) []byte {
	var b []byte
	for _, label := range slices.Sorted(maps.Keys(p.Spec.NodeSelector)) {
		b = appendText(b, 's', label)
		b = appendText(b, '=', p.Spec.NodeSelector[label])
	}
	if affinity := nodeAffinity(p); affinity != nil {
		b = appendMessage(b, 'a', affinity)
	}
	return b
}

func appendText(b []byte, mark byte, s string) []byte {
	return append(binary.AppendUvarint(append(b, mark), uint64(len(s))), s...)
}

// appendMessage appends m in protobuf: Kubernetes' encoding of a value is always the same bytes. One that can't be encoded can't have been
// stored either.
func appendMessage(b []byte, mark byte, m interface{ Marshal() ([]byte, error) }) []byte {
	encoded, _ := m.Marshal()
	return appendText(b, mark, string(encoded))
}

func hashText(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return h.Sum64()
}
