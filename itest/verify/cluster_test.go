package verify

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/gateway"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/garbage"
	"github.com/wakehq/wake/services/job"
	"github.com/wakehq/wake/services/loadbalancer"
	"github.com/wakehq/wake/services/namespace"
	"github.com/wakehq/wake/services/node"
	"github.com/wakehq/wake/services/nodeipam"
	"github.com/wakehq/wake/services/replication"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/scheduler"
	"github.com/wakehq/wake/services/service"
)

var newRegistry = sync.OnceValues(schemas.NewRegistry)

// deciders are the services of a cluster, as "wake up" runs them.
func deciders() []runner.Decider { return decidersWith(scheduler.New()) }

func decidersWith(scheduler runner.Decider) []runner.Decider {
	return []runner.Decider{scheduler, replication.NewDeployments(), replication.NewSets(), job.New(), service.NewAddresses(service.DefaultRange),
		service.NewEndpoints(), loadbalancer.New(), garbage.New(), namespace.New("a certificate"), node.New(), nodeipam.New([]nodeipam.Range{nodeipam.DefaultRange})}
}

// cluster is a ledger on which everything goes wrong, and who acts on it.
type cluster struct {
	*testing.T
	seed     uint64
	size     size
	ledger   events.Ledger
	registry *schemas.Registry
	view     *events.View // of users and nodes
	random   *rand.Rand
	names    int
	dead     map[string]bool // nodes that are silent
	renewed  map[string]time.Time
}

func newCluster(t *testing.T, seed uint64, size size, faults memory.Faults) *cluster {
	faults.Seed = seed
	return newClusterOn(t, seed, size, memory.New(faults))
}

func newClusterOn(t *testing.T, seed uint64, size size, ledger events.Ledger) *cluster {
	registry, err := newRegistry()
	require.NoError(t, err)
	c := &cluster{T: t, seed: seed, size: size, ledger: ledger, registry: registry, random: rand.New(rand.NewPCG(seed, 1)), dead: map[string]bool{},
		renewed: map[string]time.Time{}}
	c.view, err = events.OpenView(t.Context(), c.ledger, registry)
	require.NoError(t, err)
	return c
}

// everythingWrong is what a bad ledger does.
var everythingWrong = memory.Faults{LostRequest: 0.03, LostAcknowledgement: 0.03, Duplicate: 0.03, Conflict: 0.03, Delay: 0.2, Stall: 0.2,
	MaxDelay: 40 * time.Millisecond}

// withDelays loses nothing: what is missing was lost by a kill.
var withDelays = memory.Faults{LostAcknowledgement: 0.03, Duplicate: 0.03, Delay: 0.2, Stall: 0.2, MaxDelay: 40 * time.Millisecond}

// start runs all services as one process does, and returns what kills it.
func (c *cluster) start() (kill func()) {
	ctx, cancel := context.WithCancel(c.Context())
	var all sync.WaitGroup
	all.Go(func() {
		view, err := events.OpenView(ctx, c.ledger, c.registry)
		config := gateway.BootstrapConfig{API: netip.MustParseAddrPort("192.0.2.1:6443"), ServiceCIDRs: []netip.Prefix{service.DefaultRange}}
		for err == nil && ctx.Err() == nil && gateway.Bootstrap(ctx, c.ledger, view, config) != nil {
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil || ctx.Err() != nil {
			return
		}
		for _, decider := range deciders() {
			all.Go(func() {
				_ = runner.Runner{Decider: decider, View: view, Ledger: c.ledger, Log: slog.New(slog.DiscardHandler)}.Run(ctx)
			})
		}
	})
	return func() { cancel(); all.Wait() }
}

// append appends what word makes of the present, again and again until the ledger has it.
func (c *cluster) append(actor string, word func(*events.State) []events.Proposal) {
	for {
		state := c.view.State()
		proposals := word(state)
		if len(proposals) == 0 {
			return
		}
		events.Audit{Actor: actor, Basis: state.Revision(), At: time.Now()}.Sign(proposals)
		revision, err := c.ledger.Append(c.Context(), proposals...)
		if err == nil {
			_, err = c.view.WaitFor(c.Context(), revision)
			require.NoError(c, err)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// apply creates or updates what a manifest says, as the gateway does. What is refused is left.
func (c *cluster) apply(manifest string) {
	kind, obj := c.parse(manifest)
	c.append("user:tester", func(s *events.State) []events.Proposal {
		ref, err := s.RefOf(obj)
		require.NoError(c, err)
		write := &schemas.Write{Namespace: ref.Namespace, Name: ref.Name, Now: time.Now(),
			NewUID: func() types.UID { return events.DeriveUID(c.seed, ref, s.Revision()) }}
		old, exists := s.Get(ref)
		if !exists {
			created, _, err := kind.PrepareCreate(write, obj.DeepCopyObject())
			require.NoError(c, err)
			proposals := []events.Proposal{events.Create(s, created, kind.KindName+"Created")}
			if kind.SetStatus(created, obj); ref.Resource == "nodes" {
				proposals = append(proposals, events.ObserveNew(s, created, "NodeReady"))
			}
			return proposals
		}
		if kind.KindName == "Job" {
			return nil // its acknowledgement was lost
		}
		return c.update(old, obj.DeepCopyObject(), write)
	})
}

// update writes obj as the desired state of old.
func (c *cluster) update(old *events.Object, obj runtime.Object, write *schemas.Write) []events.Proposal {
	obj.(metav1.Object).SetResourceVersion(old.Meta().GetResourceVersion())
	updated, _, err := old.Kind.PrepareUpdate(write, obj, old.Typed())
	if err != nil {
		return nil // such as a Job's template, which can't change
	}
	if old.Facet(events.Assigned) != nil {
		old.Kind.Unassign(updated)
	}
	return []events.Proposal{events.Alter(old, updated, old.Kind.KindName+"Changed", "spec")}
}

func (c *cluster) parse(manifest string) (*schemas.Kind, runtime.Object) {
	var head metav1.TypeMeta
	decode(c, manifest, &head)
	kind, ok := c.registry.Kind(head.GroupVersionKind())
	require.True(c, ok, manifest)
	obj, _, err := kind.DecodeBody([]byte(manifest), runtime.ContentTypeYAML, metav1.FieldValidationStrict)
	require.NoError(c, err, manifest)
	return kind, obj
}

// edit changes the desired state of one object, if it is there.
func (c *cluster) edit(ref events.Ref, change func(runtime.Object)) {
	c.append("user:tester", func(s *events.State) []events.Proposal {
		old, ok := s.Get(ref)
		if !ok {
			return nil
		}
		obj := old.Typed().DeepCopyObject()
		change(obj)
		return c.update(old, obj, &schemas.Write{Namespace: ref.Namespace, Name: ref.Name, Now: time.Now()})
	})
}

// remove does what a client's DELETE does.
func (c *cluster) remove(ref events.Ref, policy metav1.DeletionPropagation) {
	c.append("user:tester", func(s *events.State) []events.Proposal {
		o, ok := s.Get(ref)
		if !ok {
			return nil
		}
		deletion, err := o.Kind.PrepareDelete(&schemas.Write{Namespace: ref.Namespace, Name: ref.Name, Now: time.Now()}, o.Typed(),
			&metav1.DeleteOptions{PropagationPolicy: &policy})
		switch {
		case err != nil || !deletion.Remove && !deletion.Changed:
			return nil
		case deletion.Remove:
			return []events.Proposal{events.Remove(o, o.Kind.KindName+"Deleted")}
		}
		if o.Facet(events.Assigned) != nil {
			o.Kind.Unassign(deletion.Object)
		}
		return []events.Proposal{events.Alter(o, deletion.Object, o.Kind.KindName+"DeletionRequested", "metadata.deletionTimestamp")}
	})
}

// name gives a name that was not given before.
func (c *cluster) name(base string) string {
	c.names++
	return fmt.Sprintf("%s%d", base, c.names)
}
