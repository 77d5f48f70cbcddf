package bench

import (
	"testing"
	"time"
)

// BenchmarkIdle tells what memory a "wake up" without work holds after a minute.
func BenchmarkIdle(b *testing.B) {
	for b.Loop() {
		p := newProcess(b, "--no-agent")
		began := time.Now()
		p.start()
		b.ReportMetric(time.Since(began).Seconds(), "s-to-ready")
		time.Sleep(time.Minute) // idleness is what is measured
		b.ReportMetric(p.memory("VmRSS"), "MiB")
		p.stop()
	}
}
