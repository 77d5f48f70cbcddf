package job

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner/owned"
)

// indexEnv tells a container of an indexed Job which index is its own.
const indexEnv = "JOB_COMPLETION_INDEX"

// indexes says of each completion index whether it is in the set.
type indexes []bool

// parseIndexes reads a set as status.completedIndexes has it: "1,3-5". Indexes from n on are left out.
func parseIndexes(text string, n int) indexes {
	set := make(indexes, n)
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.Atoi(first)
		if err != nil {
			continue
		}
		to := from
		if isRange {
			if to, err = strconv.Atoi(last); err != nil {
				continue
			}
		}
		for i := max(0, from); i <= min(to, n-1); i++ {
			set[i] = true
		}
	}
	return set
}

func (s indexes) String() string {
	var parts []string
	for i := 0; i < len(s); i++ {
		if !s[i] {
			continue
		}
		first := i
		for i+1 < len(s) && s[i+1] {
			i++
		}
		switch i - first {
		case 0:
			parts = append(parts, strconv.Itoa(first))
		case 1:
			parts = append(parts, strconv.Itoa(first), strconv.Itoa(i))
		default:
			parts = append(parts, fmt.Sprintf("%d-%d", first, i))
		}
	}
	return strings.Join(parts, ",")
}

func (s indexes) total() (n int32) {
	for _, in := range s {
		if in {
			n++
		}
	}
	return n
}

func (t *turn) indexed() bool {
	mode := t.job.Spec.CompletionMode
	return mode != nil && *mode == batchv1.IndexedCompletion
}

func (t *turn) completions() int { return int(orOne(t.job.Spec.Completions)) }

// completionIndex returns which index a pod is to complete.
func completionIndex(pod *corev1.Pod) (int, bool) {
	index, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	return index, err == nil && index >= 0
}

// taken returns the indexes that a pod is needed no more for: done, or being done.
func (t *turn) taken() indexes {
	taken := slices.Clone(t.done)
	for _, o := range t.active {
		if index, valid := completionIndex(o.Typed().(*corev1.Pod)); valid && index < len(taken) {
			taken[index] = true
		}
	}
	return taken
}

// missing returns the n lowest indexes that nobody is at, or fewer.
func (t *turn) missing(n int) []int {
	var missing []int
	for index, taken := range t.taken() {
		if len(missing) == n {
			break
		}
		if !taken {
			missing = append(missing, index)
		}
	}
	return missing
}

// strays returns active pods that have no index of their own: none, one that is done, or another's.
func (t *turn) strays() []*events.Object {
	seen := slices.Clone(t.done)
	var strays []*events.Object
	for _, o := range t.active {
		index, valid := completionIndex(o.Typed().(*corev1.Pod))
		if !valid || index >= len(seen) || seen[index] {
			strays = append(strays, o)
			continue
		}
		seen[index] = true
	}
	return strays
}

// template returns the template of the Job's pods: the user's, held until counted, and told its index.
func (t *turn) template() *corev1.PodTemplateSpec {
	template := t.job.Spec.Template.DeepCopy()
	template.Finalizers = append(template.Finalizers, batchv1.JobTrackingFinalizer)
	if t.indexed() {
		for _, containers := range [...][]corev1.Container{template.Spec.InitContainers, template.Spec.Containers} {
			for i := range containers {
				tellIndex(&containers[i])
			}
		}
	}
	return template
}

func tellIndex(c *corev1.Container) {
	if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == indexEnv }) {
		return
	}
	path := fmt.Sprintf("metadata.annotations['%s']", batchv1.JobCompletionIndexAnnotation)
	c.Env = append(c.Env, corev1.EnvVar{Name: indexEnv, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}})
}

// indexedPod returns a pod for an index: it carries it in its name, host name, labels and annotations.
func indexedPod(birth *owned.Birth, job string, index int) *corev1.Pod {
	number := strconv.Itoa(index)
	pod := birth.NextOf(job + "-" + number + "-")
	pod.Labels, pod.Annotations = with(pod.Labels, number), with(pod.Annotations, number)
	pod.Spec.Hostname = job + "-" + number
	return pod
}

func with(m map[string]string, index string) map[string]string {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]string{}
	}
	m[batchv1.JobCompletionIndexAnnotation] = index
	return m
}
