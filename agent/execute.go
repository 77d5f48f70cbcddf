package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/plan"
	"github.com/wakehq/wake/agent/probe"
	"github.com/wakehq/wake/agent/runtime"
	"github.com/wakehq/wake/agent/volume"
)

// retryWait is how long an action that failed for a reason that the plan doesn't know stays under way before it is decided anew.
const retryWait = time.Second

// minimumGrace is what is left to a container whose preStop hook took the whole grace period.
const minimumGrace = 2 * time.Second

// begin sets an action in motion; p.mu is held.
func (p *pod) begin(ctx context.Context, a plan.Action) {
	own, cancel := context.WithCancel(ctx)
	key := a.Key()
	p.memory.Busy[key] = a
	p.cancels[key] = cancel
	if a.Verb == plan.StartContainer && a.Hook != nil {
		p.memory.Hooks[a.ID] = plan.HookPending // from before it runs, so that it is never seen running and started
	}
	pod := p.desired
	p.running.Go(func() {
		defer cancel()
		err := p.execute(own, pod, a)
		p.finish(ctx, a, err, own.Err() != nil)
	})
}

// execute carries an action out and brings what is believed of Docker up to date with it.
func (p *pod) execute(ctx context.Context, pod *corev1.Pod, a plan.Action) error {
	engine := p.agent.engine
	switch a.Verb {
	case plan.SyncVolumes:
		return volume.Sync(volume.Pod{Pod: pod, Node: p.agent.nodeNow(), Objects: p.agent.objectsOf(p.namespace)})
	case plan.RemoveVolumes:
		return volume.Remove(p.agent.node.PodDir(p.uid))
	case plan.PullImage:
		return engine.Pull(ctx, a.Image, p.agent.credentials(pod, a.Image))
	case plan.RunPostStart:
		return p.runHook(ctx, pod, a)
	case plan.StopContainer:
		return p.stop(ctx, pod, a)
	case plan.CreateSandbox, plan.CreateContainer, plan.StartSandbox, plan.StartContainer:
		return p.start(ctx, a)
	case plan.StopSandbox:
		defer p.look(ctx, a.ID)
		return engine.Stop(ctx, a.ID, time.Second)
	case plan.RemoveSandbox, plan.RemoveContainer:
		err := engine.Remove(ctx, a.ID)
		p.look(ctx, a.ID)
		return err
	}
	return fmt.Errorf("no such action: %s", a.Verb)
}

// start creates or starts a container, when it is its turn.
func (p *pod) start(ctx context.Context, a plan.Action) error {
	select {
	case p.agent.starts <- struct{}{}:
		defer func() { <-p.agent.starts }()
	case <-ctx.Done():
		return ctx.Err()
	}
	switch a.Verb {
	case plan.CreateSandbox:
		return p.createSandbox(ctx, a)
	case plan.StartSandbox:
		return p.startSandbox(ctx, a.ID)
	case plan.CreateContainer:
		spec := *a.Spec
		spec.Mounts = nil
		for _, m := range a.Spec.Mounts {
			source, err := volume.Resolve(m)
			if err != nil {
				return err
			}
			m.Source, m.SubPath = source, ""
			spec.Mounts = append(spec.Mounts, m)
		}
		id, fresh, err := p.agent.engine.CreateContainer(ctx, &spec)
		return p.created(ctx, fresh, err, runtime.Sighting{ID: id, Pod: spec.Pod, Container: &plan.Container{
			ID: id, Name: spec.Name, Attempt: spec.Attempt, SandboxID: spec.SandboxID, State: plan.Created,
			BackOff: spec.BackOff, Created: p.agent.now(),
		}})
	}
	err := p.agent.engine.Start(ctx, a.ID)
	p.look(ctx, a.ID)
	return err
}

// created believes in a container that has just been created; one that was there before is looked at.
func (p *pod) created(ctx context.Context, fresh bool, err error, s runtime.Sighting) error {
	switch {
	case err != nil:
	case fresh:
		p.believe(s.ID, s)
	default:
		p.look(ctx, s.ID)
	}
	return err
}

// stop runs the preStop hook and stops the container, both within the grace period.
func (p *pod) stop(ctx context.Context, pod *corev1.Pod, a plan.Action) error {
	grace := a.Grace
	if a.Hook != nil && grace > 0 {
		begun := time.Now()
		hookCtx, cancel := context.WithTimeout(ctx, grace)
		if err := p.runHook(hookCtx, pod, a); err != nil {
			p.tell(plan.PreStopFailed(err.Error()))
		}
		cancel()
		grace = max(grace-time.Since(begun), minimumGrace)
	}
	err := p.agent.engine.Stop(ctx, a.ID, grace)
	p.look(ctx, a.ID)
	return err
}

// runHook runs a postStart or preStop hook in the container that the action names.
func (p *pod) runHook(ctx context.Context, pod *corev1.Pod, a plan.Action) error {
	target := p.target(pod, a.Container, a.ID)
	switch {
	case a.Hook.Exec != nil:
		return probe.Exec(ctx, a.Hook.Exec.Command, target)
	case a.Hook.HTTPGet != nil:
		return probe.Get(ctx, a.Hook.HTTPGet, target)
	case a.Hook.Sleep != nil:
		pause(ctx, time.Duration(a.Hook.Sleep.Seconds)*time.Second)
		return nil
	}
	return errors.New("the hook says neither exec nor httpGet nor sleep")
}

// tell keeps a fact for the next report.
func (p *pod) tell(f plan.Fact) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.facts = append(p.facts, f)
	p.kick()
}

// finish remembers how an action ended. The failure of one that was cut short says nothing.
func (p *pod) finish(ctx context.Context, a plan.Action, err error, cut bool) {
	p.mu.Lock()
	var failure *plan.Failure
	if err != nil && !cut {
		p.agent.log.Debug("an action failed", "pod", p.uid, "action", a.String(), "error", err)
		failure = p.remember(a, err)
		p.facts = append(p.facts, plan.Ended(a, failure)...)
	} else if err == nil {
		p.remembered(a)
		p.facts = append(p.facts, plan.Ended(a, nil)...)
	}
	p.mu.Unlock()
	if failure != nil && failure.Count == 0 {
		pause(ctx, retryWait)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.memory.Busy, a.Key())
	delete(p.cancels, a.Key())
	p.kick()
}

// remember keeps a failure where the plan looks for it. One that it doesn't look for has a Count of 0. p.mu is held.
func (p *pod) remember(a plan.Action, err error) *plan.Failure {
	m, now, text := &p.memory, p.agent.now(), err.Error()
	switch a.Verb {
	case plan.SyncVolumes, plan.RemoveVolumes:
		m.Volumes.Failure = m.Volumes.Failure.Again(now, "FailedMount", text)
		return &m.Volumes.Failure
	case plan.CreateSandbox, plan.StartSandbox:
		m.Sandbox = m.Sandbox.Again(now, "FailedCreatePodSandBox", text)
		return &m.Sandbox
	case plan.PullImage:
		return p.imageFailed(a, plan.ReasonPull, err)
	case plan.CreateContainer:
		switch {
		case errors.Is(err, runtime.ErrNoImage):
			image := m.Images[a.Container]
			image.Missing = true
			m.Images[a.Container] = image
			if neverPulled(p.desired, a.Container) {
				return p.imageFailed(a, plan.ReasonNeverPull, fmt.Errorf("container image %q is not present with pull policy of Never", a.Image))
			}
			return &plan.Failure{Count: 1, At: now, Reason: plan.ReasonPull, Message: text}
		case errors.Is(err, runtime.ErrInvalidImage):
			return p.imageFailed(a, plan.ReasonInvalidImage, err)
		}
		reason := plan.ReasonCreate
		if errors.Is(err, runtime.ErrRunsAsRoot) {
			reason = plan.ReasonConfig
		}
		failure := m.Containers[a.Container].Again(now, reason, text)
		m.Containers[a.Container] = failure
		return &failure
	case plan.RunPostStart:
		m.Hooks[a.ID] = plan.HookFailed
		return &plan.Failure{Count: 1, At: now, Message: text}
	}
	return &plan.Failure{At: now, Message: text}
}

// imageFailed keeps a failure to get an image; p.mu is held.
func (p *pod) imageFailed(a plan.Action, reason string, err error) *plan.Failure {
	if errors.Is(err, runtime.ErrInvalidImage) {
		reason = plan.ReasonInvalidImage
	}
	image := p.memory.Images[a.Container]
	image.Failure = image.Failure.Again(p.agent.now(), reason, err.Error())
	p.memory.Images[a.Container] = image
	return &image.Failure
}

func neverPulled(pod *corev1.Pod, container string) bool {
	c := containerOf(pod, container)
	return c != nil && c.ImagePullPolicy == corev1.PullNever
}

// remembered notes that an action succeeded; p.mu is held.
func (p *pod) remembered(a plan.Action) {
	m := &p.memory
	switch a.Verb {
	case plan.SyncVolumes:
		m.Volumes = plan.Volumes{Revision: a.Revision}
	case plan.RemoveVolumes:
		m.Volumes = plan.Volumes{Removed: true}
	case plan.StartSandbox:
		m.Sandbox = plan.Failure{}
	case plan.PullImage:
		m.Images[a.Container] = plan.Image{Pulled: a.Attempt + 1}
	case plan.CreateContainer:
		delete(m.Containers, a.Container)
		if image := m.Images[a.Container]; image.Missing {
			delete(m.Images, a.Container)
		}
	case plan.RunPostStart:
		m.Hooks[a.ID] = plan.HookDone
	}
}

// containerOf is a container of the pod's spec by its name; nil if there is none.
func containerOf(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
