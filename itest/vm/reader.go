package vm

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What the first process writes before and after the job's output, each on a line of its own. Jobs don't write control characters.
const (
	startMark = "\x1ejob starts"
	endMark   = "\x1ejob ended "
)

// reader passes on the lines of a job and watches for the marks.
type reader struct {
	out   io.Writer
	start time.Time

	mu           sync.Mutex
	line         []byte // not complete yet
	begun, ended bool
	boot, run    time.Duration
	exit         int
	failed       error
}

// Write implements io.Writer. An error of the writer behind it doesn't stop the machine.
func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line = append(r.line, p...)
	for {
		at := bytes.IndexByte(r.line, '\n')
		if at < 0 {
			return len(p), nil
		}
		r.take(string(r.line[:at+1]))
		r.line = r.line[at+1:]
	}
}

// take handles a line. Output that doesn't end a line may stand before the end mark.
func (r *reader) take(line string) {
	switch before, status, isEnd := strings.Cut(line, endMark); {
	case isEnd && r.begun:
		r.pass(before)
		r.exit, r.failed = strconv.Atoi(strings.TrimSpace(status))
		r.ended, r.run = r.failed == nil, time.Since(r.start)-r.boot
	case strings.HasPrefix(line, startMark):
		r.begun, r.boot = true, time.Since(r.start)
	case r.begun:
		r.pass(line)
	}
}

func (r *reader) pass(text string) {
	if text != "" {
		_, _ = io.WriteString(r.out, text)
	}
}

func (r *reader) result() (result Result, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Result{Exit: r.exit, Boot: r.boot, Run: r.run}, r.ended
}
