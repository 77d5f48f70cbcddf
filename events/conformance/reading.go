package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/wakehq/wake/events"
)

func followEmpty(t *testing.T, l events.Ledger) {
	for _, start := range []events.Start{{}, {Present: true}} {
		require.Empty(t, followUntil(t, l, start, whenLoaded), "an empty ledger is loaded at once")
	}
	ready := make(chan struct{})
	var writer sync.WaitGroup
	defer writer.Wait()
	writer.Go(func() {
		<-ready
		_, err := l.Append(deadline(t), pod("a", "1", 0))
		assert.NoError(t, err)
	})
	got := followUntil(t, l, events.Start{Present: true}, func(all []events.Event, b events.Batch) bool {
		if b.Loaded && len(all) == 0 {
			close(ready)
		}
		return len(all) == 1
	})
	require.Equal(t, []string{"desired/a@1"}, names(got))
}

func followPresent(t *testing.T, l events.Ledger) {
	var a events.Revision
	for range 5 {
		a = append1(t, l, pod("a", "1", a))
	}
	append1(t, l, pod("b", "1", 0))
	status := pod("a", "1", 0)
	status.Facet = events.Observed
	append1(t, l, status)
	end := pod("b", "1", 6)
	end.Tombstone, end.Payload = true, nil
	append1(t, l, end)
	got := followUntil(t, l, events.Start{Present: true}, whenLoaded)
	require.Equal(t, []string{"desired/a@5", "observed/a@7", "desired/b@8"}, names(got))
	require.True(t, got[2].Tombstone)
	require.Len(t, followUntil(t, l, events.Start{}, whenLoaded), 8)
}

func followAfter(t *testing.T, l events.Ledger) {
	for i := range 10 {
		append1(t, l, pod(fmt.Sprint("p", i), "1", 0))
	}
	got := followUntil(t, l, events.Start{After: 7}, whenLoaded)
	require.Equal(t, []string{"desired/p7@8", "desired/p8@9", "desired/p9@10"}, names(got))
	require.Empty(t, followUntil(t, l, events.Start{After: 10}, whenLoaded))
	require.Error(t, l.Follow(deadline(t), events.Start{After: 11}, func(events.Batch) error { return nil }), "the ledger is shorter than what was seen of it")
}

// followUnderWriters has followers begin while writers append, and checks that none misses or repeats anything.
func followUnderWriters(t *testing.T, l events.Ledger) {
	const writers, each, followers = 3, 150, 6
	for i := range 50 {
		append1(t, l, pod(fmt.Sprint("before", i), "1", 0))
	}
	const total = 50 + writers*each
	var group errgroup.Group
	for writer := range writers {
		group.Go(func() error {
			var last events.Revision
			for i := range each {
				p := pod(fmt.Sprintf("w%d", writer), "1", last) // one facet, again and again
				if i%2 == 0 {
					p = pod(fmt.Sprintf("w%d-%d", writer, i), "1", 0)
				}
				revision, err := l.Append(t.Context(), p)
				if err != nil {
					return err
				}
				if i%2 == 1 {
					last = revision
				}
			}
			return nil
		})
	}
	for follower := range followers {
		group.Go(func() error {
			present := follower%2 == 0
			held := map[string]events.Revision{}
			var previous events.Revision
			loaded := false
			err := l.Follow(deadline(t), events.Start{Present: present}, func(b events.Batch) error {
				for _, e := range b.Events {
					if (loaded || !present) && e.Revision != previous+1 {
						return fmt.Errorf("event %d after %d", e.Revision, previous)
					}
					previous = e.Revision
					held[e.Ref.Name] = e.Revision
					loaded = loaded || present && e.Revision == b.Revision && b.Loaded
				}
				previous, loaded = max(previous, b.Revision), b.Loaded
				if previous == total {
					return errEnough
				}
				return nil
			})
			if !errors.Is(err, errEnough) {
				return err
			}
			if want := 50 + writers*(each/2+1); len(held) != want {
				return fmt.Errorf("%d objects of %d", len(held), want)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
}

// followWholeBatches wants followers to see what was appended together, together: half of it is what nobody meant.
func followWholeBatches(t *testing.T, l events.Ledger) {
	const appends, each, followers = 40, 12, 4
	ends := make([][]events.Revision, followers) // of what was delivered
	var group errgroup.Group
	for follower := range followers {
		group.Go(func() error {
			err := l.Follow(deadline(t), events.Start{Present: follower%2 == 0}, func(b events.Batch) error {
				ends[follower] = append(ends[follower], b.Revision)
				if b.Revision == appends*(each+1) {
					return errEnough
				}
				return nil
			})
			if !errors.Is(err, errEnough) {
				return err
			}
			return nil
		})
	}
	whole := map[events.Revision]bool{0: true} // revisions at which nothing is halved
	for i := range appends {
		proposals := make([]events.Proposal, each)
		for k := range proposals {
			proposals[k] = pod(fmt.Sprintf("p%d-%d", i, k), "1", 0)
		}
		last, err := l.Append(t.Context(), proposals...)
		require.NoError(t, err)
		whole[last] = true
		whole[append1(t, l, pod(fmt.Sprintf("single%d", i), "1", 0))] = true
	}
	require.NoError(t, group.Wait())
	for _, revisions := range ends {
		for _, revision := range revisions {
			require.True(t, whole[revision], "a follower was given what there is up to %d, in the middle of a batch", revision)
		}
	}
}

func followDeliverFails(t *testing.T, l events.Ledger) {
	append1(t, l, pod("a", "1", 0))
	failure := errors.New("no more")
	require.ErrorIs(t, l.Follow(deadline(t), events.Start{}, func(events.Batch) error { return failure }), failure)
}

func reads(t *testing.T, l events.Ledger) {
	deployment := events.Ref{Group: "apps", Resource: "deployments", Namespace: "other", Name: "web"}
	node := events.Ref{Resource: "nodes", Name: "n1"}
	propose := func(f events.Facet, r events.Ref, expect events.Revision) {
		append1(t, l, events.Proposal{Expect: expect, Event: events.Event{Facet: f, Ref: r, UID: "u", Type: "Happened"}})
	}
	propose(events.Desired, podRef("a"), 0)  // 1
	propose(events.Desired, deployment, 0)   // 2
	propose(events.Assigned, podRef("a"), 0) // 3
	propose(events.Desired, podRef("a"), 1)  // 4
	propose(events.Desired, node, 0)         // 5
	propose(events.Observed, podRef("a"), 0) // 6
	propose(events.Desired, deployment, 2)   // 7
	propose(events.Desired, podRef("b"), 0)  // 8
	propose(events.Observed, podRef("a"), 6) // 9
	a, core, apps, desired, observed := podRef("a"), "", "apps", events.Desired, events.Observed
	for name, c := range map[string]struct {
		q    events.Query
		want []events.Revision
	}{
		"all":                            {events.Query{}, []events.Revision{1, 2, 3, 4, 5, 6, 7, 8, 9}},
		"range":                          {events.Query{From: 3, To: 5}, []events.Revision{3, 4, 5}},
		"from":                           {events.Query{From: 8}, []events.Revision{8, 9}},
		"to":                             {events.Query{To: 2}, []events.Revision{1, 2}},
		"to beyond the end":              {events.Query{From: 9, To: 99}, []events.Revision{9}},
		"from beyond the end":            {events.Query{From: 10}, nil},
		"upside down":                    {events.Query{From: 5, To: 4}, nil},
		"object":                         {events.Query{Ref: &a}, []events.Revision{1, 3, 4, 6, 9}},
		"object in a range":              {events.Query{Ref: &a, From: 2, To: 6}, []events.Revision{3, 4, 6}},
		"object that is not there":       {events.Query{Ref: &events.Ref{Resource: "pods", Namespace: "x", Name: "a"}}, nil},
		"cluster-scoped object":          {events.Query{Ref: &node}, []events.Revision{5}},
		"facet":                          {events.Query{Facet: &observed}, []events.Revision{6, 9}},
		"facet of an object":             {events.Query{Ref: &a, Facet: &desired}, []events.Revision{1, 4}},
		"core group":                     {events.Query{Group: &core}, []events.Revision{1, 3, 4, 5, 6, 8, 9}},
		"group":                          {events.Query{Group: &apps}, []events.Revision{2, 7}},
		"resource":                       {events.Query{Resource: "pods"}, []events.Revision{1, 3, 4, 6, 8, 9}},
		"namespace":                      {events.Query{Namespace: "other"}, []events.Revision{2, 7}},
		"resource and facet":             {events.Query{Group: &core, Resource: "pods", Facet: &desired}, []events.Revision{1, 4, 8}},
		"last per facet":                 {events.Query{LastPerFacet: true}, []events.Revision{3, 4, 5, 7, 8, 9}},
		"last per facet to":              {events.Query{LastPerFacet: true, To: 6}, []events.Revision{2, 3, 4, 5, 6}},
		"last per facet to the end":      {events.Query{LastPerFacet: true, To: 9}, []events.Revision{3, 4, 5, 7, 8, 9}},
		"last per facet from":            {events.Query{LastPerFacet: true, From: 5}, []events.Revision{5, 7, 8, 9}},
		"last per facet from to":         {events.Query{LastPerFacet: true, From: 3, To: 6}, []events.Revision{3, 4, 5, 6}},
		"object as it was":               {events.Query{LastPerFacet: true, To: 8, Ref: &a}, []events.Revision{3, 4, 6}},
		"object as it is":                {events.Query{LastPerFacet: true, Ref: &a}, []events.Revision{3, 4, 9}},
		"object before it was":           {events.Query{LastPerFacet: true, To: 4, Ref: &node}, nil},
		"namespace as it was":            {events.Query{LastPerFacet: true, To: 6, Namespace: "other"}, []events.Revision{2}},
		"a kind's facet, as it was then": {events.Query{LastPerFacet: true, To: 3, Resource: "pods", Facet: &desired}, []events.Revision{1}},
	} {
		var got []events.Revision
		for _, e := range read(t, l, c.q) {
			got = append(got, e.Revision)
		}
		require.Equal(t, c.want, got, name)
	}
}

func readStops(t *testing.T, l events.Ledger) {
	for i := range 20 {
		append1(t, l, pod(fmt.Sprint("p", i), "1", 0))
	}
	for _, q := range []events.Query{{}, {LastPerFacet: true}, {LastPerFacet: true, To: 15}} {
		seen := 0
		require.NoError(t, l.Read(deadline(t), q, func(events.Event) bool {
			seen++
			return seen < 3
		}))
		require.Equal(t, 3, seen)
	}
	many := make([]events.Proposal, 1500) // more subjects than the broker looks up at once
	for i := range many {
		many[i] = pod(fmt.Sprint("many", i), "1", 0)
	}
	for _, r := range l.AppendEach(deadline(t), many) {
		require.NoError(t, r.Err)
	}
	append1(t, l, pod("last", "1", 0))
	require.Len(t, read(t, l, events.Query{LastPerFacet: true, To: 1520}), 1520)
}

func positions(t *testing.T, l events.Ledger) {
	ctx := deadline(t)
	revision, at, err := l.Last(ctx)
	require.NoError(t, err)
	require.Zero(t, revision)
	require.True(t, at.IsZero())
	revision, err = l.RevisionAt(ctx, time.Now())
	require.NoError(t, err)
	require.Zero(t, revision)
	for i := range 5 {
		append1(t, l, pod(fmt.Sprint("p", i), "1", 0))
	}
	all := read(t, l, events.Query{})
	revision, at, err = l.Last(ctx)
	require.NoError(t, err)
	require.Equal(t, events.Revision(5), revision)
	require.True(t, at.Equal(all[4].Stored))
	want := func(t0 time.Time) (want events.Revision) {
		for _, e := range all {
			if !e.Stored.After(t0) {
				want = e.Revision
			}
		}
		return want
	}
	for _, e := range all {
		for _, offset := range []time.Duration{-1, 0, 1} {
			got, err := l.RevisionAt(ctx, e.Stored.Add(offset))
			require.NoError(t, err)
			require.Equal(t, want(e.Stored.Add(offset)), got, "%d ns from event %d", offset, e.Revision)
		}
	}
	for t0, want := range map[time.Time]events.Revision{time.Now().Add(time.Hour): 5, all[0].Stored.Add(-time.Hour): 0} {
		got, err := l.RevisionAt(ctx, t0)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func setAside(t *testing.T, l events.Ledger) {
	raw, ok := l.(RawWriter)
	if !ok {
		t.Skip("this ledger takes no raw messages")
	}
	append1(t, l, pod("a", "1", 0))
	require.NoError(t, raw.Raw("ledger.desired.core.pods.default.foreign", nil, []byte("no headers")))
	require.NoError(t, raw.Raw("ledger.desired.core.pods.default.newer", map[string]string{events.HeaderType: "PodDreamt", events.HeaderUID: "1", events.HeaderSchema: "2"}, nil))
	require.NoError(t, raw.Raw("ledger.nonsense", map[string]string{events.HeaderType: "X", events.HeaderUID: "1", events.HeaderSchema: "1"}, nil))
	append1(t, l, pod("b", "1", 0))
	for _, start := range []events.Start{{}, {Present: true}} {
		var aside []events.SetAside
		got := followUntil(t, l, start, func(_ []events.Event, b events.Batch) bool {
			aside = append(aside, b.SetAside...)
			return b.Loaded
		})
		require.Equal(t, []string{"desired/a@1", "desired/b@5"}, names(got))
		require.Len(t, aside, 3)
		require.Equal(t, events.Revision(2), aside[0].Revision)
		require.Contains(t, aside[1].Reason, "newer")
		require.Equal(t, "ledger.nonsense", aside[2].Subject)
	}
	require.Len(t, read(t, l, events.Query{}), 2)
	require.Len(t, read(t, l, events.Query{LastPerFacet: true}), 2)
	require.Len(t, read(t, l, events.Query{LastPerFacet: true, To: 4}), 1)
	_, err := l.Append(context.WithoutCancel(deadline(t)), pod("newer", "1", 0))
	require.ErrorIs(t, err, events.ErrConflict, "what can't be understood is not overwritten")
}
