package main

import (
	"encoding/json"
	"strings"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/scheduler"
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
	node := "on node " + bold.Sprint(p.Node)
	switch {
	case p.Why == nil:
		return []string{node + ", without saying why"}
	case p.Why.Nodes == 1:
		return []string{node + ", the only one"}
	}
	return append([]string{node + ":"}, indented(scheduler.Words(*p.Why))...)
}

func indented(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = "  " + l
	}
	return out
}

// pending explains a pod that has no node yet; nil for others.
func pending(state *events.State, pod events.Ref) any {
	e, err := scheduler.Explain(state, pod, scheduler.Config{})
	if err != nil || e.Node != "" {
		return nil
	}
	return e
}

// explanationLines tells what keeps a pod from having a node, unless its event said so, and what would make it fit.
func explanationLines(raw json.RawMessage, said string) []string {
	var e scheduler.Explanation
	if len(raw) == 0 || json.Unmarshal(raw, &e) != nil {
		return nil
	}
	var out []string
	switch {
	case e.Next != "":
		out = append(out, "it fits now: the scheduler's next decision puts it on "+bold.Sprint(e.Next))
	case e.Message != "" && e.Message != said:
		out = append(out, yellow.Sprint("now: "+e.Message))
	}
	if e.Why != nil {
		for _, m := range e.Why.Near {
			if miss := m.Node + " lacks " + m.Lacks; !strings.Contains(said+e.Message, miss) {
				out = append(out, "near miss: "+miss)
			}
		}
	}
	for i, r := range e.Remedies {
		if i == 0 {
			out = append(out, bold.Sprint("it would fit with one of these, what takes least first:"))
		}
		out = append(out, "  - "+r.String())
	}
	return out
}
