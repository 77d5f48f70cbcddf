package events_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
)

func TestSubject(t *testing.T) {
	for want, in := range map[string]struct {
		facet events.Facet
		ref   events.Ref
	}{
		"ledger.desired.core.pods.default.web-1":           {events.Desired, events.Ref{Resource: "pods", Namespace: "default", Name: "web-1"}},
		"ledger.observed.core.nodes._.n1=2Eexample":        {events.Observed, events.Ref{Resource: "nodes", Name: "n1.example"}},
		"ledger.assigned.core.pods.default.=2A=3E":         {events.Assigned, events.Ref{Resource: "pods", Namespace: "default", Name: "*>"}},
		"ledger.desired.networking=2Ek8s=2Eio.x.ns.=C3=A4": {events.Desired, events.Ref{Group: "networking.k8s.io", Resource: "x", Namespace: "ns", Name: "ä"}},
	} {
		require.Equal(t, want, events.Subject(in.facet, in.ref))
		facet, ref, err := events.ParseSubject(want)
		require.NoError(t, err)
		require.Equal(t, in.facet, facet)
		require.Equal(t, in.ref, ref)
	}
}

func TestParseSubjectRefuses(t *testing.T) {
	for _, subject := range []string{"", "ledger", "other.desired.core.pods.default.a", "ledger.wished.core.pods.default.a", "ledger.desired.core.pods.default",
		"ledger.desired.core.pods.default.a.b", "ledger.desired.core.pods.default.a=2", "ledger.desired.core.pods.default.a=2e", "ledger.desired.core.pods.default.="} {
		_, _, err := events.ParseSubject(subject)
		require.Error(t, err, subject)
	}
}

var refs = rapid.Custom(func(t *rapid.T) events.Ref {
	anything := rapid.StringN(1, 20, 60)
	return events.Ref{
		Group:     rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z]+\.k8s\.io`)).Draw(t, "group"),
		Resource:  anything.Draw(t, "resource"),
		Namespace: rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?`)).Draw(t, "namespace"),
		Name:      anything.Draw(t, "name"),
	}
})

var facets = rapid.SampledFrom([]events.Facet{events.Desired, events.Assigned, events.Observed})

func TestSubjectRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		facet, ref := facets.Draw(t, "facet"), refs.Draw(t, "ref")
		subject := events.Subject(facet, ref)
		require.Equal(t, 5, strings.Count(subject, "."), subject)
		require.Regexp(t, `^[A-Za-z0-9_=.-]+$`, subject)
		gotFacet, gotRef, err := events.ParseSubject(subject)
		require.NoError(t, err)
		require.Equal(t, facet, gotFacet)
		require.Equal(t, ref, gotRef)
	})
}

// TestQuerySubjects checks that a query's subjects match, as NATS matches, what the query selects, and nothing else.
func TestQuerySubjects(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		facet, ref, other := facets.Draw(t, "facet"), refs.Draw(t, "ref"), refs.Draw(t, "other")
		q := events.Query{}
		if rapid.Bool().Draw(t, "by facet") {
			q.Facet = &facet
		}
		switch rapid.IntRange(0, 4).Draw(t, "by") {
		case 1:
			q.Ref = &ref
		case 2:
			q.Group = &ref.Group
		case 3:
			q.Resource = ref.Resource
		case 4:
			q.Namespace = ref.Namespace
		}
		require.True(t, q.Selects(facet, ref))
		for _, r := range []events.Ref{ref, other} {
			for _, f := range []events.Facet{events.Desired, events.Assigned, events.Observed} {
				require.Equal(t, q.Selects(f, r), matches(q.Subjects()[0], events.Subject(f, r)), "%s %s", f, r)
			}
		}
	})
}

func matches(pattern, subject string) bool {
	want, got := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i := range want {
		if want[i] != "*" && want[i] != got[i] {
			return false
		}
	}
	return len(want) == len(got)
}
