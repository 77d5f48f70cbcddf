package agent

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/wakehq/wake/agent/network"
	"github.com/wakehq/wake/agent/plan"
	"github.com/wakehq/wake/agent/runtime"
)

// createSandbox creates a pod's sandbox with addresses of its own, unless the pod is in the host's network.
func (p *pod) createSandbox(ctx context.Context, a plan.Action) error {
	net, spec := p.agent.network, *a.Sandbox
	name := fmt.Sprintf("%s/%d", spec.Pod.UID, spec.Attempt)
	if !spec.HostNetwork {
		var err error
		if spec.Addresses, err = net.Allocate(name); err != nil {
			return err
		}
	}
	id, fresh, err := p.agent.engine.CreateSandbox(ctx, &spec)
	if err != nil || !fresh {
		net.Release(name) // one that is there has its own
		return p.created(ctx, fresh, err, runtime.Sighting{ID: id})
	}
	made := &plan.Sandbox{ID: id, Attempt: a.Attempt, State: plan.Created, Own: !spec.HostNetwork, Ports: spec.Ports}
	for _, address := range spec.Addresses {
		made.IPs = append(made.IPs, address.String())
	}
	net.Made(name, id)
	return p.created(ctx, fresh, nil, runtime.Sighting{ID: id, Pod: spec.Pod, Sandbox: made})
}

// startSandbox starts a sandbox and attaches it to the pod network.
func (p *pod) startSandbox(ctx context.Context, id string) error {
	err := p.agent.engine.Start(ctx, id)
	if err == nil {
		err = p.attach(ctx, id)
	}
	if err != nil {
		p.look(ctx, id)
	}
	return err
}

// attach attaches a sandbox that was started, and believes what it saw of it for that: Docker needn't be asked again.
func (p *pod) attach(ctx context.Context, id string) error {
	p.looking.Lock() // who looks meanwhile sees something later
	defer p.looking.Unlock()
	s, err := p.agent.engine.Inspect(ctx, id)
	if err != nil {
		return err
	}
	if s.Sandbox != nil && s.Sandbox.Own && s.Sandbox.State == plan.Running {
		at, err := attachment(s.Sandbox)
		if err != nil {
			return err
		}
		if err := p.agent.policing.admit(ctx, p.uid, s.Sandbox); err != nil {
			return fmt.Errorf("the network policies of pod %s/%s: %w", p.namespace, p.name, err)
		}
		if err := p.agent.network.Attach(ctx, at); err != nil {
			return err
		}
	}
	p.agent.judge(&s)
	p.believe(id, s)
	return nil
}

// attachment is what the pod network has to know of a sandbox.
func attachment(b *plan.Sandbox) (network.Sandbox, error) {
	s := network.Sandbox{ID: b.ID, PID: b.PID}
	for _, text := range b.IPs {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return s, fmt.Errorf("the address %q of sandbox %s: %w", text, b.ID, err)
		}
		s.Addrs = append(s.Addrs, address)
	}
	for _, port := range b.Ports {
		p := network.HostPort{Protocol: "tcp", Port: uint16(port.HostPort), PodPort: uint16(port.ContainerPort)}
		if port.Protocol != "" {
			p.Protocol = strings.ToLower(string(port.Protocol))
		}
		if at, err := netip.ParseAddr(port.HostIP); err == nil && !at.IsUnspecified() {
			p.At = at
		}
		s.Ports = append(s.Ports, p)
	}
	return s, nil
}

// judge completes what Docker says of a sandbox by what the pod network says: one that runs has yet to be started if it isn't attached, and one
// that can't be attached with the addresses that it was made with is of no use. Who runs no more has its addresses no more.
func (a *Agent) judge(s *runtime.Sighting) {
	defer a.policing.saw(s)
	b := s.Sandbox
	switch {
	case b == nil && s.Container == nil:
		a.network.Release(s.ID)
		return
	case b == nil || !b.Own:
		return
	case b.State == plan.Exited:
		a.network.Release(b.ID)
		return
	}
	at, err := attachment(b)
	if err == nil {
		if b.State == plan.Running && a.network.Attached(at) {
			_ = a.network.Claim(at) // one that serves is left to
			return
		}
		err = a.network.Claim(at)
	}
	b.State = plan.Created
	if err != nil {
		a.log.Warn("a sandbox can't be attached to the pod network, and is replaced", "pod", s.Pod.Name, "namespace", s.Pod.Namespace, "error", err)
		b.State = plan.Exited
	}
}

// inspect looks at one container.
func (a *Agent) inspect(ctx context.Context, id string) (runtime.Sighting, error) {
	s, err := a.engine.Inspect(ctx, id)
	if err == nil {
		a.judge(&s)
	}
	return s, err
}
