package plan

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// terminate takes the pod down and removes all that is left of it.
func (d *decider) terminate() {
	for key, a := range d.in.Memory.Busy {
		if a.Cancellable() {
			d.out.Cancel = append(d.out.Cancel, key)
		}
	}
	slices.Sort(d.out.Cancel)
	if !d.stopAll() {
		return
	}
	for i := range d.in.Seen.Containers {
		c := &d.in.Seen.Containers[i]
		d.do(Action{Verb: RemoveContainer, Container: c.Name, ID: c.ID})
	}
	if s := d.in.Seen.Sandbox; s != nil {
		d.do(Action{Verb: RemoveSandbox, ID: s.ID})
	}
	if len(d.in.Seen.Containers) > 0 || d.in.Seen.Sandbox != nil || len(d.in.Memory.Busy) > 0 {
		return
	}
	if d.in.Memory.Volumes.Removed {
		d.out.Done = true
		return
	}
	if d.due(d.in.Memory.Volumes.Failure.retryAt(createRetryBase, createRetryLimit)) {
		d.do(Action{Verb: RemoveVolumes})
	}
}

// finish lets a pod that has run its course release what it holds. What can still be read of it stays.
func (d *decider) finish() {
	if !d.stopAll() {
		return
	}
	if s := d.in.Seen.Sandbox; s != nil && s.State == Running {
		d.do(Action{Verb: StopSandbox, ID: s.ID})
	}
}

// stopAll stops what runs and says whether nothing does: first the containers, then the sidecars in reverse order.
func (d *decider) stopAll() bool {
	grace := d.grace(nil)
	stopped := !d.starting()
	for _, v := range slices.Concat(d.mains, d.inits) {
		if !v.sidecar && v.latest != nil && v.latest.State == Running {
			d.stop(v, grace, "Stopping container "+v.spec.Name)
			stopped = false
		}
	}
	for _, c := range d.orphans {
		if c.State == Running {
			d.stopID(c, nil, grace, "Stopping container "+c.Name)
			stopped = false
		}
	}
	for _, v := range slices.Backward(d.inits) {
		if stopped && v.sidecar && v.latest != nil && v.latest.State == Running {
			d.stop(v, grace, "Stopping container "+v.spec.Name)
			stopped = false
		}
	}
	return stopped
}

// starting says that a container or the sandbox is being brought up at this moment, so that what is there isn't known.
func (d *decider) starting() bool {
	for _, a := range d.in.Memory.Busy {
		switch a.Verb {
		case CreateContainer, StartContainer, CreateSandbox, StartSandbox, SyncVolumes:
			return true
		}
	}
	return false
}

// stop stops a container within grace.
func (d *decider) stop(v *view, grace time.Duration, reason string) {
	d.stopID(v.latest, preStop(v.spec), grace, reason)
}

// stopID stops a container within grace, unless it is being stopped at least as fast.
func (d *decider) stopID(c *Container, hook *corev1.LifecycleHandler, grace time.Duration, reason string) {
	for _, a := range d.in.Memory.Busy {
		if a.Verb == StopContainer && a.ID == c.ID && a.Grace <= grace {
			return
		}
	}
	d.do(Action{Verb: StopContainer, Container: c.Name, ID: c.ID, Grace: grace, Hook: hook, Reason: reason})
}

// grace is how long a container gets to end by itself.
func (d *decider) grace(probe *corev1.Probe) time.Duration {
	seconds := d.pod.Spec.TerminationGracePeriodSeconds
	switch {
	case d.pod.DeletionTimestamp != nil && d.pod.DeletionGracePeriodSeconds != nil:
		seconds = d.pod.DeletionGracePeriodSeconds
	case d.in.Gone:
		return orphanGrace
	case probe != nil && probe.TerminationGracePeriodSeconds != nil:
		seconds = probe.TerminationGracePeriodSeconds
	}
	if seconds == nil {
		return defaultGrace
	}
	return time.Duration(*seconds) * time.Second
}
