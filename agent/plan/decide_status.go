package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// status is the pod's status now: what Docker says, and what it said before where Docker has forgotten.
func (d *decider) status() corev1.PodStatus {
	last := d.in.Last
	s := corev1.PodStatus{
		ObservedGeneration:         d.pod.Generation,
		HostIP:                     d.in.Node.IP,
		QOSClass:                   qosClass(d.pod, last.QOSClass),
		StartTime:                  last.StartTime,
		NominatedNodeName:          last.NominatedNodeName,
		EphemeralContainerStatuses: last.EphemeralContainerStatuses,
	}
	if s.HostIP != "" {
		s.HostIPs = []corev1.HostIP{{IP: s.HostIP}}
	}
	if s.StartTime == nil {
		s.StartTime = seconds(d.in.Now)
	}
	for _, v := range d.inits {
		s.InitContainerStatuses = append(s.InitContainerStatuses, d.containerStatus(v))
	}
	for _, v := range d.mains {
		s.ContainerStatuses = append(s.ContainerStatuses, d.containerStatus(v))
	}
	d.setPhase(&s)
	for i, ip := range d.podIPs() {
		if i == 0 {
			s.PodIP = ip
		}
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	}
	if s.PodIP == "" && (terminalPhase(s.Phase) || d.pod.DeletionTimestamp != nil) {
		s.PodIP, s.PodIPs = last.PodIP, last.PodIPs
	}
	s.Conditions = d.conditions(&s)
	return s
}

// setPhase sets the phase. A terminal one stays, with its reason.
func (d *decider) setPhase(s *corev1.PodStatus) {
	switch last := d.in.Last; {
	case terminalPhase(last.Phase):
		s.Phase, s.Reason, s.Message = last.Phase, last.Reason, last.Message
	case d.failed != "":
		s.Phase, s.Reason, s.Message = corev1.PodFailed, d.failed, messageDeadline
	default:
		s.Phase = d.phase(s)
	}
}

func terminalPhase(p corev1.PodPhase) bool { return p == corev1.PodSucceeded || p == corev1.PodFailed }

// podIPs are the pod's addresses: the node's own for a pod in the host's network.
func (d *decider) podIPs() []string {
	sandbox := d.in.Seen.Sandbox
	switch {
	case sandbox == nil || sandbox.State != Running:
		return nil
	case !d.pod.Spec.HostNetwork:
		return sandbox.IPs
	case d.in.Node.IP != "":
		return []string{d.in.Node.IP}
	}
	return nil
}

func (d *decider) podIP() string {
	if ips := d.podIPs(); len(ips) > 0 {
		return ips[0]
	}
	return ""
}

// containerStatus is the status of one container.
func (d *decider) containerStatus(v *view) corev1.ContainerStatus {
	s := corev1.ContainerStatus{Name: v.spec.Name, Image: v.spec.Image, Started: new(bool)}
	c := v.latest
	switch {
	case c == nil:
		return d.unseenStatus(v, s)
	case c.State == Created && !c.over() && v.last != nil && v.last.ContainerID != "" && !v.sameAsLast() && v.last.State.Running == nil:
		return *v.last // an attempt begins to count when it has started
	case c.State == Created && !c.over():
		s.RestartCount = int32(c.Attempt)
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: d.defaultReason()}
		return s
	}
	s.RestartCount = int32(c.Attempt)
	s.ContainerID = containerID(c.ID)
	s.ImageID = imageID(c.ImageID)
	switch {
	case v.previous != nil && v.previous.over():
		s.LastTerminationState.Terminated = terminated(v.previous)
	case v.last != nil && v.last.State.Terminated != nil && !v.sameAsLast():
		s.LastTerminationState.Terminated = v.last.State.Terminated
	case v.last != nil && c.Attempt > 0:
		s.LastTerminationState = v.last.LastTerminationState
	}
	switch {
	case c.over() && v.waiting != nil:
		s.State.Waiting = v.waiting
		s.LastTerminationState.Terminated = terminated(c)
	case c.over():
		s.State.Terminated = terminated(c)
		s.Ready = v.init && c.exitCode() == 0
	default:
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: *seconds(c.Started)}
		*s.Started = d.started(v)
		s.Ready = d.ready(v) && (!v.init || v.sidecar)
	}
	return s
}

// unseenStatus is the status of a container that Docker has no attempt of: it is yet to come, or it was removed.
func (d *decider) unseenStatus(v *view, s corev1.ContainerStatus) corev1.ContainerStatus {
	if !v.lost() {
		s.State.Waiting = v.waiting
		if s.State.Waiting == nil {
			s.State.Waiting = &corev1.ContainerStateWaiting{Reason: d.defaultReason()}
		}
		return s
	}
	last := v.last.DeepCopy()
	s.RestartCount, s.ContainerID, s.ImageID, s.LastTerminationState = last.RestartCount, last.ContainerID, last.ImageID, last.LastTerminationState
	switch {
	case last.State.Terminated != nil:
		s.State.Terminated = last.State.Terminated
	case last.State.Waiting != nil && last.LastTerminationState.Terminated != nil:
		s.State.Waiting = last.State.Waiting
	default:
		s.State.Terminated = &corev1.ContainerStateTerminated{
			Reason: reasonLost, Message: messageLost, ExitCode: lostExitCode, FinishedAt: *seconds(d.in.Now), ContainerID: last.ContainerID,
		}
	}
	if v.waiting != nil {
		if s.State.Terminated != nil {
			s.LastTerminationState.Terminated = s.State.Terminated
		}
		s.State = corev1.ContainerState{Waiting: v.waiting}
	}
	s.Ready = v.init && s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
	return s
}

// defaultReason is what a container waits for when nothing is wrong.
func (d *decider) defaultReason() string {
	if len(d.inits) > 0 {
		return ReasonInitializing
	}
	return ReasonCreating
}

// terminated is how an attempt that is over shows.
func terminated(c *Container) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{
		ExitCode: c.exitCode(), Message: c.Message, ContainerID: containerID(c.ID), FinishedAt: *seconds(c.ended()),
	}
	switch {
	case c.failedToStart():
		t.Reason, t.Message = reasonStartError, c.Error
		t.StartedAt = metav1.NewTime(time.Unix(0, 0).UTC())
		return t
	case c.OOMKilled:
		t.Reason = reasonOOM
	case c.ExitCode == 0:
		t.Reason = reasonCompleted
	default:
		t.Reason = reasonError
	}
	t.StartedAt = *seconds(c.Started)
	return t
}

// phase is the phase that the containers' states amount to, init containers first.
func (d *decider) phase(s *corev1.PodStatus) corev1.PodPhase {
	pendingInit, sidecars := false, 0
	for i, v := range d.inits {
		st := &s.InitContainerStatuses[i]
		switch {
		case v.sidecar:
			pendingInit = pendingInit || !*st.Started && st.LastTerminationState.Terminated == nil && st.State.Terminated == nil
			if st.State.Running != nil {
				sidecars++
			}
		case d.initFailed(v, st):
			return corev1.PodFailed
		default:
			pendingInit = pendingInit || st.State.Terminated == nil || st.State.Terminated.ExitCode != 0
		}
	}
	var waiting, running, stopped, succeeded int
	for i := range d.mains {
		st := &s.ContainerStatuses[i]
		switch {
		case st.State.Running != nil:
			running++
		case st.State.Terminated != nil:
			stopped++
			if st.State.Terminated.ExitCode == 0 {
				succeeded++
			}
		case st.LastTerminationState.Terminated != nil:
			stopped++
		default:
			waiting++
		}
	}
	switch {
	case pendingInit && running == 0 && stopped == 0 || waiting > 0:
		return corev1.PodPending
	case running > 0 || stopped == 0:
		return corev1.PodRunning
	case sidecars > 0 || !d.allDone() && !d.leaving():
		return corev1.PodRunning
	case stopped == succeeded:
		return corev1.PodSucceeded
	}
	return corev1.PodFailed
}

// leaving says that the pod is being deleted, so that what has stopped will not run again.
func (d *decider) leaving() bool { return d.in.Gone || d.pod.DeletionTimestamp != nil }

// initFailed says that an init container has failed for good.
func (d *decider) initFailed(v *view, s *corev1.ContainerStatus) bool {
	return v.policy == corev1.RestartPolicyNever && s.State.Terminated != nil && s.State.Terminated.ExitCode != 0
}

// allDone says that no container will run again.
func (d *decider) allDone() bool {
	for _, v := range d.mains {
		if !v.done() {
			return false
		}
	}
	return true
}

func containerID(id string) string { return "docker://" + id }

func imageID(id string) string {
	if id == "" {
		return ""
	}
	return "docker://" + id
}

// seconds is t as the API shows it: to the second.
func seconds(t time.Time) *metav1.Time {
	rounded := metav1.NewTime(t.UTC().Truncate(time.Second))
	return &rounded
}
