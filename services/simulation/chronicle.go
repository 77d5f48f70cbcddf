package simulation

import (
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
)

// A What is a kind of thing that happens and that people want to know of.
type What string

// Whats.
const (
	NodeLost       What = "node lost"
	NodeReady      What = "node ready"
	PodEvicted     What = "pod evicted"    // asked to leave its node
	PodEnding      What = "pod ending"     // asked to end, for another reason
	PodGone        What = "pod gone"       // without having been asked to end before
	PodPlaced      What = "pod placed"     // on a node, for the first of its kind
	PodReplaced    What = "pod replaced"   // placed in place of one that its owner lost
	PodNoNode      What = "pod unplaced"   // no node will do for it
	PodReady       What = "pod ready"      // takes traffic
	PodUnready     What = "pod not ready"  // doesn't any more
	PodBlocked     What = "pod blocked"    // its containers can't start
	PodFinished    What = "pod finished"   // ran to its end
	RolloutDone    What = "rollout done"   // all replicas are of the newest template and available
	RolloutStuck   What = "rollout stuck"  // no progress for too long
	JobDone        What = "job complete"   //
	JobFailed      What = "job failed"     //
	ObjectGone     What = "object gone"    //
	ObjectRefused  What = "pods refused"   // an owner can't create its pods
	ServiceNoReady What = "service broken" // a Service with ready endpoints has none any more
	ServiceReady   What = "service ready"  // a Service without ready endpoints has some
)

// fact is something that happened to one object, in a few words.
type fact struct {
	at   time.Duration
	what What
	ref  events.Ref
	of   string // the name of the pod's owner, else of the object: generated names differ between runs
	node string
	why  string
}

// happening is an event, as far as two runs can have it in common.
type happening struct {
	at        time.Duration
	eventType string
	kind      events.GroupResource
	namespace string
	of        string
}

// chronicle notes the facts among the changes.
type chronicle struct {
	began   time.Time
	present *events.State
	drained []string // nodes
	facts   []fact
	all     []happening
	lost    map[string]int // how many pods an owner has lost that were not replaced yet, by UID
}

func newChronicle() *chronicle { return &chronicle{lost: map[string]int{}} }

// see takes note of an event.
func (c *chronicle) see(e *events.Event, changes []events.Change) {
	if c.present == nil || e.Type == nodeRenewed || e.Type == nodeFirstBeat {
		return // what nodes do to begin with, and their signs of life, are nobody's doing
	}
	h := happening{e.Stored.Sub(c.began), e.Type, e.Ref.GroupResource(), e.Ref.Namespace, e.Ref.Name}
	defer func() { c.all = append(c.all, h) }()
	if len(changes) == 0 || changes[0].Ref() != e.Ref {
		return
	}
	change := &changes[0]
	h.of = ownerName(change)
	f := fact{at: h.at, ref: e.Ref, of: h.of}
	switch e.Ref.GroupResource() {
	case podsKind:
		c.seePod(f, e, change)
	case nodesKind:
		c.seeNode(f, e, change)
	case events.GroupResource{Group: appsv1.GroupName, Resource: "deployments"}:
		c.seeDeployment(f, change)
	case events.GroupResource{Group: batchv1.GroupName, Resource: "jobs"}:
		c.seeJob(f, change)
	case events.GroupResource{Resource: "endpoints"}:
		c.seeEndpoints(f, change)
	default:
		c.seeOther(f, change)
	}
}

// ownerName names what controls a changed object, or the object itself.
func ownerName(change *events.Change) string {
	o := change.New
	if o == nil {
		o = change.Old
	}
	if owner := metav1.GetControllerOfNoCopy(o.Meta()); owner != nil {
		return owner.Name
	}
	return o.Ref.Name
}

func (c *chronicle) note(f fact, what What, why string) {
	f.what, f.why = what, why
	c.facts = append(c.facts, f)
}

func (c *chronicle) seePod(f fact, e *events.Event, change *events.Change) {
	old, now := podOf(change.Old), podOf(change.New)
	if now == nil {
		if f.node = old.Spec.NodeName; old.DeletionTimestamp == nil && !podEnded(old) {
			c.leaves(old)
			c.note(f, PodGone, "")
		}
		return
	}
	f.node = now.Spec.NodeName
	if old == nil {
		old = &corev1.Pod{}
	}
	switch {
	case old.DeletionTimestamp == nil && now.DeletionTimestamp != nil:
		if !podEnded(now) {
			c.leaves(now)
		}
		what := PodEnding
		if e.Type == "PodEvicted" || e.Actor == User && slices.Contains(c.drained, f.node) {
			what = PodEvicted
		}
		c.note(f, what, "")
	case old.Spec.NodeName == "" && now.Spec.NodeName != "":
		what := PodPlaced
		if owner := metav1.GetControllerOfNoCopy(now); owner != nil && c.lost[string(owner.UID)] > 0 {
			c.lost[string(owner.UID)]--
			what = PodReplaced
		}
		c.note(f, what, "")
	case now.Spec.NodeName == "" && unplaced(old) == "" && unplaced(now) != "":
		c.note(f, PodNoNode, unplaced(now))
	case !podEnded(old) && podEnded(now) && now.DeletionTimestamp == nil:
		c.note(f, PodFinished, string(now.Status.Phase))
	case blockedBy(old) == "" && blockedBy(now) != "":
		c.note(f, PodBlocked, blockedBy(now))
	case !podIsReady(old) && podIsReady(now):
		c.note(f, PodReady, "")
	case podIsReady(old) && !podIsReady(now) && now.DeletionTimestamp == nil:
		c.note(f, PodUnready, "")
	}
}

// leaves counts a pod that its owner has lost.
func (c *chronicle) leaves(pod *corev1.Pod) {
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		c.lost[string(owner.UID)]++
	}
}

func (c *chronicle) seeNode(f fact, e *events.Event, change *events.Change) {
	switch {
	case change.New == nil:
		c.note(f, ObjectGone, "")
	case e.Type == nodeLost:
		c.note(f, NodeLost, "")
	case (change.Old == nil || !isReady(change.Old)) && isReady(change.New):
		c.note(f, NodeReady, "")
	}
}

func (c *chronicle) seeDeployment(f fact, change *events.Change) {
	if change.New == nil {
		c.note(f, ObjectGone, "")
		return
	}
	now, old := change.New.Typed().(*appsv1.Deployment), &appsv1.Deployment{}
	if change.Old != nil {
		old = change.Old.Typed().(*appsv1.Deployment)
	}
	switch {
	case stuck(old) == "" && stuck(now) != "":
		c.note(f, RolloutStuck, stuck(now))
	case !rolledOut(old) && rolledOut(now):
		c.note(f, RolloutDone, "")
	}
}

func (c *chronicle) seeJob(f fact, change *events.Change) {
	if change.New == nil {
		c.note(f, ObjectGone, "")
		return
	}
	now, old := change.New.Typed().(*batchv1.Job), &batchv1.Job{}
	if change.Old != nil {
		old = change.Old.Typed().(*batchv1.Job)
	}
	switch {
	case !jobHas(old, batchv1.JobComplete) && jobHas(now, batchv1.JobComplete):
		c.note(f, JobDone, "")
	case !jobHas(old, batchv1.JobFailed) && jobHas(now, batchv1.JobFailed):
		c.note(f, JobFailed, "")
	}
}

// seeEndpoints tells of Services that lose their last ready endpoint, or get a first one.
func (c *chronicle) seeEndpoints(f fact, change *events.Change) {
	had, has := 0, 0
	if change.Old != nil {
		had = readyAddresses(change.Old.Typed().(*corev1.Endpoints))
	}
	if change.New != nil {
		has = readyAddresses(change.New.Typed().(*corev1.Endpoints))
	}
	f.ref.Resource = "services"
	if _, exists := c.present.Get(f.ref); !exists {
		return
	}
	switch {
	case had > 0 && has == 0:
		c.note(f, ServiceNoReady, "")
	case had == 0 && has > 0:
		c.note(f, ServiceReady, "")
	}
}

// plumbing are the kinds that come and go with others, which tell the story.
var plumbing = []string{"endpointslices", "endpoints", "leases", "ipaddresses", "controllerrevisions", "events"}

func (c *chronicle) seeOther(f fact, change *events.Change) {
	if change.New == nil {
		if !slices.Contains(plumbing, f.ref.Resource) && metav1.GetControllerOfNoCopy(change.Old.Meta()) == nil {
			c.note(f, ObjectGone, "")
		}
		return
	}
	refused := func(o *events.Object) string {
		if o == nil {
			return ""
		}
		if set, ok := o.Typed().(*appsv1.ReplicaSet); ok {
			for _, condition := range set.Status.Conditions {
				if condition.Type == appsv1.ReplicaSetReplicaFailure && condition.Status == corev1.ConditionTrue {
					return condition.Message
				}
			}
		}
		return ""
	}
	if refused(change.Old) == "" && refused(change.New) != "" {
		c.note(f, ObjectRefused, refused(change.New))
	}
}

func podOf(o *events.Object) *corev1.Pod {
	if o == nil {
		return nil
	}
	return o.Typed().(*corev1.Pod)
}

func podEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func podIsReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// unplaced says why the scheduler has found no node for a pod; "" if it hasn't said so.
func unplaced(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Message
		}
	}
	return ""
}

// blockedBy says why a pod's containers can't start; "" if nothing is known against them.
func blockedBy(pod *corev1.Pod) string {
	if pod.Status.Phase != corev1.PodPending || !isWaiting(pod) {
		return ""
	}
	for _, c := range pod.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil {
			return strings.TrimSuffix(w.Reason+": "+w.Message, ": ")
		}
	}
	return ""
}

func stuck(d *appsv1.Deployment) string {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse {
			return c.Message
		}
	}
	return ""
}

func rolledOut(d *appsv1.Deployment) bool {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	s := &d.Status
	return d.Name != "" && s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want
}

func jobHas(job *batchv1.Job, of batchv1.JobConditionType) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == of && c.Status == corev1.ConditionTrue })
}

func readyAddresses(e *corev1.Endpoints) (n int) {
	for _, subset := range e.Subsets {
		n += len(subset.Addresses)
	}
	return n
}
