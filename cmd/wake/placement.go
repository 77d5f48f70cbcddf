package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/wakehq/wake/events"
)

// placedOn returns the node that an event placed a pod on, if it did.
func placedOn(e event) string {
	var p events.Placement
	if len(e.Placement) == 0 || json.Unmarshal(e.Placement, &p) != nil {
		return ""
	}
	return p.Node
}

// placementLines tells why a pod was placed where it is.
func placementLines(raw json.RawMessage) []string {
	var p events.Placement
	if len(raw) == 0 || json.Unmarshal(raw, &p) != nil || p.Node == "" {
		return nil
	}
	if p.Why == nil {
		return []string{"on node " + bold.Sprint(p.Node) + ", which nobody chose here: the binding came from outside"}
	}
	return append([]string{"on node " + bold.Sprint(p.Node) + ", " + choiceWords(p.Why)}, choiceLines(p.Why)...)
}

// choiceWords counts the nodes that would have done, and what ruled out the others.
func choiceWords(c *events.Choice) string {
	out := 0
	for _, n := range c.Out {
		out += n
	}
	var text string
	switch fit := c.Nodes - out; {
	case fit == 0:
		text = fmt.Sprintf("none of %s would do", count(c.Nodes, "node", "nodes"))
	case c.Nodes == 1:
		text = "the only node"
	case fit == 1:
		text = fmt.Sprintf("the only one of %d nodes that would do", c.Nodes)
	case out == 0:
		text = fmt.Sprintf("the best of %d nodes, all of which would do", c.Nodes)
	default:
		text = fmt.Sprintf("the best of the %d of %d nodes that would do", fit, c.Nodes)
	}
	reasons := sortedKeys(c.Out)
	slices.SortStableFunc(reasons, func(a, b string) int { return cmp.Compare(c.Out[b], c.Out[a]) })
	for i, reason := range reasons {
		reasons[i] = fmt.Sprintf("%d %s", c.Out[reason], reason)
	}
	if len(reasons) > 0 {
		text += "; ruled out: " + strings.Join(reasons, ", ")
	}
	return text
}

// choiceLines tells the best candidates with their scores, and the nearest misses.
func choiceLines(c *events.Choice) []string {
	var out []string
	name, score := 0, 0
	for _, t := range c.Top {
		name, score = max(name, len(t.Node)), max(score, len(fmt.Sprint(t.Score())))
	}
	for i, t := range c.Top {
		if len(c.Top) == 1 {
			break // a score says something beside others only
		}
		line := fmt.Sprintf("  %-*s  %*d points: %s", name, t.Node, score, t.Score(), scoreWords(t))
		if i == 0 {
			line = bold.Sprint(line)
		}
		out = append(out, line)
	}
	for _, m := range c.Near {
		out = append(out, fmt.Sprintf("  nearest miss: %s lacks %s", m.Node, m.Lacks))
	}
	return out
}

// scoreWords names the parts of a score that count.
func scoreWords(c events.Candidate) string {
	var parts []string
	for _, part := range []struct {
		points int64
		what   string
	}{{c.Free, "room"}, {c.Prefer, "preferred node affinity"}, {c.Taints, "taints to avoid"}, {c.Mates, "pods of the same workload there"},
		{c.Zone, "the same in its zone"}, {c.Pods, "preferred pod affinity and spread"}} {
		if part.points != 0 {
			parts = append(parts, fmt.Sprintf("%+d %s", part.points, part.what))
		}
	}
	if len(parts) == 0 {
		return "nothing speaks for or against it"
	}
	return strings.Join(parts, ", ")
}

// explanationLines tells what keeps a pod from having a node, and what would make it fit.
func explanationLines(explanation any) []string {
	switch e := explanation.(type) {
	case nil:
		return nil
	case string:
		return []string{e}
	}
	return yamlLines(explanation)
}
