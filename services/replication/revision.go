package replication

import (
	"cmp"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
)

// The annotations with which a Deployment and its ReplicaSets remember their history; kubectl reads them.
const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	desiredAnnotation  = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation      = "deployment.kubernetes.io/max-replicas"
)

// maxHistoryBytes bounds historyAnnotation; the oldest revisions make room.
const maxHistoryBytes = 2000

// ownAnnotations stay with the object that has them; all others a ReplicaSet takes over from its Deployment.
var ownAnnotations = map[string]bool{corev1.LastAppliedConfigAnnotation: true, revisionAnnotation: true, historyAnnotation: true,
	desiredAnnotation: true, maxAnnotation: true, appsv1.DeprecatedRollbackTo: true}

func annotatedNumber(rs *appsv1.ReplicaSet, annotation string) (int32, bool) {
	n, err := strconv.ParseInt(rs.Annotations[annotation], 10, 32)
	return int32(n), err == nil
}

func revisionOf(rs *appsv1.ReplicaSet) int64 {
	n, _ := strconv.ParseInt(rs.Annotations[revisionAnnotation], 10, 64)
	return n
}

// sameTemplate compares templates but for the label that tells them apart.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	if !equality.Semantic.DeepEqual(&a.Spec, &b.Spec) {
		return false
	}
	x, y := a.ObjectMeta, b.ObjectMeta
	x.Labels, y.Labels = withoutHash(x.Labels), withoutHash(y.Labels)
	return equality.Semantic.DeepEqual(&x, &y)
}

func withoutHash(labels map[string]string) map[string]string {
	if _, ok := labels[appsv1.DefaultDeploymentUniqueLabelKey]; !ok {
		return labels
	}
	labels = maps.Clone(labels)
	delete(labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return labels
}

// templateHash returns the value of the label pod-template-hash: the same for the same template, and another one after a collision.
func templateHash(template *corev1.PodTemplateSpec, collisions int32) (string, error) {
	const letters = "bcdfghjklmnpqrstvwxz2456789" // no words come of them
	encoded, err := template.Marshal()            // protobuf, maps sorted: fields to come don't change it
	if err != nil {
		return "", err
	}
	h := fnv.New64a()
	_, _ = h.Write(encoded)
	_, _ = h.Write(strconv.AppendInt(nil, int64(collisions), 10))
	sum, hash := h.Sum64(), make([]byte, 10)
	for i := range hash {
		hash[i] = letters[sum%uint64(len(letters))]
		sum /= uint64(len(letters))
	}
	return string(hash), nil
}

// begin makes sure that the present template has a ReplicaSet, and that it is the newest revision.
func (r *rollout) begin() {
	if r.newest == nil {
		r.newest = r.newSet()
	}
	r.revise()
}

func (r *rollout) newSet() *member {
	var name, hash string
	for collisions := r.collisions(); ; collisions++ {
		var err error
		if hash, err = templateHash(&r.was.Spec.Template, collisions); err != nil {
			panic(err) // a template that was decoded can be encoded
		}
		name = r.was.Name[:min(len(r.was.Name), 253-1-len(hash))] + "-" + hash
		if _, taken := r.State.Get(events.Ref{Group: appsv1.GroupName, Resource: "replicasets", Namespace: r.was.Namespace, Name: name}); !taken {
			if collisions != r.collisions() {
				r.is.Status.CollisionCount = &collisions
			}
			break
		}
	}
	label := func(labels map[string]string) map[string]string {
		labels = maps.Clone(labels)
		if labels == nil {
			labels = map[string]string{}
		}
		labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
		return labels
	}
	spec := &r.was.Spec
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.was.Namespace, Name: name, UID: events.DeriveUID(string(r.was.UID), name, r.State.Revision()),
			Generation: 1, CreationTimestamp: metav1.NewTime(r.Now.Truncate(time.Second)), Labels: label(spec.Template.Labels),
			OwnerReferences: []metav1.OwnerReference{r.owner}},
		Spec: appsv1.ReplicaSetSpec{Replicas: new(int32(0)), MinReadySeconds: spec.MinReadySeconds, Selector: spec.Selector.DeepCopy(), Template: *spec.Template.DeepCopy()},
	}
	rs.Spec.Template.Labels = label(spec.Template.Labels)
	rs.Spec.Selector.MatchLabels = label(rs.Spec.Selector.MatchLabels)
	return &member{was: &appsv1.ReplicaSet{}, is: rs}
}

func (r *rollout) collisions() int32 {
	if r.was.Status.CollisionCount == nil {
		return 0
	}
	return *r.was.Status.CollisionCount
}

// revise gives the newest ReplicaSet, if there is one, the highest revision and the Deployment's annotations.
func (r *rollout) revise() {
	if r.newest == nil {
		return
	}
	last := int64(0)
	for _, m := range r.old {
		last = max(last, revisionOf(m.was))
	}
	annotations := r.newest.annotations()
	for key, value := range r.was.Annotations {
		if !ownAnnotations[key] {
			annotations[key] = value
		}
	}
	if was := revisionOf(r.newest.was); was <= last {
		if was > 0 {
			annotations[historyAnnotation] = appendHistory(annotations[historyAnnotation], strconv.FormatInt(was, 10))
		}
		annotations[revisionAnnotation] = strconv.FormatInt(last+1, 10)
	}
	r.newest.is.Spec.MinReadySeconds = r.was.Spec.MinReadySeconds
	if r.newest.object == nil {
		r.annotateSize(r.newest)
	}
	if revision := annotations[revisionAnnotation]; r.is.Annotations[revisionAnnotation] != revision {
		if r.is.Annotations == nil {
			r.is.Annotations = map[string]string{}
		}
		r.is.Annotations[revisionAnnotation] = revision
	}
}

func appendHistory(history, revision string) string {
	if history != "" {
		history += ","
	}
	history += revision
	for len(history) > maxHistoryBytes {
		_, history, _ = strings.Cut(history, ",")
	}
	return history
}

func (m *member) annotations() map[string]string {
	if m.is.Annotations == nil {
		m.is.Annotations = map[string]string{}
	}
	return m.is.Annotations
}

func (r *rollout) annotateSize(m *member) {
	m.annotations()[desiredAnnotation] = strconv.Itoa(int(r.replicas))
	m.annotations()[maxAnnotation] = strconv.Itoa(int(r.replicas + r.surge))
}

// forget removes the oldest of the ReplicaSets that are out of use, beyond what the history keeps.
func (r *rollout) forget() {
	if r.was.Spec.RevisionHistoryLimit == nil {
		return
	}
	kept := slices.DeleteFunc(slices.Clone(r.old), func(m *member) bool { return m.was.DeletionTimestamp != nil })
	excess := len(kept) - int(*r.was.Spec.RevisionHistoryLimit)
	if excess <= 0 {
		return
	}
	slices.SortStableFunc(kept, func(a, b *member) int { return cmp.Compare(revisionOf(a.was), revisionOf(b.was)) })
	for _, m := range kept[:excess] {
		s := &m.was.Status
		idle := s.Replicas == 0 && m.size() == 0 && orOne(m.was.Spec.Replicas) == 0 && m.was.Generation <= s.ObservedGeneration
		m.removed = idle && len(m.was.Finalizers) == 0
	}
}
