package plan

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Reasons that a container waits for.
const (
	ReasonCreating       = "ContainerCreating"
	ReasonInitializing   = "PodInitializing"
	ReasonCrashLoop      = "CrashLoopBackOff"
	ReasonPull           = "ErrImagePull"
	ReasonPullBackOff    = "ImagePullBackOff"
	ReasonNeverPull      = "ErrImageNeverPull"
	ReasonInvalidImage   = "InvalidImageName"
	ReasonConfig         = "CreateContainerConfigError"
	ReasonCreate         = "CreateContainerError"
	reasonDeadline       = "DeadlineExceeded"
	reasonCompleted      = "Completed"
	reasonError          = "Error"
	reasonOOM            = "OOMKilled"
	reasonStartError     = "StartError"
	reasonLost           = "ContainerStatusUnknown"
	errorShownFor        = time.Second // how long the error itself is shown before the back-off that follows it
	messageLost          = "The container could not be located when the pod was terminated"
	messageDeadline      = "Pod was active on the node longer than the specified deadline"
	messageImageNotThere = "Container image %q is not present with pull policy of Never"
)

// initialize brings the init containers to their end, one after the other, and says whether the others may run. A sidecar only has
// to be started.
func (d *decider) initialize() bool {
	passed := d.initialized()
	for _, v := range d.inits {
		switch {
		case v.sidecar:
			d.advance(v)
			if !passed && !d.started(v) {
				return false
			}
		case passed || d.succeeded(v):
		default:
			d.advance(v)
			return false
		}
	}
	return true
}

// initialized says that the init containers of this sandbox have once been through: other containers have been created in it.
func (d *decider) initialized() bool {
	for _, v := range d.mains {
		if v.latest != nil && v.latest.SandboxID == d.in.Seen.Sandbox.ID {
			return true
		}
	}
	return false
}

// succeeded says that an init container has done its work in this sandbox.
func (d *decider) succeeded(v *view) bool {
	return v.latest != nil && v.latest.State == Exited && v.latest.ExitCode == 0 && v.latest.SandboxID == d.in.Seen.Sandbox.ID
}

// advance takes one container one step further.
func (d *decider) advance(v *view) {
	c := v.latest
	switch {
	case c == nil && v.lost():
		if !v.done() {
			d.create(v, int(v.last.RestartCount)+1, backOffBase)
		}
	case c == nil:
		d.create(v, 0, 0)
	case c.State == Running:
		d.tend(v)
	case !c.over():
		d.do(Action{Verb: StartContainer, Container: v.spec.Name, ID: c.ID, Hook: postStart(v.spec)})
	case v.init && !v.sidecar && c.SandboxID != d.in.Seen.Sandbox.ID:
		d.create(v, c.Attempt+1, 0)
	case !v.restarts():
	default:
		d.restart(v)
	}
}

// restart starts the next attempt once the back-off is over.
func (d *decider) restart(v *view) {
	c := v.latest
	delay, next := c.BackOff, backOffBase
	if c.ended().Sub(c.Started) > backOffForget && c.State == Exited {
		delay = 0
	}
	if delay > 0 {
		next = doubled(delay, 1, backOffLimit)
	}
	if until := c.ended().Add(delay); d.in.Now.Before(until) {
		d.again(until)
		v.waiting = &corev1.ContainerStateWaiting{Reason: ReasonCrashLoop, Message: fmt.Sprintf(
			"back-off %s restarting failed container=%s pod=%s_%s(%s)", delay, v.spec.Name, d.pod.Name, d.pod.Namespace, d.pod.UID)}
		return
	}
	if delay > 0 && v.sameAsLast() {
		v.waiting = v.last.State.Waiting // until the attempt has started: its exit is old news
	}
	d.create(v, c.Attempt+1, next)
}

// create creates an attempt, its image permitting. backOff is what the attempt after it will wait.
func (d *decider) create(v *view, attempt int, backOff time.Duration) {
	if !d.image(v, attempt) {
		return
	}
	spec, err := containerSpec(d.in, v.spec, attempt)
	if err != nil {
		v.waiting = &corev1.ContainerStateWaiting{Reason: ReasonConfig, Message: err.Error()}
		return
	}
	failure := d.in.Memory.Containers[v.spec.Name]
	if failure.Count > 0 {
		v.waiting = &corev1.ContainerStateWaiting{Reason: failure.Reason, Message: failure.Message}
	}
	if !d.due(failure.retryAt(createRetryBase, createRetryLimit)) {
		return
	}
	spec.BackOff = backOff
	d.do(Action{
		Verb: CreateContainer, Container: v.spec.Name, Attempt: attempt, Image: v.spec.Image, Spec: spec,
		Present: d.in.Memory.Images[v.spec.Name].Pulled != attempt+1,
	})
}

// image sees to the image and says whether the container can be created from it. Whether Docker has it is found out by creating the
// container: that is one round trip less for every container whose image is there.
func (d *decider) image(v *view, attempt int) bool {
	image := d.in.Memory.Images[v.spec.Name]
	if image.Pulled == attempt+1 && !image.Missing {
		return true
	}
	switch {
	case image.Failure.Reason == ReasonInvalidImage:
		v.waiting = &corev1.ContainerStateWaiting{Reason: ReasonInvalidImage, Message: image.Failure.Message}
		return false
	case v.spec.ImagePullPolicy == corev1.PullNever && image.Missing:
		v.waiting = &corev1.ContainerStateWaiting{Reason: ReasonNeverPull, Message: fmt.Sprintf(messageImageNotThere, v.spec.Image)}
		return d.due(image.Failure.retryAt(backOffBase, backOffLimit))
	case v.spec.ImagePullPolicy != corev1.PullAlways && !image.Missing:
		return true
	}
	if image.Failure.Count > 0 && image.Failure.Reason == ReasonPull {
		v.waiting = d.pullBackOff(v.spec, image.Failure)
	}
	if image.Failure.Count == 0 || d.due(image.Failure.retryAt(backOffBase, backOffLimit)) {
		d.do(Action{Verb: PullImage, Container: v.spec.Name, Attempt: attempt, Image: v.spec.Image})
	}
	return false
}

// pullBackOff is how a failed pull is shown: for a moment the error, then the back-off.
func (d *decider) pullBackOff(c *corev1.Container, f Failure) *corev1.ContainerStateWaiting {
	if until := f.At.Add(errorShownFor); d.in.Now.Before(until) {
		d.again(until)
		return &corev1.ContainerStateWaiting{Reason: ReasonPull, Message: f.Message}
	}
	return &corev1.ContainerStateWaiting{Reason: ReasonPullBackOff, Message: fmt.Sprintf("Back-off pulling image %q: %s: %s", c.Image, ReasonPull, f.Message)}
}

// tend looks after a container that runs: its postStart hook, its probes, and its end when one of them says so.
func (d *decider) tend(v *view) {
	c, name := v.latest, v.spec.Name
	switch d.in.Memory.Hooks[c.ID] {
	case HookPending:
		d.do(Action{Verb: RunPostStart, Container: name, ID: c.ID, Hook: postStart(v.spec)})
		return
	case HookFailed:
		d.stop(v, d.grace(nil), "FailedPostStartHook")
		return
	}
	for _, kind := range []ProbeKind{Startup, Liveness, Readiness} {
		spec := probeSpec(v.spec, kind)
		if spec == nil {
			continue
		}
		key := ProbeKey{c.ID, kind}
		verdict, known := d.in.Memory.Probes[key]
		if kind == Startup && (known && verdict.Success || !known && d.wasStarted(v)) {
			continue
		}
		if kind != Readiness && known && !verdict.Success {
			d.stop(v, d.grace(spec), fmt.Sprintf("Container %s failed %s probe, will be restarted", name, lower(kind)))
			return
		}
		d.out.Probes = append(d.out.Probes, Probe{Key: key, Container: name, Started: c.Started, Spec: spec, PodIP: d.podIP()})
		if kind == Startup {
			return
		}
	}
}

func lower(kind ProbeKind) string {
	switch kind {
	case Startup:
		return "startup"
	case Liveness:
		return "liveness"
	}
	return "readiness"
}

// started says that the container has got past its postStart hook and its startup probe.
func (d *decider) started(v *view) bool {
	if v.latest == nil || v.latest.State != Running {
		return false
	}
	if h := d.in.Memory.Hooks[v.latest.ID]; h == HookPending || h == HookFailed {
		return false
	}
	if v.spec.StartupProbe == nil {
		return true
	}
	verdict, known := d.in.Memory.Probes[ProbeKey{v.latest.ID, Startup}]
	return known && verdict.Success || !known && d.wasStarted(v)
}

// ready says that the container can do its work. A readiness that the agent knew before it was restarted holds until the probe
// says otherwise.
func (d *decider) ready(v *view) bool {
	if !d.started(v) {
		return false
	}
	if v.spec.ReadinessProbe == nil {
		return true
	}
	verdict, known := d.in.Memory.Probes[ProbeKey{v.latest.ID, Readiness}]
	return known && verdict.Success || !known && v.sameAsLast() && v.last.Ready
}

// wasStarted says that this very attempt was reported as started before.
func (d *decider) wasStarted(v *view) bool {
	return v.sameAsLast() && v.last.Started != nil && *v.last.Started
}

// sameAsLast says that the last status speaks of the latest attempt.
func (v *view) sameAsLast() bool {
	return v.last != nil && v.latest != nil && v.last.ContainerID == containerID(v.latest.ID)
}

func probeSpec(c *corev1.Container, kind ProbeKind) *corev1.Probe {
	switch kind {
	case Startup:
		return c.StartupProbe
	case Liveness:
		return c.LivenessProbe
	}
	return c.ReadinessProbe
}

func postStart(c *corev1.Container) *corev1.LifecycleHandler {
	if c.Lifecycle == nil {
		return nil
	}
	return c.Lifecycle.PostStart
}

func preStop(c *corev1.Container) *corev1.LifecycleHandler {
	if c.Lifecycle == nil {
		return nil
	}
	return c.Lifecycle.PreStop
}

// errNoIP is why a container that wants the pod's address in its environment can't be created.
var errNoIP = errors.New("the pod has no address yet")
