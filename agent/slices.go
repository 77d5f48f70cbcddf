package agent

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/agent/policy"
	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/events/nodewire"
)

// apply takes over one slice. An object that can't be read is left out, and told in the log: the others must not suffer for it.
func (a *Agent) apply(ctx context.Context, s nodewire.Slice) {
	a.mu.Lock()
	a.objects.begin(s.Full)
	change, policies := proxy.Change{Full: s.Full}, policy.Change{Full: s.Full}
	named := map[string]bool{}
	moved := s.Full // other nodes came, went, or moved
	if s.Full {
		clear(a.peers)
	}
	var touched []*pod
	for _, o := range s.Objects {
		var err error
		switch o.Resource {
		case nodewire.Pods:
			var p *pod
			if p, err = a.applyPod(ctx, o); p != nil {
				named[o.UID] = true
				touched = append(touched, p)
			}
		case nodewire.Nodes:
			moved = true
			err = a.applyNode(o, &change)
		case nodewire.Policies, nodewire.PodPolicies, nodewire.PolicyPeers:
			err = policies.Add(o)
		case nodewire.Ingresses: // all of the slice is handed to who serves them
		default:
			err = a.objects.apply(o, &change)
		}
		if err != nil {
			a.log.Error("an object of the slice can't be read", "resource", o.Resource, "namespace", o.Namespace, "name", o.Name, "error", err)
			named[o.UID] = true
		}
	}
	if s.Full {
		a.known = true
		for uid, p := range a.pods {
			if !named[uid] {
				p.forgotten()
			}
		}
	}
	for _, p := range a.pods {
		if a.objects.dirty[p.namespace] {
			touched = append(touched, p)
		}
	}
	if moved {
		a.network.SetPeers(slices.Collect(maps.Values(a.peers)))
	}
	a.policing.note(policies)
	a.tellServices(change)
	a.tellAnnouncer()
	if a.config.Ingress != nil {
		a.config.Ingress.Apply(s.Full, s.Objects)
	}
	a.mu.Unlock()
	for _, p := range touched {
		p.kick()
	}
	if s.Full {
		a.adoptOrphans(ctx)
	}
}

// applyPod takes over one pod of a slice; a.mu is held.
func (a *Agent) applyPod(ctx context.Context, o nodewire.Object) (*pod, error) {
	p := a.pods[o.UID]
	if o.Deleted {
		if p != nil {
			p.forgotten()
		}
		return p, nil
	}
	var spec corev1.Pod
	if err := spec.Unmarshal(o.Data); err != nil {
		return nil, err
	}
	if p == nil {
		p = a.newPod(ctx, &spec, o.Cause, false)
		return p, nil
	}
	p.want(&spec, o.Cause, a.objects.revision)
	return p, nil
}

// adoptOrphans takes charge of containers whose pod the cluster doesn't have: they are taken down.
func (a *Agent) adoptOrphans(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for uid, sightings := range a.found {
		if a.pods[uid] != nil || len(sightings) == 0 {
			continue
		}
		ref := sightings[0].Pod
		a.log.Info("removing a pod that the cluster doesn't have", "namespace", ref.Namespace, "pod", ref.Name, "uid", uid)
		a.newPod(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name, UID: types.UID(uid)}}, 0, true)
	}
}
