package simulation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wakehq/wake/events"
)

// sameStep is how long after each other things of one kind happen that are not told as one any more.
const sameStep = time.Second

// Step is something that happens, to one object or to several at about the same time.
type Step struct {
	At      Span     `json:"at"`
	Until   Span     `json:"until"`
	What    What     `json:"what"`
	Text    string   `json:"text"` // "12 pods are evicted from n3"
	Objects []string `json:"objects"`
	Nodes   []Share  `json:"nodes,omitempty"` // where pods are placed
}

// Share is how many of the objects concern a node.
type Share struct {
	Node  string `json:"node"`
	Count int    `json:"count"`
}

// steps puts facts together that belong together.
func steps(facts []fact) []Step {
	facts = slices.Clone(facts)
	slices.SortStableFunc(facts, func(a, b fact) int { return cmp.Compare(a.at, b.at) })
	type topic struct {
		what    What
		subject string
	}
	open := map[topic]int{}
	var groups [][]fact
	for _, f := range facts {
		about := topic{what: f.what}
		switch f.what {
		case PodEvicted, PodUnready:
			about.subject = f.node
		case PodBlocked, RolloutStuck, ObjectRefused, PodFinished:
			about.subject = f.why
		}
		i, ok := open[about]
		if !ok || f.at-groups[i][len(groups[i])-1].at >= sameStep {
			i = len(groups)
			open[about] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], f)
	}
	out := make([]Step, len(groups))
	for i, group := range groups {
		out[i] = stepOf(group)
	}
	return out
}

func stepOf(group []fact) Step {
	s := Step{At: Span(group[0].at), Until: Span(group[len(group)-1].at), What: group[0].what}
	named, shares := map[events.Ref]bool{}, map[string]int{}
	for _, f := range group {
		if !named[f.ref] {
			named[f.ref] = true
			object := short(f.ref)
			if f.ref.GroupResource() == podsKind || f.ref.GroupResource() == nodesKind && f.what != ObjectGone {
				object = name(f.ref)
			}
			s.Objects = append(s.Objects, object)
		}
		if f.what == PodPlaced || f.what == PodReplaced {
			shares[f.node]++
		}
	}
	for node, count := range shares {
		s.Nodes = append(s.Nodes, Share{node, count})
	}
	slices.SortFunc(s.Nodes, func(a, b Share) int { return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Node, b.Node)) })
	s.Text = s.words(&group[0])
	return s
}

// sentences word what happens to several and to one: %s is how many pods, or the object's name.
var sentences = map[What][2]string{
	NodeLost:       {"%s are found lost", "%s is found lost"},
	NodeReady:      {"%s become ready", "%s becomes ready"},
	PodEvicted:     {"%s are evicted from %s", "%s is evicted from %s"},
	PodEnding:      {"%s are asked to end", "%s is asked to end"},
	PodGone:        {"%s are gone", "%s is gone"},
	PodPlaced:      {"%s are placed", "%s is placed on %s"},
	PodReplaced:    {"%s are placed as replacements", "%s is placed as a replacement on %s"},
	PodNoNode:      {"%s find no node", "%s finds no node"},
	PodReady:       {"%s become ready", "%s becomes ready"},
	PodUnready:     {"%s on %s count as not ready", "%s on %s counts as not ready"},
	PodBlocked:     {"%s can't start: %s", "%s can't start: %s"},
	PodFinished:    {"%s end as %s", "%s ends as %s"},
	RolloutDone:    {"%s have all their replicas", "%s has all its replicas"},
	RolloutStuck:   {"%s don't progress: %s", "%s doesn't progress: %s"},
	JobDone:        {"%s are complete", "%s is complete"},
	JobFailed:      {"%s fail", "%s fails"},
	ObjectGone:     {"%s are gone", "%s is gone"},
	ObjectRefused:  {"%s can't create pods: %s", "%s can't create pods: %s"},
	ServiceNoReady: {"%s have no ready endpoint any more", "%s has no ready endpoint any more"},
	ServiceReady:   {"%s have ready endpoints", "%s has ready endpoints"},
}

// mostNamed is how many objects other than pods are named in a sentence.
const mostNamed = 3

func (s *Step) words(first *fact) string {
	count := len(s.Objects)
	who := s.Objects[0]
	switch {
	case first.ref.GroupResource() == podsKind && count == 1:
		who = "pod " + who
	case first.ref.GroupResource() == podsKind:
		who = fmt.Sprintf("%d pods", count)
	case count > mostNamed:
		who = fmt.Sprintf("%d %s", count, first.ref.Resource)
		if s.What == ObjectGone {
			who = fmt.Sprintf("%d objects", count)
		}
	case count > 1:
		who = strings.Join(s.Objects[:count-1], ", ") + " and " + s.Objects[count-1]
	}
	sentence := sentences[s.What][0]
	if count == 1 {
		sentence = sentences[s.What][1]
	}
	switch {
	case s.What == PodEvicted, s.What == PodUnready, count == 1 && len(s.Nodes) > 0:
		return fmt.Sprintf(sentence, who, first.node)
	case slices.Contains([]What{PodBlocked, PodFinished, RolloutStuck, ObjectRefused}, s.What):
		return fmt.Sprintf(sentence, who, first.why)
	}
	return fmt.Sprintf(sentence, who)
}
