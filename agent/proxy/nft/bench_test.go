package nft_test

import (
	"testing"

	"github.com/wakehq/wake/agent/proxy/behaviour"
)

// BenchmarkProgramming is the time from objects to rules.
func BenchmarkProgramming(b *testing.B) { behaviour.MeasureProgramming(b, inWorld) }

// BenchmarkPath is what clients notice of the rules.
func BenchmarkPath(b *testing.B) { behaviour.Measure(b, inWorld) }
