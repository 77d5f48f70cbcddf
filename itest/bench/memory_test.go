package bench

import (
	"testing"
	"time"
)

// BenchmarkIdle tells what memory a "wake up" without work, node agent included, holds after a minute.
func BenchmarkIdle(b *testing.B) {
	for b.Loop() {
		p := newProcess(b, "--node-name", "bench")
		b.ReportMetric(p.start().Seconds(), "s-to-ready")
		time.Sleep(time.Minute) // idleness is what is measured
		b.ReportMetric(p.memory("VmRSS"), "MiB")
		p.purge()
	}
}
