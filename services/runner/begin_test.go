package runner

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

var newRegistry = sync.OnceValues(schemas.NewRegistry)

// accountant keeps account of which ConfigMaps there are.
type accountant map[string]int

func (a accountant) Name() string                                       { return "accountant" }
func (a accountant) Keys(c events.Change, _ *events.State) []events.Ref { return []events.Ref{c.Ref()} }
func (a accountant) Decide(Input) Decision                              { return Decision{} }

func (a accountant) Fold(c events.Change) {
	if c.Old != nil {
		a[c.Old.Ref.Name]--
	}
	if c.New != nil {
		a[c.New.Ref.Name]++
	}
}

// A runner that fell so far behind that changes were lost to it goes on from the present, and its decider's accounts are right.
func TestBeginAgainShowsOnlyWhatDiffers(t *testing.T) {
	registry, err := newRegistry()
	require.NoError(t, err)
	state := events.NewState(registry)
	apply := func(p events.Proposal) {
		p.Revision, p.Actor = state.Revision()+1, "user:tester"
		_, err := state.Apply(p.Event)
		require.NoError(t, err)
	}
	config := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-of-" + name)}}
	}
	object := func(name string) *events.Object {
		o, ok := state.Get(events.Ref{Resource: "configmaps", Namespace: "default", Name: name})
		require.True(t, ok)
		return o
	}
	accounts := accountant{}
	seat := NewSeat(accounts, registry)
	for _, name := range []string{"ended", "changed", "same"} {
		apply(events.Create(state, config(name), "ConfigMapCreated"))
	}
	seat.Begin(state.Fork())
	require.Equal(t, accountant{"ended": 1, "changed": 1, "same": 1}, accounts)
	for range 3 {
		_, _ = seat.Take()
	}

	apply(events.Remove(object("ended"), "ConfigMapDeleted"))
	apply(events.Alter(object("changed"), config("changed"), "ConfigMapChanged"))
	apply(events.Create(state, config("new"), "ConfigMapCreated"))
	seat.Begin(state.Fork())
	require.Equal(t, accountant{"ended": 0, "changed": 1, "same": 1, "new": 1}, accounts)
	var asked []string
	for turn, ok := seat.Take(); ok; turn, ok = seat.Take() {
		asked = append(asked, turn.Key.Name)
	}
	require.Equal(t, []string{"ended", "changed", "new"}, asked)
}
