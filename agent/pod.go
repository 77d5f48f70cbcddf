package agent

import (
	"context"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/wakehq/wake/agent/plan"
	"github.com/wakehq/wake/agent/runtime"
	"github.com/wakehq/wake/events/nodewire"
)

// pod looks after one pod: a goroutine takes a decision whenever something has changed, and one goroutine per action carries it out.
type pod struct {
	agent     *Agent
	uid       string
	namespace string
	name      string
	changed   chan struct{} // holds a token when there is something to decide
	running   sync.WaitGroup
	outbox    *outbox
	probes    probeSet

	looking sync.Mutex // held from asking Docker of a container to believing it: what is believed is never older than before

	mu       sync.Mutex
	desired  *corev1.Pod
	cause    uint64
	gone     bool   // the cluster doesn't have it any more
	done     bool   // nothing of it is left on the node
	revision uint64 // of the objects when what volumes show of the pod itself changed last
	seen     map[string]runtime.Sighting
	memory   plan.Memory
	cancels  map[string]context.CancelFunc // of what is under way, by plan.Action.Key
	last     corev1.PodStatus
	facts    []plan.Fact // not yet told
}

// newPod begins to look after a pod; a.mu is held.
func (a *Agent) newPod(ctx context.Context, spec *corev1.Pod, cause uint64, gone bool) *pod {
	uid := string(spec.UID)
	p := &pod{
		agent: a, uid: uid, namespace: spec.Namespace, name: spec.Name,
		changed: make(chan struct{}, 1),
		outbox:  newOutbox(a.config.Feed, a.log),
		desired: spec, cause: cause, gone: gone, revision: max(a.objects.revision, 1),
		seen:    map[string]runtime.Sighting{},
		cancels: map[string]context.CancelFunc{},
		last:    spec.Status,
		memory: plan.Memory{
			Busy: map[string]plan.Action{}, Images: map[string]plan.Image{}, Containers: map[string]plan.Failure{},
			Hooks: map[string]plan.Hook{}, Probes: map[plan.ProbeKey]plan.Verdict{},
		},
	}
	for _, s := range a.found[uid] {
		p.seen[s.ID] = s
	}
	delete(a.found, uid)
	a.pods[uid] = p
	p.running.Go(func() { p.run(ctx) })
	p.running.Go(func() { p.outbox.deliver(ctx) })
	p.kick()
	return p
}

// kick asks for a decision.
func (p *pod) kick() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// want takes over what the cluster wants of the pod now; a.mu is held.
func (p *pod) want(spec *corev1.Pod, cause, revision uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !maps.Equal(spec.Labels, p.desired.Labels) || !maps.Equal(spec.Annotations, p.desired.Annotations) {
		p.revision = revision
	}
	p.desired, p.cause, p.gone = spec, cause, false
	p.kick()
}

// forgotten notes that the cluster doesn't have the pod any more; a.mu is held.
func (p *pod) forgotten() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	if p.done {
		delete(p.agent.pods, p.uid)
	}
	p.kick()
}

// run decides until nothing of the pod is left, or ctx ends.
func (p *pod) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer p.probes.stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
		case <-timer.C:
		}
		again, done := p.decide(ctx)
		if done {
			p.leave()
			return
		}
		if again.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(again.Sub(p.agent.now()), time.Millisecond))
		}
	}
}

// decide takes one decision and sets in motion what follows from it.
func (p *pod) decide(ctx context.Context) (again time.Time, done bool) {
	objects := p.agent.objectsOf(p.namespace)
	p.mu.Lock()
	defer p.mu.Unlock()
	objects.Revision = max(objects.Revision, p.revision)
	d := plan.Decide(plan.Input{
		Now: p.agent.now(), Pod: p.desired, Gone: p.gone, Last: p.last, Node: p.agent.nodeNow(), Objects: objects,
		Seen: p.seenNow(), Memory: p.memory,
	})
	facts := p.facts
	p.facts = nil
	for _, a := range d.Actions {
		facts = append(facts, plan.Begun(a)...)
		p.begin(ctx, a)
	}
	for _, key := range d.Cancel {
		p.cancels[key]()
	}
	p.probes.set(ctx, p, d.Probes)
	if !equality.Semantic.DeepEqual(p.last, d.Status) {
		facts = append(facts, plan.Changes(p.desired, &p.last, &d.Status)...)
		p.last = d.Status
	}
	if p.gone {
		return d.Again, d.Done
	}
	for _, f := range facts {
		p.report(f, false)
	}
	if d.Done {
		p.report(plan.Fact{Type: "PodTerminated"}, true)
	}
	return d.Again, d.Done
}

// seenNow is what Docker says of the pod; p.mu is held.
func (p *pod) seenNow() plan.Seen {
	var seen plan.Seen
	for _, s := range p.seen {
		switch {
		case s.Container != nil:
			seen.Containers = append(seen.Containers, *s.Container)
		case seen.Sandbox == nil || s.Sandbox.Attempt > seen.Sandbox.Attempt:
			seen.Sandbox = s.Sandbox
		}
	}
	return seen
}

// report puts one fact in the outbox; p.mu is held.
func (p *pod) report(f plan.Fact, removed bool) {
	r := nodewire.PodReport{
		Namespace: p.namespace, Name: p.name, UID: p.uid, Type: f.Type, Cause: p.cause, At: p.agent.now(),
		Status: *p.last.DeepCopy(), Removed: removed,
	}
	if f.Reason != "" {
		r.Note = &nodewire.Note{Reason: f.Reason, Message: f.Message, Warning: f.Warning}
	}
	p.outbox.put(r)
}

// leave ends the pod's life on the node. It stays known until the cluster has forgotten it too, so that it isn't begun anew.
func (p *pod) leave() {
	p.agent.mu.Lock()
	defer p.agent.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
	p.outbox.close()
	if p.gone {
		delete(p.agent.pods, p.uid)
	}
}

// look asks Docker of one container and believes it. It asks until there is an answer or ctx ends.
func (p *pod) look(ctx context.Context, id string) {
	p.looking.Lock()
	defer p.looking.Unlock()
	for {
		s, err := p.agent.inspect(ctx, id)
		if err == nil {
			p.believe(id, s)
			return
		}
		if ctx.Err() != nil {
			return
		}
		pause(ctx, reconnectWait)
	}
}

// believe takes over what Docker says of a container.
func (p *pod) believe(id string, s runtime.Sighting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Sandbox == nil && s.Container == nil {
		delete(p.seen, id)
		delete(p.memory.Hooks, id)
		maps.DeleteFunc(p.memory.Probes, func(key plan.ProbeKey, _ plan.Verdict) bool { return key.ContainerID == id })
	} else {
		p.seen[id] = s
	}
	p.kick()
}

// believes is the state that a container is believed to be in; empty if there is none.
func (p *pod) believes(id string) plan.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch s := p.seen[id]; {
	case s.Container != nil:
		return s.Container.State
	case s.Sandbox != nil:
		return s.Sandbox.State
	}
	return ""
}

// relisted takes over a full look at the pod's containers. Those that weren't there are looked at once more, as they may have been
// created since.
func (p *pod) relisted(ctx context.Context, sightings []runtime.Sighting) {
	listed := map[string]plan.State{}
	for _, s := range sightings {
		if s.Container != nil {
			listed[s.ID] = s.Container.State
		} else if s.Sandbox != nil {
			listed[s.ID] = s.Sandbox.State
		}
	}
	p.mu.Lock()
	var doubtful []string
	for id := range p.seen {
		if _, there := listed[id]; !there {
			doubtful = append(doubtful, id)
		}
	}
	p.mu.Unlock()
	for id, state := range listed {
		if p.believes(id) != state {
			doubtful = append(doubtful, id)
		}
	}
	for _, id := range doubtful {
		p.look(ctx, id)
	}
}
