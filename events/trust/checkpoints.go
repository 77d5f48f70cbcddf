package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/wakehq/wake/events"
)

// Mark is what the chain came to at a revision: short enough to be kept elsewhere by a person.
type Mark struct {
	Revision events.Revision `json:"revision"`
	Chain    events.Digest   `json:"chain"`
}

// String gives "<revision>:<digest>".
func (m Mark) String() string { return fmt.Sprintf("%d:%s", m.Revision, m.Chain) }

// ParseMark reads what Mark.String gives.
func ParseMark(text string) (Mark, error) {
	var m Mark
	number, digest, ok := strings.Cut(text, ":")
	revision, err := strconv.ParseUint(number, 10, 64)
	if err == nil && ok {
		err = m.Chain.UnmarshalText([]byte(digest))
	}
	if err != nil || !ok {
		return m, fmt.Errorf("checkpoint %q: want <revision>:<digest>, such as 1042:%s…", text, strings.Repeat("e3", 4))
	}
	m.Revision = revision
	return m, nil
}

// Checkpoint is a signed Mark.
type Checkpoint struct {
	Mark
	Time time.Time `json:"time"`
}

// Break is a break that a person accepted: from Revision on a new chain begins.
type Break struct {
	Revision events.Revision `json:"revision"`
	Until    events.Revision `json:"until"` // the ledger's end at that time: up to here it was taken as it was
	Reason   string          `json:"reason"`
	Who      string          `json:"who"`
	Time     time.Time       `json:"time"`
	Found    *Finding        `json:"found"` // what was accepted
}

// The kinds of lines in the checkpoints.
const (
	linePin        = "pin"
	lineCheckpoint = "checkpoint"
	lineBreak      = "break"
)

// entry is what a line says. Every entry anchors the chain: it came to Chain at Revision.
type entry struct {
	Line string `json:"line"`
	Checkpoint
	Previous events.Digest     `json:"previous"` // SHA-256 of the line before, without its end
	Cluster  string            `json:"cluster,omitempty"`
	Key      ed25519.PublicKey `json:"key,omitempty"`
	Break    *Break            `json:"break,omitempty"`
}

// signedLine is a line: an entry, byte by byte as it was signed.
type signedLine struct {
	Entry     json.RawMessage `json:"entry"`
	Signature []byte          `json:"signature"`
}

// signatureContext keeps a signature from meaning anything elsewhere.
const signatureContext = "wake-checkpoint-1\x00"

func (e *entry) sign(key ed25519.PrivateKey) ([]byte, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	line, err := json.Marshal(signedLine{body, ed25519.Sign(key, append([]byte(signatureContext), body...))})
	if err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	return append(line, '\n'), nil
}

// parseLine reads a line. With a nil key it must be a pin, whose own key counts.
func parseLine(line []byte, key ed25519.PublicKey) (entry, error) {
	var signed signedLine
	var e entry
	err := json.Unmarshal(line, &signed)
	if err == nil {
		err = json.Unmarshal(signed.Entry, &e)
	}
	if err != nil {
		return e, errors.New("it is damaged")
	}
	if key == nil {
		key = e.Key
	}
	switch {
	case len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, append([]byte(signatureContext), signed.Entry...), signed.Signature):
		return e, errors.New("its signature is wrong")
	case e.Line == lineBreak && e.Break == nil:
		return e, errors.New("it is damaged")
	}
	return e, nil
}

// headMark is the content of the head file. It is written after each line, so it may be one line behind.
type headMark struct {
	Lines    int             `json:"lines"`
	Last     events.Digest   `json:"last"` // of that many lines, the SHA-256 of the last
	Revision events.Revision `json:"revision"`
}

// checkpoints is the content of the checkpoints file.
type checkpoints struct {
	pin      entry
	entries  []entry // the valid ones after the pin
	breaks   []Break
	lines    int
	last     events.Digest // of the last line
	size     int64         // without a torn last line
	findings []Finding
	accepted []Finding // found, but before a break

	distrusted bool // the last line was not the notary's
}

func checkpointsPath(dir string) string { return filepath.Join(dir, "checkpoints") }
func headPath(dir string) string        { return filepath.Join(dir, "head") }

// readCheckpoints reads and verifies dir's checkpoints. The head is read first: a notary may be writing. Error: fs.ErrNotExist if there are none.
func readCheckpoints(dir string) (*checkpoints, error) {
	head, headErr := readHead(dir)
	content, err := os.ReadFile(checkpointsPath(dir))
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoints: %w", err)
	}
	c := &checkpoints{}
	headSeen := errors.Is(headErr, fs.ErrNotExist)
	for {
		line, rest, whole := bytes.Cut(content, []byte("\n"))
		if !whole {
			break // empty, or torn
		}
		content = rest
		c.size += int64(len(line)) + 1
		if err := c.take(line); err != nil {
			return nil, err
		}
		headSeen = headSeen || c.lines == head.Lines && c.last == head.Last
	}
	if c.lines == 0 {
		return nil, fmt.Errorf("reading the checkpoints: no line is whole: %w", fs.ErrNotExist)
	}
	c.compareHead(head, headErr, headSeen)
	return c, nil
}

func readHead(dir string) (h headMark, err error) {
	content, err := os.ReadFile(headPath(dir))
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal(content, &h)
}

// take takes the next line.
func (c *checkpoints) take(line []byte) error {
	previous, distrusted := c.last, c.distrusted
	c.distrusted = false
	c.lines++
	c.last = sha256.Sum256(line)
	e, err := parseLine(line, c.pin.Key)
	switch {
	case c.lines == 1 && (err != nil || e.Line != linePin):
		return finding(KeyMismatch, 0, 0, remedyAnew, "the first line of the checkpoints does not pin a key: it was altered.")
	case c.lines == 1:
		c.pin = e
		return nil
	case err != nil:
		c.distrusted = true
		c.findings = append(c.findings, finding(CheckpointForged, c.end()+1, 0, remedyTrust, "line %d of the checkpoints is not the notary's: %v.", c.lines, err))
		return nil
	case e.Line == lineBreak && e.Previous != previous: // an old one, put in again: it must not excuse anything
		c.distrusted = true
		c.findings = append(c.findings, finding(CheckpointForged, c.end()+1, 0, remedyTrust, "line %d of the checkpoints accepts a break, but was not written there.", c.lines))
		return nil
	case e.Line == lineBreak:
		c.accepted, c.findings = append(c.accepted, c.findings...), nil
		c.breaks = append(c.breaks, *e.Break)
	case e.Previous != previous && !distrusted: // else that is told already
		c.findings = append(c.findings, finding(CheckpointsCut, c.end()+1, e.Revision, remedyTrust, "lines of the checkpoints are gone before line %d.", c.lines))
	}
	c.entries = append(c.entries, e)
	return nil
}

// end is the revision that the last valid entry speaks of.
func (c *checkpoints) end() events.Revision {
	if len(c.entries) == 0 {
		return c.pin.Revision
	}
	return c.entries[len(c.entries)-1].Revision
}

func (c *checkpoints) compareHead(head headMark, err error, seen bool) {
	absent := errors.Is(err, fs.ErrNotExist)
	switch {
	case absent && c.lines > 1 || err != nil && !absent:
		c.findings = append(c.findings, finding(CheckpointsCut, c.end()+1, 0, remedyTrust,
			"the head file, which tells how many checkpoints there are at least, is gone or damaged; %d lines are left, up to revision %d.", c.lines, c.end()))
	case !absent && head.Lines > c.lines:
		c.findings = append(c.findings, finding(CheckpointsCut, c.end()+1, head.Revision, remedyTrust,
			"%d of %d lines of the checkpoints are gone, those after revision %d.", head.Lines-c.lines, head.Lines, c.end()))
	case !seen:
		c.findings = append(c.findings, finding(CheckpointForged, head.Revision, 0, remedyTrust, "line %d of the checkpoints is not the one that was written there.", head.Lines))
	}
}

// checkpointLog appends to the checkpoints.
type checkpointLog struct {
	dir   string
	key   ed25519.PrivateKey
	file  *os.File
	size  int64
	lines int
	last  events.Digest
}

func openCheckpointLog(dir string, key ed25519.PrivateKey, c *checkpoints) (*checkpointLog, error) {
	f, err := os.OpenFile(checkpointsPath(dir), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the checkpoints: %w", err)
	}
	return &checkpointLog{dir: dir, key: key, file: f, size: c.size, lines: c.lines, last: c.last}, nil
}

// append signs e and writes it durably. What a failed append left behind is written over by the next.
func (l *checkpointLog) append(e entry) error {
	e.Previous = l.last
	line, err := e.sign(l.key)
	if err != nil {
		return err
	}
	if err := l.write(line); err != nil {
		return fmt.Errorf("writing the checkpoint of revision %d: %w", e.Revision, err)
	}
	l.size += int64(len(line))
	l.lines++
	l.last = sha256.Sum256(line[:len(line)-1])
	head, err := json.Marshal(headMark{l.lines, l.last, e.Revision})
	if err == nil {
		err = writeWhole(headPath(l.dir), append(head, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing down that there are %d checkpoints: %w", l.lines, err)
	}
	return nil
}

func (l *checkpointLog) write(line []byte) error {
	if err := l.file.Truncate(l.size); err != nil {
		return err
	}
	if _, err := l.file.WriteAt(line, l.size); err != nil {
		return err
	}
	return l.file.Sync()
}
