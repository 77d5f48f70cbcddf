package conformance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

// stepsPerHistory is how many appends a random history has at most; some are batches.
const stepsPerHistory = 40

// Histories appends count random histories, each to a ledger of its own, and checks after each that folding the whole ledger, folding the
// last event of every facet, a view that followed all along and one that began midway hold the same.
func Histories(t *testing.T, count int, open Open) {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	for seed := range count {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := &history{t: t, ledger: open(t), registry: registry, random: rand.New(rand.NewPCG(uint64(seed), 6))}
			h.run()
		})
	}
}

// history is one in the making. It decides on the live view, as services do.
type history struct {
	t        *testing.T
	ledger   events.Ledger
	registry *schemas.Registry
	random   *rand.Rand
	view     *events.View
	state    *events.State
	uids     int
}

func (h *history) run() {
	ctx, cancel := context.WithTimeout(h.t.Context(), within)
	defer cancel()
	h.view = h.openView(ctx)
	h.state = h.view.State()
	steps := 5 + h.random.IntN(stepsPerHistory-5)
	var midway *events.View
	for step := range steps {
		if step == steps/2 {
			midway = h.openView(ctx)
		}
		h.append(ctx, h.step())
	}
	last, _, err := h.ledger.Last(ctx)
	require.NoError(h.t, err)
	whole := h.fold(ctx, events.Query{})
	late, err := midway.WaitFor(ctx, last)
	require.NoError(h.t, err)
	for name, state := range map[string]*events.State{
		"the live view": h.state, "a view opened midway": late, "the last events per facet": h.fold(ctx, events.Query{LastPerFacet: true}),
		"a view opened at the end":         h.openView(ctx).State(),
		"the last events as of the end":    h.fold(ctx, events.Query{LastPerFacet: true, To: last}),
		"the fold in two parts, and forks": h.foldForked(ctx, 1+h.random.Uint64N(last)),
	} {
		require.Equal(h.t, last, state.Revision(), name)
		require.Equal(h.t, whole.Hash(), state.Hash(), name)
		h.sameGuards(whole, state, name)
	}
	past := 1 + h.random.Uint64N(last)
	require.Equal(h.t, h.fold(ctx, events.Query{To: past}).Hash(), h.fold(ctx, events.Query{To: past, LastPerFacet: true}).Hash(), "as of %d", past)
}

func (h *history) openView(ctx context.Context) *events.View {
	view, err := events.OpenView(ctx, h.ledger, h.registry)
	require.NoError(h.t, err)
	return view
}

func (h *history) fold(ctx context.Context, q events.Query) *events.State {
	state := events.NewState(h.registry)
	require.NoError(h.t, h.ledger.Read(ctx, q, func(e events.Event) bool {
		_, err := state.Apply(e)
		require.NoError(h.t, err)
		return true
	}))
	return state
}

// foldForked folds on a fork from a revision on, and checks that the original stays as it was.
func (h *history) foldForked(ctx context.Context, at events.Revision) *events.State {
	base := h.fold(ctx, events.Query{To: at})
	before := base.Hash()
	fork := base.Fork()
	require.NoError(h.t, h.ledger.Read(ctx, events.Query{From: at + 1}, func(e events.Event) bool {
		_, err := fork.Apply(e)
		require.NoError(h.t, err)
		return true
	}))
	require.Equal(h.t, before, base.Hash(), "a fork's changes are its own")
	return fork
}

// sameGuards checks what Hash leaves out: what the next event of each facet has to expect, of objects that are gone too.
func (h *history) sameGuards(a, b *events.State, name string) {
	for _, make := range kinds {
		for i := range namesPerKind {
			ref, err := a.RefOf(make(h, i))
			require.NoError(h.t, err)
			for _, f := range []events.Facet{events.Desired, events.Assigned, events.Observed} {
				require.Equal(h.t, a.Slot(ref).Expect(f), b.Slot(ref).Expect(f), "%s: %s of %s", name, f, ref)
			}
		}
	}
}

func (h *history) append(ctx context.Context, proposals []events.Proposal) {
	if len(proposals) == 0 {
		return
	}
	events.Audit{Actor: "user:random", Basis: h.state.Revision(), At: time.UnixMilli(h.random.Int64N(1e12))}.Sign(proposals)
	var revision events.Revision
	if h.random.IntN(4) == 0 {
		for i, r := range h.ledger.AppendEach(ctx, proposals) {
			require.NoError(h.t, r.Err, "proposal %d", i)
			revision = r.Revision
		}
	} else {
		var err error
		revision, err = h.ledger.Append(ctx, proposals...)
		require.NoError(h.t, err)
	}
	var err error
	h.state, err = h.view.WaitFor(ctx, revision)
	require.NoError(h.t, err)
}

// namesPerKind is small, so that names come again.
const namesPerKind = 3

// kinds make an object number i of each kind.
var kinds = []func(h *history, i int) runtime.Object{
	func(h *history, i int) runtime.Object {
		return &corev1.Pod{ObjectMeta: h.meta("default", i), Spec: corev1.PodSpec{HostNetwork: h.random.IntN(2) == 0, Hostname: fmt.Sprint(h.random.IntN(100))},
			Status: corev1.PodStatus{Phase: corev1.PodPending, Message: fmt.Sprint(h.random.IntN(100))}}
	},
	func(h *history, i int) runtime.Object {
		return &corev1.Node{ObjectMeta: h.meta("", i), Spec: corev1.NodeSpec{Unschedulable: h.random.IntN(2) == 0},
			Status: corev1.NodeStatus{Phase: corev1.NodeRunning, NodeInfo: corev1.NodeSystemInfo{MachineID: fmt.Sprint(h.random.IntN(100))}}}
	},
	func(h *history, i int) runtime.Object {
		return &corev1.ConfigMap{ObjectMeta: h.meta("other", i), Data: map[string]string{"a": fmt.Sprint(h.random.IntN(100)), "b": "x"}}
	},
	func(h *history, i int) runtime.Object {
		replicas := h.random.Int32N(9)
		return &appsv1.Deployment{ObjectMeta: h.meta("default", i), Spec: appsv1.DeploymentSpec{Replicas: &replicas},
			Status: appsv1.DeploymentStatus{ReadyReplicas: h.random.Int32N(9)}}
	},
}

func (h *history) meta(namespace string, i int) metav1.ObjectMeta {
	h.uids++
	return metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("n.%d", i), UID: types.UID(fmt.Sprint("uid-", h.uids)),
		OwnerReferences: []metav1.OwnerReference{{UID: types.UID(fmt.Sprint("uid-", h.random.IntN(h.uids)))}}}
}

// step decides on what happens next: mostly one thing, now and then several about different objects.
func (h *history) step() []events.Proposal {
	count := 1
	if h.random.IntN(5) == 0 {
		count += h.random.IntN(6)
	}
	var out []events.Proposal
	seen := map[events.Ref]bool{}
	for range count {
		obj := kinds[h.random.IntN(len(kinds))](h, h.random.IntN(namesPerKind))
		ref, err := h.state.RefOf(obj)
		require.NoError(h.t, err)
		if !seen[ref] {
			seen[ref] = true
			out = append(out, h.happen(ref, obj)...)
		}
	}
	return out
}

func (h *history) happen(ref events.Ref, obj runtime.Object) []events.Proposal {
	o, live := h.state.Get(ref)
	var p events.Proposal
	switch pick := h.random.IntN(10); {
	case !live && h.state.Slot(ref) != nil && pick < 2:
		// A late word about an object that has ended: it must never become part of a later one.
		p = events.Observe(h.state.Slot(ref), obj, "LateReport")
	case !live:
		created := events.Create(h.state, obj, "Created")
		if pick < 5 {
			return []events.Proposal{created}
		}
		return []events.Proposal{created, events.ObserveNew(h.state, obj, "Observed")}
	case pick < 2:
		p = events.Remove(o, "Deleted")
	case pick < 5:
		p = events.Observe(o, obj, "StatusChanged", "status")
	case pick < 7 && ref.Resource == "pods":
		p = events.Place(o, events.Placement{Node: fmt.Sprint("n.", h.random.IntN(3))}, "PodBound")
	default:
		changed := o.Typed().DeepCopyObject()
		m := changed.(metav1.Object)
		m.SetLabels(map[string]string{"l": fmt.Sprint(h.random.IntN(100))})
		p = events.Alter(o, changed, "LabelsChanged", "metadata.labels")
	}
	if h.random.IntN(3) == 0 {
		p = p.With(events.Note{Reason: "Because", Message: fmt.Sprint("message ", h.random.IntN(3)), Warning: h.random.IntN(2) == 0})
	}
	return []events.Proposal{p}
}
