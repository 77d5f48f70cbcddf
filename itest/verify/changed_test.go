package verify

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/scheduler"
	"github.com/wakehq/wake/services/verify"
)

// changed is a decider whose decisions are altered.
type changed struct {
	runner.Decider
	alter func(in runner.Input, d *runner.Decision)
}

func (c changed) Fold(change events.Change) {
	if folder, ok := c.Decider.(runner.Folder); ok {
		folder.Fold(change)
	}
}

func (c changed) Holds(key events.Ref) bool {
	sharer, ok := c.Decider.(runner.Sharer)
	return !ok || sharer.Holds(key)
}

func (c changed) Decide(in runner.Input) runner.Decision {
	d := c.Decider.Decide(in)
	c.alter(in, &d)
	return d
}

// with returns the deciders of a cluster, those of one name changed.
func with(name string, alter func(in runner.Input, d *runner.Decision)) func() []runner.Decider {
	return func() []runner.Decider {
		all := deciders()
		for i, d := range all {
			if d.Name() == name {
				all[i] = changed{d, alter}
			}
		}
		return all
	}
}

// history is a cluster with a past, on which nothing is lost but by kills.
func history(t *testing.T, test func(c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 42, small, withDelays)
		c.day(2 * time.Minute)
		report := c.verified(deciders)
		require.Zero(t, report.Diverged, report.Divergences)
		test(c)
	})
}

// bound returns the pods' placements in the order in which they were recorded.
func (c *cluster) bound() (placed []events.Event) {
	require.NoError(c, c.ledger.Read(c.Context(), events.Query{}, func(e events.Event) bool {
		if e.Type == scheduler.PodBound {
			placed = append(placed, e)
		}
		return true
	}))
	return placed
}

// A scheduler that packs nodes where the recorded one spread pods over them is found, and the first pod that it would have put elsewhere.
func TestAChangedScoreIsFound(t *testing.T) {
	history(t, func(c *cluster) {
		packs := func() []runner.Decider {
			return decidersWith(scheduler.NewWith(scheduler.Config{Strategy: scheduler.MostAllocated}))
		}
		report := c.verified(packs)
		require.NotZero(t, report.Moved)
		first := report.FirstMoved
		t.Log(first.String())
		require.Equal(t, []string{"scheduler", scheduler.PodBound}, []string{first.Service, first.Recorded.Type})
		node := first.Fields[0]
		require.Equal(t, "assigned.node", node.Path)
		require.NotEqual(t, node.Recorded, node.Now)

		for _, e := range c.bound() {
			if e.Revision == first.Revision {
				require.Equal(t, first.Recorded.Object, e.Ref.String())
				require.Contains(t, string(e.Payload), `"node":"`+node.Recorded.(string)+`"`)
			}
		}
		for i := range report.Divergences { // all that were placed before are placed there again, if for other reasons
			if d := &report.Divergences[i]; d.Revision < first.Revision {
				require.Equal(t, verify.Told, d.Kind, d.String())
			}
		}
		for _, s := range report.Services {
			require.Equal(t, s.Name == "scheduler", s.Diverged > 0, "%+v", s)
		}
	})
}

// One change of one event of one decision, whatever it is, is found, and only that.
func TestAnyChangeOfADecisionIsFound(t *testing.T) {
	type alteration struct {
		service string
		kind    verify.Kind
		path    string
		alter   func(p *events.Proposal)
	}
	const drop, add = "drop", "add"
	for name, a := range map[string]alteration{
		"type":          {"job", verify.Differs, "event.type", func(p *events.Proposal) { p.Type = "JobProgressing" }},
		"note":          {"garbage", verify.Told, "event.note", func(p *events.Proposal) { p.Note = &events.Note{Reason: "Other"} }},
		"uid":           {"namespace", verify.Differs, "event.uid", func(p *events.Proposal) { p.UID += "0" }},
		"changed":       {"service-addresses", verify.Differs, "event.changed", func(p *events.Proposal) { p.Changed = append(p.Changed, "spec.other") }},
		"tombstone":     {"endpoints", verify.Differs, "event.tombstone", func(p *events.Proposal) { p.Tombstone = !p.Tombstone }},
		"cause":         {"node", verify.Differs, "event.cause", func(p *events.Proposal) { p.Cause = 1 }},
		"facet":         {"node", verify.Absent, "", func(p *events.Proposal) { p.Facet = events.Assigned }},
		"name":          {"endpoints", verify.Absent, "event.object", func(p *events.Proposal) { p.Ref.Name += "x" }},
		"payload":       {"replication", verify.Differs, "status.replicas", recount},
		"payload bytes": {"replication", verify.Differs, "payload", func(p *events.Proposal) { p.Payload = append(bytes.Clone(p.Payload), 0xf8, 0x07, 0x01) }},
		drop:            {"job", verify.Absent, "", nil},
		add:             {"replication", verify.Added, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			history(t, func(c *cluster) {
				var at events.Revision // of the one decision that is altered
				alter := func(in runner.Input, d *runner.Decision) {
					groups := d.Together
					for i := range d.Each {
						groups = append(groups, d.Each[i:i+1])
					}
					if at != 0 || len(groups) == 0 || !suits(name, &groups[0][0], in) {
						return
					}
					at = in.State.Revision()
					switch name {
					case drop:
						d.Together, d.Each = nil, nil
					case add:
						extra := groups[0][0]
						extra.Ref.Name += "-too"
						d.Together[0] = append(d.Together[0], extra)
					default:
						a.alter(&groups[0][0])
					}
				}
				report := c.verified(with(a.service, alter))
				require.NotZero(t, at, "no decision to alter")
				require.NotEmpty(t, report.Divergences)
				for i := range report.Divergences {
					d := &report.Divergences[i]
					t.Log(d.String())
					require.Equal(t, []any{a.kind, a.service, at}, []any{d.Kind, d.Service, d.Basis})
					if a.path != "" {
						require.Contains(t, paths(d), a.path)
					}
				}
				if name != drop {
					require.Equal(t, 1, report.Diverged)
				}
			})
		})
	}
}

// suits says whether the first event of a decision lends itself to an alteration.
func suits(name string, p *events.Proposal, in runner.Input) bool {
	switch name {
	case "payload", "payload bytes":
		return p.Ref.Resource == "replicasets" && p.Facet == events.Observed
	case "cause":
		return p.Cause > 1 || p.Ref.Resource == "nodes" && in.State.Revision() > 100
	}
	return true
}

func recount(p *events.Proposal) {
	at := bytes.IndexByte(p.Payload, 0x08) // the field replicas comes first
	p.Payload = bytes.Clone(p.Payload)
	p.Payload[at+1]++
}

func paths(d *verify.Divergence) (paths []string) {
	for _, f := range d.Fields {
		paths = append(paths, f.Path)
	}
	return paths
}

// What a decision adds outside of batches may have been lost on the way; it is counted and stands out.
func TestAdditionsStandOut(t *testing.T) {
	history(t, func(c *cluster) {
		tainted := 0
		report := c.verified(with("node", func(in runner.Input, d *runner.Decision) {
			if len(d.Each) > 0 {
				if o, ok := in.State.Get(events.Ref{Resource: "namespaces", Name: "default"}); ok {
					tainted++
					d.Each = append(d.Each, events.Alter(o, o.Typed().(*corev1.Namespace), "NamespaceTold"))
				}
			}
		}))
		require.Zero(t, report.Diverged)
		require.NotZero(t, tainted)
		for _, u := range report.Unrecorded {
			if u.Type == "NamespaceTold" {
				require.Equal(t, tainted, u.Unexplained)
				require.Equal(t, "namespaces/default", u.First.Object)
				return
			}
		}
		t.Fatal("nothing is told of the additions", report.Unrecorded)
	})
}

// A decider that falls over, and a service that this code doesn't know, are told.
func TestWhatCannotBeDecidedAgainIsTold(t *testing.T) {
	history(t, func(c *cluster) {
		report := c.verified(with("garbage", func(runner.Input, *runner.Decision) { panic("as asked") }))
		require.Equal(t, []any{verify.Failed, "garbage"}, []any{report.Divergences[0].Kind, report.Divergences[0].Service})
		require.Contains(t, report.Divergences[0].String(), "as asked")

		total := c.verified(deciders)
		without := c.verified(func() []runner.Decider { return deciders()[1:] })
		require.Zero(t, without.Diverged)
		require.Equal(t, []verify.NotVerified{{Service: "scheduler", Reason: verify.UnknownService, Events: recorded(&total) - recorded(&without),
			First: without.NotVerified[0].First}}, without.NotVerified)
	})
}
