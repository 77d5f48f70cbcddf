package agent

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/plan"
	"github.com/wakehq/wake/agent/probe"
)

// probeSet runs the probes that a decision asks for.
type probeSet struct {
	running map[plan.ProbeKey]context.CancelFunc
	group   sync.WaitGroup
}

// set starts the probes that are wanted and not running, and ends those that run and aren't wanted; p.mu is held.
func (s *probeSet) set(ctx context.Context, p *pod, wanted []plan.Probe) {
	if s.running == nil {
		s.running = map[plan.ProbeKey]context.CancelFunc{}
	}
	keep := map[plan.ProbeKey]bool{}
	for _, w := range wanted {
		keep[w.Key] = true
		if s.running[w.Key] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		s.running[w.Key] = cancel
		target := p.target(p.desired, w.Container, w.Key.ContainerID)
		target.IP = w.PodIP
		s.group.Go(func() {
			probe.Watch(ctx, w.Spec, w.Started, target, func(success bool, message string) {
				p.judge(ctx, w.Key, plan.Verdict{Success: success, Message: message})
			}, func(message string) { p.tell(plan.ProbeFailed(w.Key.Kind, message)) })
		})
	}
	for key, cancel := range s.running {
		if !keep[key] {
			cancel()
			delete(s.running, key)
		}
	}
}

// stop ends all probes and waits for them.
func (s *probeSet) stop() {
	for _, cancel := range s.running {
		cancel()
	}
	s.group.Wait()
}

// judge takes over a probe's verdict.
func (p *pod) judge(ctx context.Context, key plan.ProbeKey, v plan.Verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() == nil {
		p.memory.Probes[key] = v
		p.kick()
	}
}

// target is a container as probes and hooks reach it.
func (p *pod) target(pod *corev1.Pod, container, id string) probe.Target {
	t := probe.Target{IP: p.last.PodIP, Exec: func(ctx context.Context, command []string) (int, string, error) {
		return p.agent.engine.Exec(ctx, id, command)
	}}
	if c := containerOf(pod, container); c != nil {
		t.Ports = c.Ports
	}
	return t
}
