package events_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
)

var (
	podNames = []string{"a", "b", "c", "d"}
	owners   = []types.UID{"owner-1", "owner-2"}
	nodes    = []string{"", "n1", "n2"}
)

// history draws events as a ledger may hold them; with some that can't be decoded, if bad.
func history(t *rapid.T, bad bool) (all []*events.Event) {
	state := events.NewState(registry())
	for range rapid.IntRange(1, 60).Draw(t, "events") {
		e := drawn(t, state, bad).Event
		e.Revision, e.Actor = state.Revision()+1, "user:test"
		e.Stored, e.At = time.Unix(int64(e.Revision), 0).UTC(), time.Unix(int64(e.Revision), 0).UTC()
		_, _ = state.Apply(e)
		all = append(all, &e)
	}
	return all
}

func drawn(t *rapid.T, state *events.State, bad bool) (p events.Proposal) {
	ref := podRef(rapid.SampledFrom(podNames).Draw(t, "name"))
	fresh := aPod(ref.Name, fmt.Sprint("uid-", state.Revision()))
	fresh.OwnerReferences = []metav1.OwnerReference{{UID: rapid.SampledFrom(owners).Draw(t, "owner")}}
	o, live := state.Get(ref)
	switch step := rapid.SampledFrom([]string{"place", "report", "remove", "relabel", "late", "unknown"}).Draw(t, "step"); {
	case step == "unknown" && bad:
		return events.Proposal{Event: events.Event{Ref: events.Ref{Resource: "wishes", Name: "w"}, UID: "w", Type: "Wished"}}
	case step == "late" && state.Slot(ref).Expect(events.Desired) != 0:
		p = events.Proposal{Event: events.Event{Ref: ref, UID: "earlier", Facet: events.Assigned, Type: "PodBound", Payload: []byte(`{"node":"n2"}`)}}
	case !live:
		p = events.Create(state, fresh, "PodCreated")
	case step == "place":
		p = events.Place(o, events.Placement{Node: rapid.SampledFrom(nodes[1:]).Draw(t, "node")}, "PodBound")
	case step == "remove":
		p = events.Remove(o, "PodDeleted")
	case step == "relabel":
		changed := o.Typed().DeepCopyObject().(*corev1.Pod)
		changed.Labels, changed.OwnerReferences = map[string]string{"at": fmt.Sprint(state.Revision())}, fresh.OwnerReferences
		p = events.Alter(o, changed, "PodChanged")
	default:
		changed := o.Typed().DeepCopyObject().(*corev1.Pod)
		changed.Status.Message = fmt.Sprint(state.Revision())
		p = events.Observe(o, changed, "PodStatusChanged")
	}
	if rapid.Bool().Draw(t, "noted") {
		p = p.With(events.Note{Reason: "Told", Message: rapid.SampledFrom([]string{"this", "that"}).Draw(t, "message")})
	}
	if bad && rapid.IntRange(0, 3).Draw(t, "bad") == 0 && !p.Tombstone {
		p.Payload = []byte("\xff\xff not what it should be")
	}
	return p
}

// lastPerFacet leaves out what was superseded.
func lastPerFacet(all []*events.Event) (last []*events.Event) {
	seen := map[string]bool{}
	for _, e := range slices.Backward(all) {
		if subject := events.Subject(e.Facet, e.Ref); !seen[subject] {
			seen[subject] = true
			last = append(last, e)
		}
	}
	slices.Reverse(last)
	return last
}

// told is all that a State says, but for its notes unless they are asked for.
func told(t require.TestingT, s *events.State, notes bool) string {
	var b strings.Builder
	tell := func(what string, o *events.Object) {
		text, err := json.Marshal(o.Typed())
		require.NoError(t, err)
		fmt.Fprintf(&b, "%s %s %s %d %s\n", what, o.Ref, o.UID(), o.Revision(), text)
	}
	fmt.Fprintf(&b, "%d %s\n", s.Revision(), s.Time())
	for o := range s.All(pods, "") {
		tell("lives", o)
		got, ok := s.Get(o.Ref)
		require.True(t, ok)
		require.Same(t, o, got)
	}
	for _, name := range podNames {
		if o := s.Slot(podRef(name)); o != nil {
			fmt.Fprintln(&b, "slot", name, o.UID(), o.Live(), o.Expect(events.Desired), o.Expect(events.Assigned), o.Expect(events.Observed))
		}
	}
	for _, uid := range owners {
		for o := range s.Indexed(events.ByOwner, string(uid)) {
			tell("owned by "+string(uid), o)
		}
	}
	for _, node := range nodes {
		for o := range s.Indexed(events.ByNode, node) {
			tell("on "+node, o)
		}
	}
	if notes {
		for o := range s.All(events.EventsResource, "") {
			tell("note", o)
		}
	}
	return b.String()
}

func applied(all []*events.Event) (s *events.State, aside []events.SetAside) {
	s = events.NewState(registry())
	for _, e := range all {
		if _, err := s.Apply(*e); err != nil {
			aside = append(aside, events.SetAside{Revision: e.Revision, Subject: events.Subject(e.Facet, e.Ref), Reason: err.Error()})
		}
	}
	return s, aside
}

type load func(s *events.State, all []*events.Event, recent events.Recent) []events.SetAside

var loads = map[string]load{"load": (*events.State).Load, "lazily": (*events.State).LoadLazily}

// Loading, at once or piece by piece, on nothing or on what was applied, comes to what applying one by one comes to.
func TestLoadIsApply(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := history(rt, false)
		want, _ := applied(all)
		cut := rapid.IntRange(0, len(all)).Draw(rt, "cut")
		counted := rapid.Bool().Draw(rt, "counted")
		for name, load := range loads {
			for _, begin := range []string{"applied", "loaded", "lazily"} {
				s := events.NewState(registry())
				switch begin {
				case "applied":
					s, _ = applied(all[:cut])
				case "loaded":
					s.Load(all[:cut], events.Recent{})
				case "lazily":
					s.LoadLazily(all[:cut], events.Recent{})
				}
				before := told(rt, s, true)
				if counted {
					s.Hash() // from now on it is kept up
				}
				fork := s.Fork()
				require.Empty(rt, load(s, all[cut:], events.Recent{}))
				require.Equal(rt, want.Hash(), s.Hash(), "%s on %s", name, begin)
				require.Equal(rt, told(rt, want, true), told(rt, s, true), "%s on %s", name, begin)
				require.Equal(rt, before, told(rt, fork, true), "a fork stays")

				for _, e := range all[cut:] {
					_, err := fork.Apply(*e)
					require.NoError(rt, err)
				}
				require.Equal(rt, want.Hash(), fork.Hash(), "applied on %s", begin)
				require.Equal(rt, told(rt, want, true), told(rt, fork, true), "applied on %s", begin)
			}
			present := events.NewState(registry())
			require.Empty(rt, load(present, lastPerFacet(all), events.Recent{}))
			require.Equal(rt, want.Hash(), present.Hash(), "%s of the present", name)
			require.Equal(rt, told(rt, want, false), told(rt, present, false), "%s of the present", name)
		}
	})
}

// What can't be decoded is as if it had not been, and eager loading says so.
func TestLoadLeavesOutWhatIsBad(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		last := lastPerFacet(history(rt, true))
		want, aside := applied(last)
		for name, load := range loads {
			s := events.NewState(registry())
			said := load(s, last, events.Recent{})
			require.Equal(rt, told(rt, want, false), told(rt, s, false), name)
			if name == "load" {
				slices.SortFunc(said, func(a, b events.SetAside) int { return int(a.Revision) - int(b.Revision) })
				require.Len(rt, said, len(aside))
				for i := range said {
					require.Equal(rt, aside[i].Revision, said[i].Revision)
				}
				require.Equal(rt, want.Hash(), s.Hash())
			}
		}
	})
}

// TestLazyStatesInParallel is for the race detector: readers of one lazily loaded state and of its forks, while another fork goes on.
func TestLazyStatesInParallel(t *testing.T) {
	w := newTeller(t)
	var all []*events.Event
	for i := range 300 {
		pod := aPod(fmt.Sprint("p", i), fmt.Sprint("uid-", i))
		pod.OwnerReferences = []metav1.OwnerReference{{UID: "owner"}}
		p := events.Create(w.state, pod, "PodCreated")
		w.tell(p)
		e := p.Event
		e.Revision = w.state.Revision()
		all = append(all, &e)
	}
	s := events.NewState(registry())
	require.Empty(t, s.LoadLazily(all, events.Recent{}))
	mine := &teller{t, s.Fork()}
	var readers sync.WaitGroup
	for i := range 6 {
		from := s
		if i%2 == 0 {
			from = s.Fork()
		}
		readers.Go(func() {
			first, _ := from.Get(podRef("p0"))
			again, _ := s.Get(podRef("p0"))
			if first == nil || first != again || len(namesIn(from)) != 300 || from.Hash() != w.state.Hash() ||
				len(slices.Collect(from.Indexed(events.ByOwner, "owner"))) != 300 || len(slices.Collect(from.Indexed(events.ByNode, ""))) != 300 {
				t.Error("a reader got something else")
			}
		})
	}
	for i := range 100 {
		mine.tell(events.Remove(mine.get(fmt.Sprint("p", i)), "PodDeleted"))
	}
	readers.Wait()
	require.Len(t, slices.Collect(mine.state.Indexed(events.ByOwner, "owner")), 200)
	require.Equal(t, 300, s.Count(pods))
}
