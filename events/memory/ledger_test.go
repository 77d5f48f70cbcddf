package memory_test

import (
	"testing"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/conformance"
	"github.com/wakehq/wake/events/memory"
)

func open(*testing.T) events.Ledger { return memory.New(memory.Faults{}) }

func TestConformance(t *testing.T) { conformance.Run(t, open) }

func TestHistories(t *testing.T) { conformance.Histories(t, 1000, open) }
