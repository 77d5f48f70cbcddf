package vm

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// Tally counts the results in the output of a test binary that runs with -test.v, subtests included, and passes it on.
type Tally struct {
	Out                     io.Writer
	Passed, Failed, Skipped int
	// Benchmarks says that one reported something.
	Benchmarks bool
	line       []byte
}

// Write implements io.Writer.
func (t *Tally) Write(p []byte) (int, error) {
	t.line = append(t.line, p...)
	for {
		at := bytes.IndexByte(t.line, '\n')
		if at < 0 {
			return t.Out.Write(p)
		}
		t.count(strings.TrimSpace(string(t.line[:at])))
		t.line = t.line[at+1:]
	}
}

func (t *Tally) count(line string) {
	switch {
	case strings.HasPrefix(line, "--- PASS: "):
		t.Passed++
	case strings.HasPrefix(line, "--- FAIL: "):
		t.Failed++
	case strings.HasPrefix(line, "--- SKIP: "):
		t.Skipped++
	case strings.HasPrefix(line, "Benchmark") && len(strings.Fields(line)) >= 4: // name, iterations, figure, unit
		t.Benchmarks = true
	}
}

// String tells the counts.
func (t *Tally) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.Passed, t.Failed, t.Skipped)
}
