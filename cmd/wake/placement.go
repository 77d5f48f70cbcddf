package main

import (
	"encoding/json"

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
	node := placedOn(event{Placement: raw})
	if node == "" {
		return nil
	}
	return []string{"on node " + bold.Sprint(node)}
}

// explanationLines tells what a pod waits for.
func explanationLines(explanation any) []string { return nil }
