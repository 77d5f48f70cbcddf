package trust_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/highwayhash"
	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/broker"
	"github.com/wakehq/wake/events/jetstream"
	"github.com/wakehq/wake/events/trust"
)

// The tests here tamper with the files of a real broker. A block file of its store is a row of records:
//
//	length 4 (high bit: has headers) | sequence 8 | time 8 | subject length 2 | subject | headers length 4 | headers | payload | checksum 8

const (
	olderEnd   = 1000 // where the older copy of the data directory ends
	storedEnd  = 3000
	bodyBytes  = 8 << 10 // so that there are several blocks of 8 MiB
	recordHead = 22
	sumBytes   = 8
)

// place is a cluster's directories on disk.
type place struct{ data, trust string }

func (p place) key() string { return filepath.Join(p.data, "trust.key") }

func (p place) copy(t testing.TB) place {
	t.Helper()
	root := t.TempDir()
	to := place{filepath.Join(root, "wake"), filepath.Join(root, "wake.trust")}
	require.NoError(t, os.CopyFS(to.data, os.DirFS(p.data)))
	require.NoError(t, os.CopyFS(to.trust, os.DirFS(p.trust)))
	return to
}

// run runs a broker on p and passes its ledger to do.
func (p place) run(t testing.TB, do func(l *jetstream.Ledger)) {
	t.Helper()
	b, err := broker.Start(broker.Config{Dir: filepath.Join(p.data, "ledger"), Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	conn, err := b.Ledger()
	require.NoError(t, err)
	l, err := jetstream.Open(t.Context(), conn, jetstream.Config{})
	require.NoError(t, err)
	do(l)
	require.NoError(t, l.Close())
	conn.Close()
	require.NoError(t, b.Close())
}

func (p place) notary(t testing.TB, l *jetstream.Ledger) *trust.Notary {
	t.Helper()
	n, err := trust.Open(trust.Config{Dir: p.trust, KeyFile: p.key(), Cluster: "c1", Ledger: l, Stall: 15 * time.Second, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return n
}

func (p place) witness(t testing.TB, l *jetstream.Ledger) {
	t.Helper()
	n := p.notary(t, l)
	require.NoError(t, n.Witness(t.Context()))
	require.NoError(t, n.Sign())
	require.Nil(t, n.Status().Broken)
	require.NoError(t, n.Close())
}

// write appends events up to a revision. Their payloads are of equal length and say which they are.
func write(t testing.TB, l *jetstream.Ledger, history string, to int) {
	t.Helper()
	last, _, err := l.Last(t.Context())
	require.NoError(t, err)
	var proposals []events.Proposal
	for i := int(last) + 1; i <= to; i++ {
		name := fmt.Sprintf("%s%06d", history, i)
		body := strings.Repeat(name+" ", bodyBytes/(len(name)+1))
		proposals = append(proposals, events.Proposal{Event: events.Event{Ref: events.Ref{Resource: "configmaps", Namespace: "default", Name: name}, UID: "u-" + name,
			Type: "ConfigMapCreated", Actor: "user:test", Payload: []byte(body), ID: "id-" + name}})
	}
	for _, r := range l.AppendEach(t.Context(), proposals) {
		require.NoError(t, r.Err)
	}
}

// stored returns a cluster with storedEnd events, all witnessed, and an older copy of it.
func stored(t *testing.T) (now, older place) {
	root := t.TempDir()
	now = place{filepath.Join(root, "wake"), filepath.Join(root, "wake.trust")}
	now.run(t, func(l *jetstream.Ledger) {
		write(t, l, "a", olderEnd)
		now.witness(t, l)
	})
	older = now.copy(t)
	now.run(t, func(l *jetstream.Ledger) {
		write(t, l, "a", storedEnd)
		now.witness(t, l)
	})
	return now, older
}

// block is a block file of the store.
type block struct {
	path    string
	index   int
	content []byte
	records []stored1
}

// stored1 is where a record lies in its block, in bytes.
type stored1 struct {
	revision                     events.Revision
	start, subject, payload, end int // payload ends sumBytes before end
}

func (p place) blocks(t testing.TB) (out []*block) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(p.messages(t), "*.blk"))
	require.NoError(t, err)
	for i := range paths {
		b := &block{index: i + 1}
		b.path = filepath.Join(p.messages(t), fmt.Sprintf("%d.blk", b.index))
		b.content, err = os.ReadFile(b.path)
		require.NoError(t, err)
		for at := 0; at < len(b.content); {
			le := binary.LittleEndian
			length := le.Uint32(b.content[at:])
			r := stored1{revision: le.Uint64(b.content[at+4:]), start: at, subject: at + recordHead, end: at + int(length&^(1<<31))}
			r.payload = r.subject + int(le.Uint16(b.content[at+20:]))
			r.payload += 4 + int(le.Uint32(b.content[r.payload:]))
			b.records = append(b.records, r)
			at = r.end
		}
		out = append(out, b)
	}
	require.Len(t, out, 4)
	return out
}

// messages is the directory of the stream's block files.
func (p place) messages(t testing.TB) (dir string) {
	found, err := filepath.Glob(filepath.Join(p.data, "ledger", "jetstream", "*", "streams", jetstream.StreamName, "msgs"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

// find returns the block and the record of a revision.
func find(t testing.TB, blocks []*block, revision events.Revision) (*block, *stored1) {
	for _, b := range blocks {
		for i := range b.records {
			if b.records[i].revision == revision {
				return b, &b.records[i]
			}
		}
	}
	require.Fail(t, "no such revision")
	return nil, nil
}

func (b *block) write(t testing.TB) { require.NoError(t, os.WriteFile(b.path, b.content, 0o600)) }

// sum makes a record's checksum what the server expects: its key is known to everybody.
func (b *block) sum(t testing.TB, r *stored1) {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", jetstream.StreamName, b.index))
	h, err := highwayhash.New64(key[:])
	require.NoError(t, err)
	subjectEnd := r.subject + int(binary.LittleEndian.Uint16(b.content[r.start+20:]))
	for _, part := range [][]byte{b.content[r.start+4 : r.start+20], b.content[r.subject:subjectEnd], b.content[subjectEnd+4 : r.end-sumBytes]} {
		_, _ = h.Write(part) // never fails
	}
	copy(b.content[r.end-sumBytes:r.end], h.Sum(nil))
}

// dropIndex makes the server read all blocks as it starts, as it does after a crash.
func (p place) dropIndex(t testing.TB) {
	require.NoError(t, os.Remove(filepath.Join(p.messages(t), "index.db")))
}

func TestTamperingWithTheStoreIsNamed(t *testing.T) {
	now, older := stored(t)
	lastOf := func(p place, block int) events.Revision {
		records := p.blocks(t)[block-1].records
		return records[len(records)-1].revision
	}
	endOfFirst, endOfSecond, endOfThird := lastOf(now, 1), lastOf(now, 2), lastOf(now, 3)
	olderData := func(t *testing.T, p place) {
		require.NoError(t, os.RemoveAll(filepath.Join(p.data, "ledger")))
		require.NoError(t, os.CopyFS(filepath.Join(p.data, "ledger"), os.DirFS(filepath.Join(older.data, "ledger"))))
	}
	for name, test := range map[string]struct {
		tamper        func(t *testing.T, p place)
		kind          trust.FindingKind
		from, through events.Revision
	}{
		"untouched":                     {tamper: func(*testing.T, place) {}},
		"untouched, without an index":   {tamper: func(t *testing.T, p place) { p.dropIndex(t) }},
		"bit flipped":                   {func(t *testing.T, p place) { flipBit(t, p, 234) }, trust.Missing, 234, 0},
		"bit flipped, then a crash":     {func(t *testing.T, p place) { flipBit(t, p, 234); p.dropIndex(t) }, trust.Missing, 234, endOfFirst},
		"bit flipped in the last block": {func(t *testing.T, p place) { flipBit(t, p, storedEnd-7) }, trust.Missing, storedEnd - 7, 0},
		"tail cut off":                  {func(t *testing.T, p place) { truncate(t, p, storedEnd-9) }, trust.TailCut, storedEnd - 9, storedEnd},
		"tail cut off, then a crash":    {func(t *testing.T, p place) { truncate(t, p, storedEnd-9); p.dropIndex(t) }, trust.TailCut, storedEnd - 9, storedEnd},
		"older copy":                    {olderData, trust.TailCut, olderEnd + 1, storedEnd},
		"older copy that went on": {func(t *testing.T, p place) {
			olderData(t, p)
			p.run(t, func(l *jetstream.Ledger) { write(t, l, "b", olderEnd+50) })
		}, trust.OlderCopy, olderEnd + 1, storedEnd},
		"older copy that went on for longer": {func(t *testing.T, p place) {
			olderData(t, p)
			p.run(t, func(l *jetstream.Ledger) { write(t, l, "b", storedEnd+50) })
		}, trust.OlderCopy, olderEnd + 1, storedEnd},
		"first block deleted":                        {deleteBlock(1), trust.Missing, 1, endOfFirst},
		"middle block deleted":                       {deleteBlock(2), trust.Missing, endOfFirst + 1, endOfSecond},
		"middle block deleted, then a crash":         {func(t *testing.T, p place) { deleteBlock(2)(t, p); p.dropIndex(t) }, trust.Missing, endOfFirst + 1, endOfSecond},
		"last block deleted":                         {deleteBlock(4), trust.TailCut, endOfThird + 1, storedEnd},
		"payload forged":                             {func(t *testing.T, p place) { forge(t, p, 1234) }, trust.Altered, 1234, 0},
		"payload forged, then a crash":               {func(t *testing.T, p place) { forge(t, p, 1234); p.dropIndex(t) }, trust.Altered, 1234, 0},
		"events swapped":                             {func(t *testing.T, p place) { swap(t, p, 1111, 1222) }, trust.Reordered, 1111, 1222},
		"events swapped across blocks, then a crash": {func(t *testing.T, p place) { swap(t, p, 55, 1222); p.dropIndex(t) }, trust.Reordered, 55, 1222},
		"events erased":                              {func(t *testing.T, p place) { erase(t, p, 500); erase(t, p, 501); p.dropIndex(t) }, trust.Missing, 500, 501},
		"beginning purged through the broker's API": {func(t *testing.T, p place) {
			p.run(t, func(l *jetstream.Ledger) { require.NoError(t, l.Trim(t.Context(), 500)) })
		}, trust.Missing, 1, 500},
		"everything deleted": {func(t *testing.T, p place) { require.NoError(t, os.RemoveAll(filepath.Join(p.data, "ledger"))) }, trust.TailCut, 1, storedEnd},
	} {
		t.Run(name, func(t *testing.T) {
			p := now.copy(t)
			test.tamper(t, p)
			p.run(t, func(l *jetstream.Ledger) {
				began := time.Now()
				r, err := trust.Check(t.Context(), l, trust.Options{Dir: p.trust, Stall: 15 * time.Second})
				require.NoError(t, err)
				t.Logf("%d events in %s", r.Events, time.Since(began).Round(time.Millisecond))
				for _, f := range r.Findings {
					t.Log(f)
				}
				if test.kind == "" {
					require.Empty(t, r.Findings)
					require.EqualValues(t, storedEnd, r.Proven)
					return
				}
				require.NotNil(t, r.FirstFinding())
				f := *r.FirstFinding()
				require.Equal(t, []any{test.kind, test.from, test.through}, []any{f.Kind, f.Revision, f.Through})
			})
		})
	}
}

// One event that can't be read doesn't hide those after it: neither from who reads all of history nor from who loads the present.
func TestADamagedEventDoesNotHideOthers(t *testing.T) {
	p, _ := stored(t)
	for _, revision := range []events.Revision{234, 235, 1600} {
		flipBit(t, p, revision)
	}
	p.run(t, func(l *jetstream.Ledger) {
		read, loaded := 0, 0
		require.NoError(t, l.Read(t.Context(), events.Query{}, func(events.Event) bool { read++; return true }))
		require.Equal(t, storedEnd-3, read)
		done := errors.New("done")
		err := l.Follow(t.Context(), events.Start{Present: true}, func(b events.Batch) error {
			if loaded += len(b.Events); b.Loaded {
				return done
			}
			return nil
		})
		require.ErrorIs(t, err, done)
		require.Equal(t, storedEnd-3, loaded)
	})
}

// The server may refuse such a store, serve a part of it or begin an empty one: a check must end and say that what was witnessed isn't there.
func TestAStoreThatDoesNotLoadIsFound(t *testing.T) {
	now, _ := stored(t)
	for name, test := range map[string]func(t *testing.T, p place){
		"stream's description damaged": func(t *testing.T, p place) { damage(t, filepath.Join(filepath.Dir(p.messages(t)), "meta.inf"), 20) },
		"stream's description gone": func(t *testing.T, p place) {
			require.NoError(t, os.Remove(filepath.Join(filepath.Dir(p.messages(t)), "meta.inf")))
		},
		"length of a record damaged": func(t *testing.T, p place) {
			b, r := find(t, p.blocks(t), 1234)
			damage(t, b.path, r.start+1)
		},
		"length of a record damaged, then a crash": func(t *testing.T, p place) {
			b, r := find(t, p.blocks(t), 1234)
			damage(t, b.path, r.start+1)
			p.dropIndex(t)
		},
		"sequence of a record damaged": func(t *testing.T, p place) {
			b, r := find(t, p.blocks(t), 1234)
			damage(t, b.path, r.start+4)
		},
		"index damaged":     func(t *testing.T, p place) { damage(t, filepath.Join(p.messages(t), "index.db"), 20) },
		"block overwritten": func(t *testing.T, p place) { b := p.blocks(t)[1]; clear(b.content); b.write(t) },
		"block of another":  func(t *testing.T, p place) { all := p.blocks(t); all[1].content = all[2].content; all[1].write(t) },
		"blocks interchanged": func(t *testing.T, p place) {
			all := p.blocks(t)
			all[0].content, all[1].content = all[1].content, all[0].content
			all[0].write(t)
			all[1].write(t)
			p.dropIndex(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := now.copy(t)
			test(t, p)
			p.run(t, func(l *jetstream.Ledger) {
				began := time.Now()
				r, err := trust.Check(t.Context(), l, trust.Options{Dir: p.trust, Stall: 15 * time.Second})
				require.NoError(t, err)
				t.Logf("%d events in %s: %v", r.Events, time.Since(began).Round(time.Millisecond), r.Findings)
				require.Equal(t, r.Proven == storedEnd, len(r.Findings) == 0)
			})
		})
	}
}

func damage(t testing.TB, path string, at int) {
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	content[at] ^= 4
	require.NoError(t, os.WriteFile(path, content, 0o600))
}

// A restored backup is found as the cluster starts, and the cluster goes on with it once that is accepted.
func TestARestoredCopyIsAccepted(t *testing.T) {
	p, older := stored(t)
	require.NoError(t, os.RemoveAll(p.data))
	require.NoError(t, os.CopyFS(p.data, os.DirFS(older.data)))
	p.run(t, func(l *jetstream.Ledger) {
		write(t, l, "b", olderEnd+50)
		n := p.notary(t, l)
		require.NoError(t, n.Witness(t.Context()))
		f := n.Status().Broken
		require.NotNil(t, f)
		require.Equal(t, []any{trust.OlderCopy, events.Revision(olderEnd + 1)}, []any{f.Kind, f.Revision})
		_, err := n.Accept(t.Context(), "restored last night's backup", "ann")
		require.NoError(t, err)
		require.NoError(t, n.Close())
	})
	p.run(t, func(l *jetstream.Ledger) {
		write(t, l, "b", olderEnd+100)
		p.witness(t, l)
		r, err := trust.Check(t.Context(), l, trust.Options{Dir: p.trust})
		require.NoError(t, err)
		require.Empty(t, r.Findings)
		require.EqualValues(t, olderEnd+100, r.Proven)
		require.Equal(t, "restored last night's backup", r.Breaks[0].Reason)
	})
}

// While a notary witnesses and writers write, nothing is found.
func TestCheckingBesideANotary(t *testing.T) {
	root := t.TempDir()
	p := place{filepath.Join(root, "wake"), filepath.Join(root, "wake.trust")}
	p.run(t, func(l *jetstream.Ledger) {
		n, err := trust.Open(trust.Config{Dir: p.trust, KeyFile: p.key(), Cluster: "c1", Ledger: l, Poll: 5 * time.Millisecond, Every: 15 * time.Millisecond})
		require.NoError(t, err)
		write(t, l, "a", 10)
		require.NoError(t, n.Witness(t.Context()))
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := n.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		running.Go(func() {
			for to := 50; to <= storedEnd; to += 50 {
				write(t, l, "a", to)
			}
			stop()
		})
		for checks := 0; ctx.Err() == nil; checks++ {
			r, err := trust.Check(t.Context(), l, trust.Options{Dir: p.trust})
			require.NoError(t, err)
			require.Empty(t, r.Findings, "check %d", checks)
		}
		running.Wait()
		require.Nil(t, n.Status().Broken)
		require.NoError(t, n.Close())
		r, err := trust.Check(t.Context(), l, trust.Options{Dir: p.trust})
		require.NoError(t, err)
		require.Empty(t, r.Findings)
		require.EqualValues(t, storedEnd, r.Proven)
	})
}

func flipBit(t testing.TB, p place, revision events.Revision) {
	b, r := find(t, p.blocks(t), revision)
	b.content[r.payload+100] ^= 1
	b.write(t)
}

// truncate cuts the store off in the middle of a revision.
func truncate(t testing.TB, p place, revision events.Revision) {
	b, r := find(t, p.blocks(t), revision)
	require.NoError(t, os.Truncate(b.path, int64(r.payload+100)))
}

func deleteBlock(index int) func(*testing.T, place) {
	return func(t *testing.T, p place) { require.NoError(t, os.Remove(p.blocks(t)[index-1].path)) }
}

// forge changes an event so that the server takes it for sound.
func forge(t testing.TB, p place, revision events.Revision) {
	b, r := find(t, p.blocks(t), revision)
	copy(b.content[r.payload:], "mallory")
	b.sum(t, r)
	b.write(t)
}

// swap lets two events change places so that the server takes them for sound.
func swap(t testing.TB, p place, x, y events.Revision) {
	blocks := p.blocks(t)
	bx, rx := find(t, blocks, x)
	by, ry := find(t, blocks, y)
	require.Equal(t, rx.end-rx.start, ry.end-ry.start)
	// All but the sequence moves; the time, which the server expects to ascend, stays.
	cx, cy := bx.content[rx.subject:rx.end-sumBytes], by.content[ry.subject:ry.end-sumBytes]
	was := string(cx)
	copy(cx, cy)
	copy(cy, was)
	bx.sum(t, rx)
	by.sum(t, ry)
	bx.write(t)
	by.write(t)
}

// erase marks a record as deleted, as the server itself would.
func erase(t testing.TB, p place, revision events.Revision) {
	b, r := find(t, p.blocks(t), revision)
	b.content[r.start+11] |= 1 << 7
	b.sum(t, r)
	b.write(t)
}
