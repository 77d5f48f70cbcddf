package plan

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Delays between tries, as the kubelet has them.
const (
	backOffBase   = 10 * time.Second
	backOffLimit  = 5 * time.Minute
	backOffForget = 10 * time.Minute // a container that ran for longer starts over

	createRetryBase  = time.Second
	createRetryLimit = 30 * time.Second

	defaultGrace   = 30 * time.Second
	orphanGrace    = 2 * time.Second
	startErrorCode = 128
	lostExitCode   = 137
)

// Decide says what to do about a pod now, what its status is, and when to look again without having been told of a change.
func Decide(in Input) Decision {
	d := newDecider(in)
	switch {
	case in.Gone || in.Pod.DeletionTimestamp != nil:
		d.terminate()
	case d.ended():
		d.finish()
	default:
		d.run()
	}
	d.out.Status = d.status()
	return d.out
}

// decider is the working state of one decision.
type decider struct {
	in      Input
	pod     *corev1.Pod
	out     Decision
	inits   []*view
	mains   []*view
	orphans []*Container // of containers that the spec doesn't name
	failed  string       // the reason that the pod as a whole has failed for
}

// view is one container of the spec with what Docker says of it.
type view struct {
	spec     *corev1.Container
	init     bool
	sidecar  bool
	policy   corev1.RestartPolicy
	latest   *Container
	previous *Container
	older    []*Container
	last     *corev1.ContainerStatus       // what was said of it before
	waiting  *corev1.ContainerStateWaiting // what keeps the next attempt from starting
}

func newDecider(in Input) *decider {
	d := &decider{in: in, pod: in.Pod}
	byName := map[string][]*Container{}
	for i := range in.Seen.Containers {
		c := &in.Seen.Containers[i]
		byName[c.Name] = append(byName[c.Name], c)
	}
	newView := func(spec *corev1.Container, init bool, last []corev1.ContainerStatus) *view {
		v := &view{spec: spec, init: init, policy: restartPolicy(in.Pod, spec, init)}
		v.sidecar = init && spec.RestartPolicy != nil && *spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
		attempts := byName[spec.Name]
		delete(byName, spec.Name)
		slices.SortFunc(attempts, func(a, b *Container) int { return b.Attempt - a.Attempt })
		for i, c := range attempts {
			switch i {
			case 0:
				v.latest = c
			case 1:
				v.previous = c
			default:
				v.older = append(v.older, c)
			}
		}
		if i := slices.IndexFunc(last, func(s corev1.ContainerStatus) bool { return s.Name == spec.Name }); i >= 0 {
			v.last = &last[i]
		}
		return v
	}
	for i := range in.Pod.Spec.InitContainers {
		d.inits = append(d.inits, newView(&in.Pod.Spec.InitContainers[i], true, in.Last.InitContainerStatuses))
	}
	for i := range in.Pod.Spec.Containers {
		d.mains = append(d.mains, newView(&in.Pod.Spec.Containers[i], false, in.Last.ContainerStatuses))
	}
	for i := range in.Seen.Containers {
		if c := &in.Seen.Containers[i]; byName[c.Name] != nil {
			d.orphans = append(d.orphans, c)
		}
	}
	return d
}

// restartPolicy is the policy that a container follows: its own, or the pod's; an init container that succeeded isn't run again.
func restartPolicy(pod *corev1.Pod, c *corev1.Container, init bool) corev1.RestartPolicy {
	if c.RestartPolicy != nil {
		return corev1.RestartPolicy(*c.RestartPolicy)
	}
	if init && pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
		return corev1.RestartPolicyOnFailure
	}
	return pod.Spec.RestartPolicy
}

// restarts says whether the end of the latest attempt asks for another one.
func (v *view) restarts() bool {
	switch v.policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return v.latest.exitCode() != 0
	}
	return true
}

// lost says that a container that had an attempt has none in Docker any more.
func (v *view) lost() bool { return v.latest == nil && v.last != nil && v.last.ContainerID != "" }

// done says that the container has ended and will not run again.
func (v *view) done() bool {
	if v.lost() {
		return v.policy == corev1.RestartPolicyNever || v.last.State.Terminated != nil && v.last.State.Terminated.ExitCode == 0 && v.policy == corev1.RestartPolicyOnFailure
	}
	return v.latest != nil && v.latest.over() && !v.restarts()
}

// ended says whether the pod as a whole has run its course: its phase is terminal, or must become so.
func (d *decider) ended() bool {
	if phase := d.in.Last.Phase; phase == corev1.PodSucceeded || phase == corev1.PodFailed {
		return true
	}
	if deadline, ok := d.deadline(); ok {
		if !d.in.Now.Before(deadline) {
			d.failed = reasonDeadline
			return true
		}
		d.again(deadline)
	}
	for _, v := range d.inits {
		if !v.sidecar && v.policy == corev1.RestartPolicyNever && v.latest != nil && v.latest.over() && v.latest.exitCode() != 0 {
			return true
		}
	}
	for _, v := range d.mains {
		if !v.done() {
			return false
		}
	}
	return len(d.mains) > 0
}

// deadline is when the pod's activeDeadlineSeconds are over.
func (d *decider) deadline() (time.Time, bool) {
	seconds := d.pod.Spec.ActiveDeadlineSeconds
	if seconds == nil || d.in.Last.StartTime == nil {
		return time.Time{}, false
	}
	return d.in.Last.StartTime.Add(time.Duration(*seconds) * time.Second), true
}

// run brings the pod up and keeps it up.
func (d *decider) run() {
	ready := d.volumes()
	if !d.sandbox() || !ready {
		return
	}
	if d.initialize() {
		for _, v := range d.mains {
			d.advance(v)
		}
	}
	for v := range d.views() {
		for _, c := range v.older {
			d.do(Action{Verb: RemoveContainer, Container: c.Name, ID: c.ID})
		}
	}
}

// volumes brings the volumes up to date and says whether containers may be created on them.
func (d *decider) volumes() bool {
	state := d.in.Memory.Volumes
	if len(d.pod.Spec.Volumes) == 0 {
		return true
	}
	if state.Revision < d.in.Objects.Revision && d.due(state.Failure.retryAt(createRetryBase, createRetryLimit)) {
		d.do(Action{Verb: SyncVolumes, Revision: d.in.Objects.Revision})
	}
	return state.Revision > 0
}

// sandbox brings the sandbox up and says whether containers can join it.
func (d *decider) sandbox() bool {
	s := d.in.Seen.Sandbox
	if s != nil && s.State == Running {
		return d.leaveOldSandbox(s.ID)
	}
	retry := d.in.Memory.Sandbox.retryAt(createRetryBase, createRetryLimit)
	switch {
	case d.in.Node.NoNetwork != "" && needsNetwork(d.pod) && (s == nil || s.State == Created):
	case s != nil && s.State == Created:
		if d.leaveOldSandbox(s.ID) && d.due(retry) {
			d.do(Action{Verb: StartSandbox, ID: s.ID})
		}
	case s != nil:
		if d.leaveOldSandbox("") {
			d.do(Action{Verb: RemoveSandbox, ID: s.ID, Reason: "Pod sandbox changed, it will be killed and re-created."})
		}
	case d.leaveOldSandbox("") && d.due(retry):
		spec := sandboxSpec(d.in, d.nextSandbox())
		d.do(Action{Verb: CreateSandbox, Attempt: spec.Attempt, Sandbox: spec})
	}
	return false
}

// leaveOldSandbox stops the containers that have joined another sandbox than id: their network is gone. It says whether none is left.
func (d *decider) leaveOldSandbox(id string) bool {
	left := true
	for v := range d.views() {
		if v.latest != nil && v.latest.State == Running && v.latest.SandboxID != id {
			d.stop(v, d.grace(nil), "Pod sandbox changed, it will be killed and re-created.")
			left = false
		}
	}
	return left
}

// nextSandbox is the attempt that a new sandbox is: one more than any container has seen.
func (d *decider) nextSandbox() int {
	seen := map[string]bool{}
	for _, c := range d.in.Seen.Containers {
		seen[c.SandboxID] = true
	}
	return len(seen)
}

// views yields the containers, init containers first.
func (d *decider) views() func(yield func(*view) bool) {
	return func(yield func(*view) bool) {
		for _, vs := range [][]*view{d.inits, d.mains} {
			for _, v := range vs {
				if !yield(v) {
					return
				}
			}
		}
	}
}

// do adds an action, unless one on the same thing is under way.
func (d *decider) do(a Action) {
	key := a.Key()
	if _, busy := d.in.Memory.Busy[key]; busy {
		return
	}
	if slices.ContainsFunc(d.out.Actions, func(other Action) bool { return other.Key() == key }) {
		return
	}
	d.out.Actions = append(d.out.Actions, a)
}

// due says whether t has come, and asks to look again then if not.
func (d *decider) due(t time.Time) bool {
	if d.in.Now.Before(t) {
		d.again(t)
		return false
	}
	return true
}

// again asks to look again at t at the latest.
func (d *decider) again(t time.Time) {
	if d.out.Again.IsZero() || t.Before(d.out.Again) {
		d.out.Again = t
	}
}
