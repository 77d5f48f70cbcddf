package cluster

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/minio/highwayhash"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events/jetstream"
	"github.com/wakehq/wake/events/trust"
)

// The tests here tamper with the files of a stopped cluster as somebody with root could. A block file of the broker's store is a row of records:
//
//	length 4 (high bit: has headers) | sequence 8 | time 8 | subject length 2 | subject | headers length 4 | headers | payload | checksum 8
const (
	recordHead = 22
	sumBytes   = 8
	// deletionMark and above isn't a sequence: such a record tells of a purge.
	deletionMark = 1 << 62
)

// A chain file of the notary has a header, and a record per revision.
const (
	chainHeader = 128
	chainRecord = sha256.Size + 4
)

// resume is a cluster in a directory that has one already. It doesn't run until begin.
func resume(t *testing.T, dir string, args ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: dir, listen: freeAddress(t), args: append([]string{"--no-agent"}, args...)}
	var err error
	c.log, err = os.Create(filepath.Join(dir, "up.log"))
	require.NoError(t, err)
	t.Cleanup(c.end)
	return c
}

// copied is a copy of a stopped cluster, its data and its trust directory.
func (c *cluster) copied(t *testing.T, args ...string) *cluster {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "wake")
	require.NoError(t, os.CopyFS(dir, os.DirFS(c.dir)))
	require.NoError(t, os.CopyFS(dir+".trust", os.DirFS(c.dir+".trust")))
	return resume(t, dir, args...)
}

// writeConfigMaps creates ConfigMaps, or changes them, and returns the revision of each.
func (c *cluster) writeConfigMaps(prefix string, from, to int) (revisions map[string]uint64) {
	c.t.Helper()
	client, revisions := c.client().CoreV1().ConfigMaps("default"), map[string]uint64{}
	for i := from; i < to; i++ {
		name := fmt.Sprintf("%s-%d", prefix, i)
		m, err := client.Create(c.t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"value": name}}, metav1.CreateOptions{})
		require.NoError(c.t, err)
		revisions[name] = number(c.t, m.ResourceVersion)
	}
	return revisions
}

func number(t *testing.T, text string) (n uint64) {
	t.Helper()
	_, err := fmt.Sscan(text, &n)
	require.NoError(t, err)
	return n
}

// record is where an event lies in a block file of the store, in bytes.
type record struct {
	file                         string
	block                        int
	revision                     uint64
	start, subject, payload, end int // payload ends sumBytes before end
}

// records are those of all block files, in order.
func (c *cluster) records(t *testing.T) (out []record) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(c.dir, "ledger", "jetstream", "*", "streams", jetstream.StreamName, "msgs", "*.blk"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		index := number(t, strings.TrimSuffix(filepath.Base(file), ".blk"))
		for at := 0; at < len(content); {
			le := binary.LittleEndian
			r := record{file: file, block: int(index), revision: le.Uint64(content[at+4:]), start: at, subject: at + recordHead}
			r.end = at + int(le.Uint32(content[at:])&^(1<<31))
			r.payload = r.subject + int(le.Uint16(content[at+20:]))
			r.payload += 4 + int(le.Uint32(content[r.payload:]))
			if at = r.end; r.revision < deletionMark {
				out = append(out, r)
			}
		}
	}
	slices.SortFunc(out, func(a, b record) int { return int(a.revision) - int(b.revision) })
	return out
}

func (c *cluster) record(t *testing.T, revision uint64) record {
	t.Helper()
	records := c.records(t)
	i := slices.IndexFunc(records, func(r record) bool { return r.revision == revision })
	require.GreaterOrEqual(t, i, 0, "the store has no revision %d", revision)
	return records[i]
}

// edit changes a file in place.
func edit(t *testing.T, file string, change func(content []byte) []byte) {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, change(content), 0o600))
}

// flipPayload flips a bit of a payload, as a bad disk does: the store's own checksum is wrong then.
func (c *cluster) flipPayload(t *testing.T, revision uint64) {
	r := c.record(t, revision)
	edit(t, r.file, func(content []byte) []byte { content[r.end-sumBytes-1] ^= 1; return content })
}

// forgePayload changes a value in a payload and makes the store's checksum right: its key is known to everybody.
func (c *cluster) forgePayload(t *testing.T, revision uint64, value string) {
	r := c.record(t, revision)
	edit(t, r.file, func(content []byte) []byte {
		payload := string(content[r.payload : r.end-sumBytes])
		require.Contains(t, payload, value)
		copy(content[r.payload:], strings.Replace(payload, value, strings.Repeat("x", len(value)), 1))
		key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", jetstream.StreamName, r.block))
		sum, err := highwayhash.New64(key[:])
		require.NoError(t, err)
		end := r.subject + int(binary.LittleEndian.Uint16(content[r.start+20:]))
		for _, part := range [][]byte{content[r.start+4 : r.start+20], content[r.subject:end], content[end+4 : r.end-sumBytes]} {
			_, _ = sum.Write(part) // never fails
		}
		copy(content[r.end-sumBytes:r.end], sum.Sum(nil))
		return content
	})
}

// cutTail cuts the store off before a revision.
func (c *cluster) cutTail(t *testing.T, revision uint64) {
	r := c.record(t, revision)
	require.NoError(t, os.Truncate(r.file, int64(r.start)))
}

// dropIndex makes the broker read its store anew, as it does after a crash.
func (c *cluster) dropIndex(t *testing.T) {
	require.NoError(t, os.Remove(filepath.Join(filepath.Dir(c.records(t)[0].file), "index.db")))
}

// becomes puts the data of another copy in the place of c's; the trust directory stays.
func (c *cluster) becomes(t *testing.T, older *cluster) {
	require.NoError(t, os.RemoveAll(c.dir))
	require.NoError(t, os.CopyFS(c.dir, os.DirFS(older.dir)))
}

// found is the first finding of a verification whose record is broken.
func (c *cluster) found(t *testing.T) trust.Finding {
	t.Helper()
	v, err := c.tryVerify()
	require.ErrorContains(t, err, "the record is not what was witnessed")
	people := c.verifyForPeople()
	t.Logf("wake verify:\n%s", people)
	if v.Undecided != "" {
		require.Contains(t, v.Undecided, "put back ", "what can't be decided again is said sensibly")
	}
	for _, p := range v.Proofs {
		if len(p.Findings) > 0 {
			require.Contains(t, people, p.Findings[0].What)
			return p.Findings[0]
		}
	}
	require.Fail(t, "no finding", "%+v", v)
	return trust.Finding{}
}

// showsBroken waits until wake status says that the record is.
func (c *cluster) showsBroken() {
	c.t.Helper()
	c.eventually("wake status shows the break", func() error {
		out := c.wake("status")
		if !strings.Contains(out, "BROKEN") {
			return errors.New(out)
		}
		return nil
	})
	for line := range strings.Lines(c.wake("status")) {
		if strings.Contains(line, "BROKEN") {
			c.t.Log(strings.TrimSpace(line))
		}
	}
}

// told is a finding's kind and first revision.
func told(f trust.Finding) string { return fmt.Sprintf("%s at %d", f.Kind, f.Revision) }

// past is a stopped cluster with some hundred events, all signed for, and an older copy of it.
type past struct {
	now, older *cluster
	revisions  map[string]uint64 // of the ConfigMaps
	last       uint64
	olderLast  uint64
}

func recordedPast(t *testing.T, args ...string) *past {
	t.Helper()
	c := startIn(t, filepath.Join(t.TempDir(), "wake"), append([]string{"--no-agent"}, args...)...)
	p := &past{now: c, revisions: c.writeConfigMaps("early", 0, 150)}
	c.stop()
	p.older, p.olderLast = c.copied(t), c.lastRevision(t)
	c.begin()
	for name, revision := range c.writeConfigMaps("late", 0, 150) {
		p.revisions[name] = revision
	}
	c.stop()
	p.last = c.lastRevision(t)
	v := c.verifyClean()
	require.EqualValues(t, p.last, v.Proofs[0].Proven, "what was signed for at a clean stop is everything")
	return p
}

func (c *cluster) lastRevision(t *testing.T) uint64 {
	records := c.records(t)
	return records[len(records)-1].revision
}

func TestEachTamperingIsNamed(t *testing.T) {
	p := recordedPast(t)
	at := p.revisions["late-20"]
	require.Greater(t, at, p.olderLast)
	cut := p.last - 5
	for _, test := range []struct {
		name     string
		tamper   func(t *testing.T, c *cluster)
		expected string // while it is stopped
		started  string // while it runs; empty: the same
	}{
		{name: "a bit of a payload is flipped", tamper: func(t *testing.T, c *cluster) { c.flipPayload(t, at) }, expected: fmt.Sprintf("missing at %d", at)},
		{name: "a payload is forged", tamper: func(t *testing.T, c *cluster) { c.forgePayload(t, at, "late-20") }, expected: fmt.Sprintf("altered at %d", at)},
		{name: "the tail of the store is cut off", tamper: func(t *testing.T, c *cluster) { c.cutTail(t, cut) }, expected: fmt.Sprintf("tail-cut at %d", cut),
			started: fmt.Sprintf("missing at %d", cut)},
		{name: "the tail of the store is cut off, then a crash", tamper: func(t *testing.T, c *cluster) { c.cutTail(t, cut); c.dropIndex(t) },
			expected: fmt.Sprintf("tail-cut at %d", cut), started: fmt.Sprintf("older-copy at %d", cut)},
		{name: "an older copy of the data is restored", tamper: func(t *testing.T, c *cluster) { c.becomes(t, p.older) }, expected: fmt.Sprintf("tail-cut at %d", p.olderLast+1),
			started: fmt.Sprintf("older-copy at %d", p.olderLast+1)},
		{name: "the chain file is altered", tamper: func(t *testing.T, c *cluster) { c.alterChain(t, at) }, expected: fmt.Sprintf("chain-altered at %d", at)},
		{name: "the last checkpoints are deleted", tamper: func(t *testing.T, c *cluster) { c.dropCheckpoint(t) }, expected: fmt.Sprintf("checkpoints-cut at %d", p.now.signedBefore(t)+1)},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := p.now.copied(t)
			test.tamper(t, c)
			require.Equal(t, test.expected, told(c.found(t)))
			c.begin()
			c.writeConfigMaps("after", 0, 20)
			c.showsBroken()
			require.Equal(t, cmp.Or(test.started, test.expected), told(c.found(t)))
			c.goesOnAfterAccepting(t)
		})
	}
}

// alterChain changes the digest of a revision in the chain file.
func (c *cluster) alterChain(t *testing.T, revision uint64) {
	t.Helper()
	edit(t, filepath.Join(c.dir+".trust", "chain-0001"), func(content []byte) []byte {
		size := int64(len(content))
		records := (size - chainHeader) / chainRecord
		require.Zero(t, (size-chainHeader)%chainRecord)
		require.Greater(t, uint64(records), revision)
		content[chainHeader+int64(revision-1)*chainRecord] ^= 1
		return content
	})
}

// signedBefore is the revision that the last checkpoint but one signs.
func (c *cluster) signedBefore(t *testing.T) uint64 {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(c.dir+".trust", "checkpoints"))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	require.Greater(t, len(lines), 2)
	var line struct{ Entry struct{ Revision uint64 } }
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-2]), &line))
	require.NotZero(t, line.Entry.Revision)
	return line.Entry.Revision
}

// dropCheckpoint removes the last line of the checkpoints.
func (c *cluster) dropCheckpoint(t *testing.T) {
	edit(t, filepath.Join(c.dir+".trust", "checkpoints"), func(content []byte) []byte {
		lines := strings.SplitAfter(string(content), "\n")
		require.Greater(t, len(lines), 2)
		return []byte(strings.Join(lines[:len(lines)-2], ""))
	})
}

// goesOnAfterAccepting accepts the break: recording goes on, and who verifies later is told of it and of nothing else.
func (c *cluster) goesOnAfterAccepting(t *testing.T) {
	t.Helper()
	out := c.wake("verify", "--accept", "it was a test")
	t.Logf("wake verify --accept:\n%s", out)
	require.NotContains(t, c.wake("status"), "BROKEN")
	revisions := c.writeConfigMaps("accepted", 0, 20)
	c.stop()
	v, err := c.tryVerify()
	require.NoError(t, err)
	require.Empty(t, v.Proofs[0].Findings)
	require.Len(t, v.Proofs[0].Breaks, 1)
	require.Equal(t, "it was a test", v.Proofs[0].Breaks[0].Reason)
	require.GreaterOrEqual(t, v.Proofs[0].Signed.Revision, revisions["accepted-19"])
	people := c.verifyForPeople()
	t.Logf("wake verify later:\n%s", people)
	require.Contains(t, people, "it was a test")
	c.begin()
	require.NotContains(t, c.wake("status"), "BROKEN")
}

// segments are the archive's files with events, oldest first.
func (c *cluster) segments(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(c.dir, "archive", "segment-*.wake"))
	require.NoError(t, err)
	require.Greater(t, len(files), 1)
	return files
}

// spanOf is the first and the last revision of a segment, by its name.
func spanOf(t *testing.T, file string) (first, last uint64) {
	t.Helper()
	_, err := fmt.Sscanf(filepath.Base(file), "segment-%020d-%020d.wake", &first, &last)
	require.NoError(t, err)
	return first, last
}

// damageSegment flips a bit of a segment, at a part of its length.
func (c *cluster) damageSegment(t *testing.T, index int, at float64) {
	edit(t, c.segments(t)[index], func(content []byte) []byte { content[int(at*float64(len(content)))] ^= 1; return content })
}

func TestEachTamperingWithTheArchiveIsNamed(t *testing.T) {
	args := []string{"--segment-events", "100", "--keep-events", "50"}
	p := recordedPast(t, args...)
	p.now.begin()
	p.now.eventually("two segments are in the archive alone, and the third in the stream, too", func() error {
		if begins := p.now.streamBegins(); begins != 201 {
			return fmt.Errorf("the stream begins at %d", begins)
		}
		if n := len(p.now.segments(t)); n < 3 {
			return fmt.Errorf("the archive has %d segments", n)
		}
		return nil
	})
	p.now.stop()
	t.Logf("before:\n%s", p.now.verifyForPeople())
	first, last := spanOf(t, p.now.segments(t)[0])
	third, thirdLast := spanOf(t, p.now.segments(t)[2])
	for _, test := range []struct {
		name        string
		tamper      func(t *testing.T, c *cluster)
		kind        trust.FindingKind
		from, until uint64 // the first bad revision lies between
		refuses     bool   // to start
	}{
		{"a bit of the oldest segment's events is flipped", func(t *testing.T, c *cluster) { c.damageSegment(t, 0, 0.5) }, trust.Unreadable, first, last, false},
		{"a bit of the newest segment's events is flipped", func(t *testing.T, c *cluster) { c.damageSegment(t, 2, 0.7) }, trust.Unreadable, third, thirdLast, true},
		{"a bit of the newest segment's index is flipped", func(t *testing.T, c *cluster) { c.damageSegment(t, 2, 0.97) }, trust.Unreadable, third, thirdLast, false},
		{"a bit of the oldest segment's index is flipped", func(t *testing.T, c *cluster) { c.damageSegment(t, 0, 0.97) }, trust.Unreadable, first, last, false},
		{"an event is flipped in the stream that the archive has, too", func(t *testing.T, c *cluster) { c.flipPayload(t, thirdLast-5) }, trust.Missing, thirdLast - 5, thirdLast - 5, false},
		{"an event of the stream alone is forged", func(t *testing.T, c *cluster) { c.forgePayload(t, p.revisions["late-140"], "late-140") }, trust.Altered, p.revisions["late-140"], p.revisions["late-140"], false},
	} {
		t.Run(test.name, func(t *testing.T) {
			expected := func(f trust.Finding) {
				require.Equal(t, test.kind, f.Kind)
				require.GreaterOrEqual(t, f.Revision, test.from)
				require.LessOrEqual(t, f.Revision, test.until)
			}
			c := p.now.copied(t, args...)
			test.tamper(t, c)
			expected(c.found(t))
			if test.refuses { // what it begins with can't be read: it doesn't begin without
				out, err := c.run("", "wake", append([]string{"up", "--data-dir", c.dir, "--listen", c.listen}, c.args...)...)
				require.Error(t, err)
				require.Regexp(t, `segment-\d+-\d+\.wake is damaged: .* \(put back an undamaged copy of the file\)`, out)
				c = p.now.copied(t, args...)
				c.begin()
				test.tamper(t, c) // while it runs
			} else {
				c.begin()
			}
			c.writeConfigMaps("after", 0, 20)
			expected(c.found(t))
		})
	}
}
