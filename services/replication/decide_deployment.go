package replication

import (
	"cmp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/owned"
)

// Decide implements runner.Decider.
func (d *deployments) Decide(in runner.Input) runner.Decision {
	o, ok := in.State.Get(in.Key)
	if !ok {
		return runner.Decision{}
	}
	deployment := o.Typed().(*appsv1.Deployment)
	selector, err := metav1.LabelSelectorAsSelector(deployment.Spec.Selector)
	if err != nil || selector.Empty() {
		return runner.Decision{} // the gateway refuses such a selector; an object that has one all the same owns nothing
	}
	claims := owned.Claim(in.State, o, selector, d.orphans)
	owner := *metav1.NewControllerRef(deployment, appsv1.SchemeGroupVersion.WithKind("Deployment"))
	if changes := claims.Changes(owner, "ReplicaSet", maxGroup); len(changes) > 0 {
		return runner.Decision{Together: [][]events.Proposal{changes}}
	}
	r := newRollout(in, o, deployment, owner, claims.Own)
	r.steer()
	return r.decision()
}

// rollout is one decision about a Deployment: its ReplicaSets as they are and as they are to be.
type rollout struct {
	runner.Input
	object   *events.Object
	was      *appsv1.Deployment
	is       *appsv1.Deployment // to be written if it differs
	owner    metav1.OwnerReference
	newest   *member   // the ReplicaSet of the present template; nil if there is none
	old      []*member // all others, oldest first
	replicas int32
	surge    int32
	absent   int32 // maxUnavailable
}

// member is one of a Deployment's ReplicaSets.
type member struct {
	object  *events.Object     // nil if it is to be created
	was     *appsv1.ReplicaSet // zero if it is to be created
	is      *appsv1.ReplicaSet // to be written if it differs
	removed bool
}

func newRollout(in runner.Input, o *events.Object, deployment *appsv1.Deployment, owner metav1.OwnerReference, sets []*events.Object) *rollout {
	r := &rollout{Input: in, object: o, was: deployment, is: deployment.DeepCopy(), owner: owner, replicas: orOne(deployment.Spec.Replicas)}
	r.surge, r.absent = bounds(deployment)
	for _, set := range sets {
		rs := set.Typed().(*appsv1.ReplicaSet)
		r.old = append(r.old, &member{object: set, was: rs, is: rs.DeepCopy()})
	}
	slices.SortFunc(r.old, func(a, b *member) int {
		return cmp.Or(a.was.CreationTimestamp.Compare(b.was.CreationTimestamp.Time), strings.Compare(a.was.Name, b.was.Name))
	})
	if i := slices.IndexFunc(r.old, func(m *member) bool { return sameTemplate(&m.was.Spec.Template, &deployment.Spec.Template) }); i >= 0 {
		r.newest = r.old[i]
		r.old = slices.Delete(r.old, i, i+1)
	}
	return r
}

// steer brings the ReplicaSets one step nearer to what the Deployment wants.
func (r *rollout) steer() {
	switch recreate := r.was.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType; {
	case r.was.DeletionTimestamp != nil || owned.Terminating(r.State, r.was.Namespace):
		return
	case r.was.Spec.Paused:
		r.revise()
		r.resize()
		r.forget()
	case r.resized():
		r.revise()
		r.resize()
	case recreate:
		r.recreate()
	default:
		r.begin()
		r.roll()
	}
	if !r.was.Spec.Paused && r.complete(&r.was.Status) {
		r.forget()
	}
}

// all returns the ReplicaSets, oldest first but for the newest, which comes last.
func (r *rollout) all() []*member {
	if r.newest == nil {
		return r.old
	}
	return append(slices.Clone(r.old), r.newest)
}

func (m *member) size() int32 { return orOne(m.is.Spec.Replicas) }

// footprint is how many pods m has or is about to have: its decider may not have got round yet to ending those that it is to lose.
func (m *member) footprint() int32 { return max(m.size(), m.was.Status.Replicas) }

// available is how many of m's pods are available, and stay so when m has shrunk to its size.
func (m *member) available() int32 { return min(m.was.Status.AvailableReplicas, m.size()) }

func sum(members []*member, count func(*member) int32) (total int32) {
	for _, m := range members {
		total += count(m)
	}
	return total
}

// decision words what differs. All of it is one batch, with the Deployment's status as the fence.
func (r *rollout) decision() runner.Decision {
	status, again := r.status()
	var group []events.Proposal
	if !equality.Semantic.DeepEqual(r.was.Annotations, r.is.Annotations) {
		group = append(group, r.because(events.Alter(r.object, r.is, "DeploymentRevised", "metadata.annotations")))
	}
	for _, m := range r.all() {
		if p, ok := r.word(m); ok {
			group = append(group, p)
		}
	}
	if len(group) == 0 && equality.Semantic.DeepEqual(status, r.was.Status) {
		return runner.Decision{Again: again}
	}
	observed := *r.was
	observed.Status = status
	fence := events.Observe(r.object, &observed, statusEvent(&r.was.Status, &status), changedStatus(&r.was.Status, &status)...)
	return runner.Decision{Together: [][]events.Proposal{append(group, fence)}, Again: again}
}

// because makes what the Deployment wants the cause of p, however long ago that was said.
func (r *rollout) because(p events.Proposal) events.Proposal {
	desired := r.object.Facet(events.Desired)
	p.Cause, p.Correlation = desired.Revision, desired.Chain()
	return p
}

// word words what is to happen to a ReplicaSet.
func (r *rollout) word(m *member) (events.Proposal, bool) {
	was, is := int32(0), m.size()
	if m.object != nil {
		was = orOne(m.was.Spec.Replicas)
	}
	switch {
	case m.removed:
		return r.because(events.Remove(m.object, "ReplicaSetDeleted")), true
	case m.object == nil:
		return r.because(r.told(events.Create(r.State, m.is, "ReplicaSetCreated"), was, is)), true
	case was != is:
		m.is.Generation++
		return r.because(r.told(events.Alter(m.object, m.is, "ReplicaSetScaled", changedSet(m.was, m.is)...), was, is)), true
	case !equality.Semantic.DeepEqual(m.was.Spec, m.is.Spec):
		m.is.Generation++
		return r.because(events.Alter(m.object, m.is, "ReplicaSetChanged", changedSet(m.was, m.is)...)), true
	case !equality.Semantic.DeepEqual(m.was.Annotations, m.is.Annotations):
		return r.because(events.Alter(m.object, m.is, "ReplicaSetRevised", "metadata.annotations")), true
	}
	return events.Proposal{}, false
}

func (r *rollout) told(p events.Proposal, from, to int32) events.Proposal {
	if from == to {
		return p
	}
	return p.With(events.Note{Reason: "ScalingReplicaSet", Message: scaleMessage(p.Ref.Name, from, to), About: &r.object.Ref, AboutID: r.object.UID()})
}

func changedSet(was, is *appsv1.ReplicaSet) []string {
	var c changes
	c.note("metadata.annotations", !equality.Semantic.DeepEqual(was.Annotations, is.Annotations))
	c.note("spec.replicas", orOne(was.Spec.Replicas) != orOne(is.Spec.Replicas))
	c.note("spec.minReadySeconds", was.Spec.MinReadySeconds != is.Spec.MinReadySeconds)
	return c
}
