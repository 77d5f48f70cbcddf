package agent

import (
	"context"
	"fmt"
	"io"

	"github.com/wakehq/wake/agent/plan"
	"github.com/wakehq/wake/events/nodewire"
)

// serveLog writes the log of a container of one of the node's pods.
func (a *Agent) serveLog(ctx context.Context, r nodewire.LogRequest, w io.Writer) error {
	a.mu.Lock()
	var p *pod
	for _, candidate := range a.pods {
		if candidate.namespace == r.Namespace && candidate.name == r.Name && (r.UID == "" || r.UID == candidate.uid) {
			p = candidate
		}
	}
	a.mu.Unlock()
	if p == nil {
		return fmt.Errorf("pod %s/%s isn't on node %s", r.Namespace, r.Name, a.config.NodeName)
	}
	id, err := p.logOf(r.Options.Container, r.Options.Previous)
	if err != nil {
		return err
	}
	return a.engine.Logs(ctx, id, &r.Options, w)
}

// logOf is the ID of the container whose log is asked for: that of the latest attempt which has begun, or of the one before it.
func (p *pod) logOf(name string, previous bool) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if containerOf(p.desired, name) == nil {
		return "", fmt.Errorf("container %s is not valid for pod %s", name, p.desired.Name)
	}
	var latest, before *plan.Container
	for _, c := range p.seenNow().Containers {
		switch {
		case c.Name != name:
		case latest == nil || c.Attempt > latest.Attempt:
			latest, before = &c, latest
		case before == nil || c.Attempt > before.Attempt:
			before = &c
		}
	}
	switch {
	case previous && before == nil:
		return "", fmt.Errorf("previous terminated container %q in pod %q not found", name, p.desired.Name)
	case previous:
		return before.ID, nil
	case latest != nil && latest.State != plan.Created:
		return latest.ID, nil
	case before != nil:
		return before.ID, nil
	}
	reason := plan.ReasonCreating
	for _, s := range p.last.ContainerStatuses {
		if s.Name == name && s.State.Waiting != nil {
			reason = s.State.Waiting.Reason
		}
	}
	return "", fmt.Errorf("container %q in pod %q is waiting to start: %s", name, p.desired.Name, reason)
}
