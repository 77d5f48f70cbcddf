package service

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// maxPerSlice is how many endpoints a slice holds at most, as in Kubernetes by default.
const maxPerSlice = 100

// packing puts groups of endpoints into slices so that as few slices as possible change.
type packing struct {
	in        runner.Input
	service   string
	owner     *events.Object
	ownerRef  metav1.OwnerReference
	managedBy string
	labels    map[string]string // of the owner, which its slices inherit
	headless  bool
	groups    []*group

	annotations map[string]string         // of slices
	families    []discoveryv1.AddressType // of each of these one slice stays, though it be empty

	drafts []*draft
	taken  map[string]bool // names of new slices
}

// draft is a slice as it is to be.
type draft struct {
	from        *events.Object // nil for a new slice
	addressType discoveryv1.AddressType
	ports       []discoveryv1.EndpointPort
	endpoints   []discoveryv1.Endpoint
	changed     bool // since from, as far as its endpoints go
}

// selected is the packing for a Service that selects its pods.
func selected(in runner.Input, owner *events.Object, groups []*group) *packing {
	svc := owner.Typed().(*corev1.Service)
	return &packing{in: in, service: svc.Name, owner: owner, managedBy: managedBySelector, labels: svc.Labels, groups: groups, families: addressTypesOf(svc),
		headless: svc.Spec.ClusterIP == corev1.ClusterIPNone, ownerRef: controllerRef("Service", svc)}
}

func (p *packing) proposals() []events.Proposal {
	p.taken = map[string]bool{}
	rest := p.keep()
	for i, g := range p.groups {
		p.fill(g, rest[i])
	}
	stays := p.placeholders()
	var out []events.Proposal
	for _, d := range p.drafts {
		switch {
		case len(d.endpoints) == 0 && d.from != nil && !stays[d]:
			out = append(out, events.Remove(d.from, SliceDeleted))
			continue
		case len(d.endpoints) == 0:
			d.ports = nil
		}
		out = append(out, p.propose(d)...)
	}
	return out
}

// placeholders gives each family without endpoints the one empty slice that says so.
func (p *packing) placeholders() map[*draft]bool {
	stays := map[*draft]bool{}
	for _, family := range p.families {
		var empty *draft
		served := false
		for _, d := range p.drafts {
			if d.addressType != family {
				continue
			}
			served = served || len(d.endpoints) > 0
			if empty == nil {
				empty = d
			}
		}
		if !served && empty == nil {
			empty = &draft{addressType: family}
			p.drafts = append(p.drafts, empty)
		}
		stays[empty] = !served
	}
	return stays
}

// keep drafts the slices that exist with those of their endpoints that stay, and returns what is left to be placed of each group.
func (p *packing) keep() [][]discoveryv1.Endpoint {
	wanted := map[string]map[string]discoveryv1.Endpoint{}
	for _, g := range p.groups {
		byKey := make(map[string]discoveryv1.Endpoint, len(g.endpoints))
		for _, endpoint := range g.endpoints {
			byKey[endpointKey(endpoint)] = endpoint
		}
		wanted[signature(g.addressType, g.ports)] = byKey
	}
	for o := range p.in.State.Indexed(events.ByOwner, p.owner.UID()) {
		slice, ok := o.Typed().(*discoveryv1.EndpointSlice)
		if !ok || slice.Labels[discoveryv1.LabelManagedBy] != p.managedBy {
			continue
		}
		d := &draft{from: o, addressType: slice.AddressType, ports: slice.Ports}
		here := wanted[signature(slice.AddressType, slice.Ports)]
		for _, old := range slice.Endpoints {
			key := endpointKey(old)
			if now, ok := here[key]; ok {
				d.endpoints = append(d.endpoints, now)
				delete(here, key) // in one slice only
			}
		}
		d.changed = !equality.Semantic.DeepEqual(slice.Endpoints, d.endpoints)
		p.drafts = append(p.drafts, d)
	}
	rest := make([][]discoveryv1.Endpoint, len(p.groups))
	for i, g := range p.groups {
		left := wanted[signature(g.addressType, g.ports)]
		for _, endpoint := range g.endpoints {
			if _, ok := left[endpointKey(endpoint)]; ok {
				rest[i] = append(rest[i], endpoint)
			}
		}
	}
	return rest
}

func endpointKey(e discoveryv1.Endpoint) string {
	key := e.Addresses[0]
	if e.TargetRef != nil {
		key += "/" + string(e.TargetRef.UID)
	}
	return key
}

// fill places the rest of a group: in slices of its ports that change anyway, then in other ones with room, the fullest first, then in empty
// ones, then in new ones.
func (p *packing) fill(g *group, rest []discoveryv1.Endpoint) {
	var room []*draft
	for _, d := range p.drafts {
		fits := signature(d.addressType, d.ports) == signature(g.addressType, g.ports)
		if d.addressType == g.addressType && len(d.endpoints) < maxPerSlice && (fits || len(d.endpoints) == 0) {
			room = append(room, d)
		}
	}
	slices.SortStableFunc(room, func(a, b *draft) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(len(b.endpoints), len(a.endpoints)))
	})
	for _, d := range room {
		if len(rest) == 0 {
			return
		}
		n := min(len(rest), maxPerSlice-len(d.endpoints))
		d.endpoints, d.ports, d.changed = append(d.endpoints, rest[:n]...), g.ports, true
		rest = rest[n:]
	}
	for chunk := range slices.Chunk(rest, maxPerSlice) {
		p.drafts = append(p.drafts, &draft{addressType: g.addressType, ports: g.ports, endpoints: chunk, changed: true})
	}
}

// rank orders drafts by how little it costs to add to them.
func (d *draft) rank() int {
	switch {
	case len(d.endpoints) == 0:
		return 2
	case d.changed:
		return 0
	}
	return 1
}

// propose words a draft; nothing if it is as it was.
func (p *packing) propose(d *draft) []events.Proposal {
	labels := p.sliceLabels()
	if d.from == nil {
		ref := p.freeName()
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name, GenerateName: p.service + "-", Generation: 1, Labels: labels,
				UID:               events.DeriveUID(p.owner.UID(), ref, p.in.State.Slot(ref).Expect(events.Desired)),
				CreationTimestamp: metav1.NewTime(p.in.Now.Truncate(1e9)), Annotations: p.annotations, OwnerReferences: []metav1.OwnerReference{p.ownerRef}},
			AddressType: d.addressType, Endpoints: d.endpoints, Ports: d.ports}
		return []events.Proposal{events.Create(p.in.State, slice, SliceCreated)}
	}
	before := d.from.Typed().(*discoveryv1.EndpointSlice)
	var changed []string
	if d.changed {
		changed = append(changed, "endpoints")
	}
	if !maps.Equal(before.Labels, labels) {
		changed = append(changed, "metadata.labels")
	}
	if p.managedBy == managedByMirror && !maps.Equal(before.Annotations, p.annotations) {
		changed = append(changed, "metadata.annotations")
	}
	if !equality.Semantic.DeepEqual(before.Ports, d.ports) {
		changed = append(changed, "ports")
	}
	if len(changed) == 0 {
		return nil
	}
	slice := *before // what isn't replaced is only read
	slice.Labels, slice.Endpoints, slice.Ports = labels, d.endpoints, d.ports
	if p.managedBy == managedByMirror {
		slice.Annotations = p.annotations
	}
	slice.Generation++
	return []events.Proposal{events.Alter(d.from, &slice, SliceChanged, changed...)}
}

func (p *packing) sliceLabels() map[string]string {
	labels := map[string]string{}
	for key, value := range p.labels {
		if key != corev1.IsHeadlessService && !strings.HasPrefix(key, labelManagedBy) {
			labels[key] = value
		}
	}
	labels[discoveryv1.LabelServiceName], labels[discoveryv1.LabelManagedBy] = p.service, p.managedBy
	if p.headless {
		labels[corev1.IsHeadlessService] = ""
	}
	return labels
}

// freeName derives the name of a new slice from its owner and its number among the owner's names, so that two deciders that would
// both add a slice choose the same name and one of them fails.
func (p *packing) freeName() events.Ref {
	for ordinal := 0; ; ordinal++ {
		ref := events.Ref{Group: slicesKind.Group, Resource: slicesKind.Resource, Namespace: p.owner.Ref.Namespace,
			Name: fmt.Sprintf("%s-%s", p.service, events.DeriveSuffix(p.owner.UID(), p.managedBy, ordinal))}
		if _, exists := p.in.State.Get(ref); !exists && !p.taken[ref.Name] {
			p.taken[ref.Name] = true
			return ref
		}
	}
}
