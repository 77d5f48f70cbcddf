package agent

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/wakehq/wake/agent/plan"
	"github.com/wakehq/wake/agent/policy"
	"github.com/wakehq/wake/agent/runtime"
)

// Policies enforces network policies on the node's pods. *policy.Enforcer is one.
type Policies interface {
	// Note takes in a change without waiting for anything.
	Note(change policy.Change)
	// Sync returns when what was noted holds. Before the first full change it returns policy.ErrNotFull.
	Sync(ctx context.Context) error
	// Verify puts back what somebody took away.
	Verify(ctx context.Context) error
}

const (
	policyRetry = 2 * time.Second
	policyLook  = 10 * time.Second
)

// policing tells Policies where the node's pods are. Without one it does nothing.
type policing struct {
	policies Policies
	changed  chan struct{} // holds a token when something was noted

	mu   sync.Mutex
	pods map[string]map[string][]netip.Addr // addresses by the pod's UID and the sandbox's ID
	of   map[string]string                  // UID by sandbox
}

func newPolicing(p Policies) *policing {
	return &policing{policies: p, changed: make(chan struct{}, 1), pods: map[string]map[string][]netip.Addr{}, of: map[string]string{}}
}

// note takes in a change, and has it made to hold soon.
func (p *policing) note(change policy.Change) {
	if p.policies == nil || change.Empty() {
		return
	}
	p.policies.Note(change)
	p.again()
}

// admit returns when the policies of a sandbox's pod hold at its addresses: the sandbox may be attached then.
func (p *policing) admit(ctx context.Context, uid string, b *plan.Sandbox) error {
	if p.policies == nil {
		return nil
	}
	p.mu.Lock()
	p.put(uid, b)
	p.place(uid)
	p.mu.Unlock()
	return p.policies.Sync(ctx)
}

// place notes where a pod is; p.mu is held, so that the last word is the newest.
func (p *policing) place(uid string) {
	var change policy.Change
	change.Place(uid, p.addresses(uid))
	p.note(change)
}

// saw takes in what is known of a container: a sandbox has its addresses from its making until it ends.
func (p *policing) saw(s *runtime.Sighting) {
	if p.policies == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	uid := p.of[s.ID]
	if b := s.Sandbox; b != nil && b.Own && b.State != plan.Exited {
		if uid != "" {
			return // they don't change
		}
		uid = s.Pod.UID
		p.put(uid, b)
	} else {
		if uid == "" {
			return
		}
		p.drop(uid, s.ID)
	}
	p.place(uid)
}

// put notes a sandbox's addresses; p.mu is held.
func (p *policing) put(uid string, b *plan.Sandbox) {
	addresses := make([]netip.Addr, 0, len(b.IPs))
	for _, text := range b.IPs {
		if a, err := netip.ParseAddr(text); err == nil { // attachment complains of others
			addresses = append(addresses, a)
		}
	}
	if p.pods[uid] == nil {
		p.pods[uid] = map[string][]netip.Addr{}
	}
	p.pods[uid][b.ID] = addresses
	p.of[b.ID] = uid
}

// drop forgets a sandbox; p.mu is held.
func (p *policing) drop(uid, sandbox string) {
	delete(p.of, sandbox)
	delete(p.pods[uid], sandbox)
	if len(p.pods[uid]) == 0 {
		delete(p.pods, uid)
	}
}

// addresses are those of all of a pod's sandboxes; p.mu is held.
func (p *policing) addresses(uid string) (all []netip.Addr) {
	for _, addresses := range p.pods[uid] {
		all = append(all, addresses...)
	}
	return all
}

// servePolicies makes hold what was noted, and looks from time to time whether it still does, until ctx ends.
func (a *Agent) servePolicies(ctx context.Context) error {
	p := a.policing
	if p.policies == nil {
		return nil
	}
	look := time.NewTicker(policyLook)
	defer look.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
			err = p.policies.Verify(ctx)
		case <-p.changed:
			err = p.policies.Sync(ctx)
		}
		if err == nil || errors.Is(err, policy.ErrNotFull) || ctx.Err() != nil {
			continue
		}
		a.log.Warn("network policies couldn't be brought up to date; trying again", "error", err)
		time.AfterFunc(policyRetry, p.again)
	}
}

// again has what was noted tried once more.
func (p *policing) again() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}
