package simulation

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
)

// Nodes says how simulated nodes behave. The zero Nodes is how ordinary ones do.
type Nodes struct {
	Start   time.Duration // from a pod's placement until its containers run; 0 is 2 s
	Finish  time.Duration // how long pods run that are to come to an end, such as those of Jobs; 0 is 10 s
	Stop    time.Duration // from a pod's deletion until it is gone, at most its grace period; 0 is 1 s
	Silence time.Duration // after which a node with an agent is found lost; 0 is 10 s. Others are the node service's to find.
}

// The types of the events by which nodes report, as node agents and the node feed name them.
const (
	podStarted    = "PodStarted"
	podReady      = "PodReady"
	podSucceeded  = "PodSucceeded"
	podFailed     = "PodFailed"
	podBlocked    = "ContainerConfigRefused"
	podNoImage    = "ImagePullFailed"
	podDeleted    = "PodDeleted"
	nodeLost      = "NodeLost"
	nodeReady     = "NodeReady"
	nodeRenewed   = "LeaseChanged"
	nodeFirstBeat = "LeaseCreated"
)

// reasonConfig is why a container waits that names what isn't there, as the node agent has it.
const reasonConfig = "CreateContainerConfigError"

var (
	podsKind  = events.GroupResource{Resource: "pods"}
	nodesKind = events.GroupResource{Resource: "nodes"}
)

// outside is what is not decided by services: nodes, and the pods on them. It sees every change, and acts when its time has come.
type outside struct {
	*Simulation
	model  Nodes
	killed map[string]bool
	// Of each pod, by UID, what is already to happen or has happened.
	starting, finishing, ending, stopped map[types.UID]bool
	// blocked are pods that can't start for want of a Secret or ConfigMap.
	blocked map[events.Ref]bool
	// broken are the images that couldn't be had in the state at the beginning, and why; nobody knows why they could be now.
	broken    map[string]corev1.ContainerStateWaiting
	addresses int
}

func newOutside(s *Simulation, model Nodes) *outside {
	model.Start = cmp.Or(model.Start, 2*time.Second)
	model.Finish = cmp.Or(model.Finish, 10*time.Second)
	model.Stop = cmp.Or(model.Stop, time.Second)
	model.Silence = cmp.Or(model.Silence, 10*time.Second)
	return &outside{Simulation: s, model: model, killed: map[string]bool{}, starting: map[types.UID]bool{}, finishing: map[types.UID]bool{},
		ending: map[types.UID]bool{}, stopped: map[types.UID]bool{}, blocked: map[events.Ref]bool{}, broken: map[string]corev1.ContainerStateWaiting{}}
}

// begin takes up what nodes and pods were doing.
func (o *outside) begin() {
	for node := range o.state.All(nodesKind, "") {
		o.join(node)
	}
	works := map[string]bool{}
	for pod := range o.state.All(podsKind, "") {
		for _, c := range pod.Typed().(*corev1.Pod).Status.ContainerStatuses {
			if w := c.State.Waiting; w != nil && slices.Contains([]string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}, w.Reason) {
				o.broken[c.Image] = *w
			} else if c.State.Running != nil {
				works[c.Image] = true
			}
		}
	}
	for image := range works {
		delete(o.broken, image)
	}
	for object := range o.state.All(podsKind, "") {
		if pod := object.Typed().(*corev1.Pod); pod.Status.Phase == corev1.PodPending && isWaiting(pod) && o.lacks(pod) != "" {
			o.blocked[object.Ref] = true
		}
		o.consider(object)
	}
}

// see notes what a change will lead to.
func (o *outside) see(c *events.Change) {
	ref := c.Ref()
	switch ref.GroupResource() {
	case podsKind:
		if c.New != nil {
			o.consider(c.New)
		} else {
			o.forget(c.Old.Typed().(*corev1.Pod).UID, ref)
		}
	case nodesKind:
		if c.Old == nil && c.New != nil {
			o.join(c.New)
		} else if c.New != nil && !isReady(c.Old) && isReady(c.New) {
			for pod := range o.state.Indexed(events.ByNode, ref.Name) {
				o.consider(pod)
			}
		}
	case events.GroupResource{Resource: "configmaps"}, events.GroupResource{Resource: "secrets"}:
		if c.Old == nil {
			o.unblock(ref.Namespace)
		}
	}
}

func (o *outside) forget(uid types.UID, ref events.Ref) {
	delete(o.starting, uid)
	delete(o.finishing, uid)
	delete(o.ending, uid)
	delete(o.stopped, uid)
	delete(o.blocked, ref)
}

// works says that a node runs pods, and can say so.
func (o *outside) works(node string) bool {
	found, ok := o.state.Get(events.Ref{Resource: nodesKind.Resource, Name: node})
	return ok && !o.killed[node] && isReady(found)
}

func isReady(node *events.Object) bool {
	for _, c := range node.Typed().(*corev1.Node).Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// consider puts down what a pod's node will do about it as it now is.
func (o *outside) consider(object *events.Object) {
	pod := object.Typed().(*corev1.Pod)
	ref, uid := object.Ref, pod.UID
	once := func(marks map[types.UID]bool, after time.Duration, do func(*events.Object, *corev1.Pod)) {
		if !marks[uid] {
			marks[uid] = true
			o.agenda.add(o.now.Add(after), func() { o.act(ref, uid, marks, do) })
		}
	}
	switch {
	case pod.Spec.NodeName == "" || !o.works(pod.Spec.NodeName):
	case pod.DeletionTimestamp != nil && o.stopped[uid]:
		if len(pod.Finalizers) == 0 { // what held it has let go
			once(o.ending, 0, o.stop)
		}
	case pod.DeletionTimestamp != nil:
		once(o.ending, min(o.model.Stop, time.Duration(seconds(pod.DeletionGracePeriodSeconds))*time.Second), o.stop)
	case pod.Status.Phase == corev1.PodPending && !isWaiting(pod):
		once(o.starting, o.model.Start, o.begun)
	case pod.Status.Phase == corev1.PodRunning && pod.Spec.RestartPolicy != corev1.RestartPolicyAlways:
		once(o.finishing, o.model.Finish, o.finish)
	}
}

func seconds(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// act does what a pod's node does, unless pod or node are gone by now. What didn't come about may be put down again.
func (o *outside) act(ref events.Ref, uid types.UID, marks map[types.UID]bool, do func(*events.Object, *corev1.Pod)) {
	delete(marks, uid)
	object, ok := o.state.Get(ref)
	if !ok || object.Meta().GetUID() != uid {
		return
	}
	if pod := object.Typed().(*corev1.Pod); o.works(pod.Spec.NodeName) {
		do(object, pod)
	}
}

// report writes a pod's new status, as its node's word.
func (o *outside) report(object *events.Object, pod *corev1.Pod, eventType string, note *events.Note) {
	p := events.Observe(object, pod, eventType, "status")
	if note != nil {
		p = p.With(*note)
	}
	o.say(object, pod.Spec.NodeName, p)
}

func (o *outside) say(object *events.Object, node string, p events.Proposal) {
	asked := object.Facet(events.Desired)
	if placed := object.Facet(events.Assigned); placed != nil && placed.Revision > asked.Revision {
		asked = placed
	}
	p.Cause, p.Correlation = asked.Revision, asked.Chain()
	o.do("node:"+node, p)
}

// do appends what the outside does. It is decided on the present, so that only a mistake here can keep it out.
func (o *outside) do(actor string, proposals ...events.Proposal) {
	if err := o.Do(actor, proposals...); err != nil && o.err == nil {
		o.err = fmt.Errorf("simulating %s: %w", actor, err)
	}
}

// begun starts a pod's containers, or says why they can't start.
func (o *outside) begun(object *events.Object, pod *corev1.Pod) {
	if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodPending {
		return
	}
	after := pod.DeepCopy()
	if image, why, ok := o.noImage(pod); ok {
		wait(after, why, o.now)
		o.report(object, after, podNoImage, &events.Note{Reason: "Failed", Message: fmt.Sprintf("Failed to pull image %q", image), Warning: true})
		return
	}
	if lack := o.lacks(pod); lack != "" {
		o.blocked[object.Ref] = true
		if blockedBy(pod) == reasonConfig+": "+lack {
			return // it has said so
		}
		wait(after, corev1.ContainerStateWaiting{Reason: reasonConfig, Message: lack}, o.now)
		o.report(object, after, podBlocked, &events.Note{Reason: "Failed", Message: "Error: " + lack, Warning: true})
		return
	}
	delay := readyAfter(pod)
	run(after, o.now, o.host(pod.Spec.NodeName), o.address(pod), delay == 0)
	o.report(object, after, podStarted, &events.Note{Reason: "Started", Message: "Container started: " + pod.Spec.Containers[0].Name})
	if delay > 0 {
		ref, uid := object.Ref, pod.UID
		o.agenda.add(o.now.Add(delay), func() { o.act(ref, uid, map[types.UID]bool{}, o.becomeReady) })
	}
}

func (o *outside) noImage(pod *corev1.Pod) (string, corev1.ContainerStateWaiting, bool) {
	for i := range pod.Spec.Containers {
		if why, ok := o.broken[pod.Spec.Containers[i].Image]; ok {
			return pod.Spec.Containers[i].Image, why, true
		}
	}
	return "", corev1.ContainerStateWaiting{}, false
}

func (o *outside) becomeReady(object *events.Object, pod *corev1.Pod) {
	if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning {
		return
	}
	after := pod.DeepCopy()
	markReady(after, o.now)
	o.report(object, after, podReady, nil)
}

func (o *outside) finish(object *events.Object, pod *corev1.Pod) {
	if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning {
		return
	}
	after := pod.DeepCopy()
	terminate(after, corev1.PodSucceeded, o.now)
	o.report(object, after, podSucceeded, nil)
}

// stop ends a pod that was asked to. If something holds it, its node says that it has stopped, and lets go of it later.
func (o *outside) stop(object *events.Object, pod *corev1.Pod) {
	if len(pod.Finalizers) == 0 {
		o.say(object, pod.Spec.NodeName, events.Remove(object, podDeleted))
		return
	}
	o.stopped[pod.UID] = true
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return
	}
	after := pod.DeepCopy()
	terminate(after, corev1.PodFailed, o.now)
	o.report(object, after, podFailed, nil)
}

// unblock lets pods of a namespace try again that lacked something.
func (o *outside) unblock(namespace string) {
	var again []events.Ref
	for ref := range o.blocked {
		if ref.Namespace == namespace {
			again = append(again, ref)
		}
	}
	slices.SortFunc(again, func(a, b events.Ref) int { return cmp.Compare(a.Name, b.Name) })
	for _, ref := range again {
		if object, ok := o.state.Get(ref); ok {
			uid := object.Meta().GetUID()
			delete(o.blocked, ref)
			o.agenda.add(o.now.Add(o.model.Start), func() { o.act(ref, uid, map[types.UID]bool{}, o.begun) })
		}
	}
}
