package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/archive"
	"github.com/wakehq/wake/events/conformance"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/events/seal"
	"github.com/wakehq/wake/events/segment"
	"github.com/wakehq/wake/events/timetravel"
	"github.com/wakehq/wake/schemas"
)

// past appends a random history of pods to ledgers, the same to each, with its view's knowledge.
type past struct {
	t        testing.TB
	registry *schemas.Registry
	random   *rand.Rand
	state    *events.State
	uids     int
}

func newPast(t testing.TB, seed uint64) *past {
	registry, err := schemas.NewRegistry()
	require.NoError(t, err)
	return &past{t: t, registry: registry, random: rand.New(rand.NewPCG(seed, 1)), state: events.NewState(registry)}
}

// next proposes what happens next to one of a few pods.
func (p *past) next() events.Proposal {
	p.uids++
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("p", p.random.IntN(5)), UID: types.UID(fmt.Sprint("uid-", p.uids))},
		Spec: corev1.PodSpec{Hostname: fmt.Sprint(p.uids)}, Status: corev1.PodStatus{Message: fmt.Sprint(p.uids)}}
	ref, err := p.state.RefOf(pod)
	require.NoError(p.t, err)
	o, live := p.state.Get(ref)
	var out events.Proposal
	switch pick := p.random.IntN(8); {
	case !live:
		out = events.Create(p.state, pod, "PodCreated")
	case pick == 0:
		out = events.Remove(o, "PodDeleted")
	case pick == 1:
		out = events.Place(o, events.Placement{Node: "n"}, "PodBound")
	default:
		out = events.Observe(o, pod, "PodStatusChanged", "status")
	}
	if p.random.IntN(4) == 0 {
		out = out.With(events.Note{Reason: "Because", Message: fmt.Sprint(p.uids)})
	}
	out.Basis, out.At, out.ID = p.state.Revision(), time.UnixMilli(int64(p.uids)), fmt.Sprint("id-", p.uids)
	return out
}

// append appends count events to the ledgers, which must take them alike.
func (p *past) append(count int, ledgers ...events.Ledger) {
	for range count {
		proposal := p.next()
		var revision events.Revision
		for _, l := range ledgers {
			var err error
			revision, err = l.Append(p.t.Context(), proposal)
			require.NoError(p.t, err)
			require.Equal(p.t, p.state.Revision()+1, revision)
		}
		e := proposal.Event
		e.Revision = revision
		_, err := p.state.Apply(e)
		require.NoError(p.t, err)
	}
}

// fold folds what q selects.
func (p *past) fold(l events.Ledger, q events.Query) *events.State {
	state := events.NewState(p.registry)
	require.NoError(p.t, l.Read(p.t.Context(), q, func(e events.Event) bool {
		_, err := state.Apply(e)
		require.NoError(p.t, err)
		return true
	}))
	return state
}

// sameHistory checks that got holds what want does at every revision, however it is asked.
func (p *past) sameHistory(want, got events.Ledger) {
	last, _, err := want.Last(p.t.Context())
	require.NoError(p.t, err)
	whole := events.NewState(p.registry)
	ref := events.Ref{Resource: "pods", Namespace: "default", Name: "p1"}
	require.NoError(p.t, want.Read(p.t.Context(), events.Query{}, func(e events.Event) bool {
		_, err := whole.Apply(e)
		require.NoError(p.t, err)
		at := e.Revision
		require.Equal(p.t, whole.Hash(), p.fold(got, events.Query{To: at, LastPerFacet: true}).Hash(), "as of %d", at)
		for _, q := range []events.Query{{Ref: &ref, To: at, LastPerFacet: true}, {Ref: &ref, To: at}, {From: at / 2, To: at, Namespace: "default"}} {
			require.Equal(p.t, p.revisions(want, q), p.revisions(got, q), "as of %d", at)
		}
		return true
	}))
	require.Equal(p.t, last, whole.Revision())
	require.NoError(p.t, got.(events.RawReader).ReadRaw(p.t.Context(), 1, 0, func(r events.Raw) bool {
		at, err := got.RevisionAt(p.t.Context(), r.Stored)
		require.NoError(p.t, err)
		require.GreaterOrEqual(p.t, at, r.Revision)
		before, err := got.RevisionAt(p.t.Context(), r.Stored.Add(-1))
		require.NoError(p.t, err)
		require.Less(p.t, before, r.Revision)
		return true
	}))
	require.Equal(p.t, whole.Hash(), p.fold(got, events.Query{}).Hash())
	view, err := events.OpenView(p.t.Context(), got, p.registry)
	require.NoError(p.t, err)
	require.Equal(p.t, whole.Hash(), view.State().Hash())
}

func (p *past) revisions(l events.Ledger, q events.Query) []events.Revision {
	var out []events.Revision
	require.NoError(p.t, l.Read(p.t.Context(), q, func(e events.Event) bool { out = append(out, e.Revision); return true }))
	return out
}

func open(t testing.TB, s stream, dir string, config archive.Config) (*archive.Ledger, *archive.Keeper) {
	t.Helper()
	a := openDir(t, dir, config)
	l, err := archive.NewLedger(t.Context(), s, a)
	require.NoError(t, err)
	return l, archive.NewKeeper(a, s)
}

func first(t testing.TB, s events.RawReader) events.Revision {
	first, _, err := s.Bounds(t.Context())
	require.NoError(t, err)
	return first
}

func TestEveryRevision(t *testing.T) {
	for seed := range uint64(10) {
		p := newPast(t, seed)
		whole, s := memory.New(memory.Faults{}), memory.New(memory.Faults{})
		l, keeper := open(t, s, t.TempDir(), busy)
		for range 12 {
			p.append(p.random.IntN(15), whole, l)
			require.NoError(t, keeper.Step(t.Context()))
		}
		require.Greater(t, first(t, s), events.Revision(20), "the stream was trimmed")
		p.sameHistory(whole, l)
		chain, last, err := l.Archive().Verify(t.Context())
		require.NoError(t, err)
		var want events.Digest
		require.NoError(t, l.ReadRaw(t.Context(), 1, last, func(r events.Raw) bool { want = want.Link(r.Digest()); return true }))
		require.Equal(t, want, chain)
	}
}

func TestRestart(t *testing.T) {
	s, dir := memory.New(memory.Faults{}), t.TempDir()
	config := archive.Config{Cluster: "test", SegmentEvents: 1, KeepEvents: 1}
	l, keeper := open(t, s, dir, config)
	conformance.Restart(t, l, func() events.Ledger {
		require.NoError(t, keeper.Step(t.Context()))
		require.Equal(t, events.Revision(2), first(t, s))
		l, _ := open(t, s, dir, config)
		return l
	})
}

// crash is a store that dies at a step: from then on nothing works, and what was being written stays behind half done.
type crash struct {
	*archive.Dir
	left int
}

var errCrash = errors.New("killed")

func (c *crash) step() error {
	if c.left--; c.left < 0 {
		return errCrash
	}
	return nil
}

func (c *crash) Create(ctx context.Context) (archive.Pending, error) {
	if err := c.step(); err != nil {
		return nil, err
	}
	p, err := c.Dir.Create(ctx)
	return &crashing{p, c}, err
}

func (c *crash) Remove(ctx context.Context, name string) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.Dir.Remove(ctx, name)
}

type crashing struct {
	archive.Pending
	store *crash
}

func (c *crashing) Write(data []byte) (int, error) {
	if err := c.store.step(); err != nil {
		n, _ := c.Pending.Write(data[:len(data)/2])
		return n, err
	}
	return c.Pending.Write(data)
}

func (c *crashing) Commit(name string) error {
	if err := c.store.step(); err != nil {
		return err
	}
	if err := c.Pending.Commit(name); err != nil {
		return err
	}
	return c.store.step() // killed right after
}

func (c *crashing) Discard() error { return nil } // the dead clean up nothing

// crashSource dies at a trim, before or after.
type crashSource struct {
	stream
	store *crash
}

func (c *crashSource) Trim(ctx context.Context, to events.Revision) error {
	if err := c.store.step(); err != nil {
		return err
	}
	if err := c.stream.Trim(ctx, to); err != nil {
		return err
	}
	return c.store.step()
}

// TestKilledAtEveryStep kills the keeper at every step that it takes, and has another go on.
func TestKilledAtEveryStep(t *testing.T) {
	config := busy
	config.TombstoneEvents, config.ThinAfter = 5, time.Nanosecond
	died := 0
	for at := 0; ; at++ {
		p := newPast(t, 3)
		whole, s, dir := memory.New(memory.Faults{}), memory.New(memory.Faults{}), t.TempDir()
		inner, err := archive.OpenDir(dir)
		require.NoError(t, err)
		store := &crash{Dir: inner, left: at}
		a, err := archive.Open(t.Context(), store, config)
		require.NoError(t, err)
		l, err := archive.NewLedger(t.Context(), s, a)
		require.NoError(t, err)
		keeper := archive.NewKeeper(a, &crashSource{s, store})
		for err == nil && p.state.Revision() < 22 {
			p.append(5, whole, l)
			err = keeper.Step(t.Context())
		}
		if err == nil {
			break
		}
		died++
		require.ErrorIs(t, err, errCrash)
		l, keeper = open(t, s, dir, config)
		requireSameEvents(t, whole, l)
		unlock, err := inner.Lock(t.Context())
		require.NoError(t, err)
		left, err := filepath.Glob(filepath.Join(dir, "writing-*"))
		require.NoError(t, err)
		require.Empty(t, left, "what was left half done")
		p.append(10, whole, l)
		require.NoError(t, keeper.Step(t.Context()))
		p.append(10, whole, l)
		require.NoError(t, keeper.Step(t.Context()))
		requireSameEvents(t, whole, l)
		view, err := events.OpenView(t.Context(), l, p.registry)
		require.NoError(t, err)
		require.Equal(t, p.state.Hash(), view.State().Hash())
		_, _, err = l.Archive().Verify(t.Context())
		require.NoError(t, err)
		require.NoError(t, unlock())
	}
	require.Greater(t, died, 30)
}

// requireSameEvents compares events as they are stored, but for the clock's word and thinned payloads.
func requireSameEvents(t testing.TB, want, got events.RawReader) {
	t.Helper()
	var all []events.Raw
	require.NoError(t, want.ReadRaw(t.Context(), 1, 0, func(r events.Raw) bool { all = append(all, r); return true }))
	at := 0
	require.NoError(t, got.ReadRaw(t.Context(), 1, 0, func(r events.Raw) bool {
		require.Less(t, at, len(all))
		require.Equal(t, all[at].Revision, r.Revision)
		require.Equal(t, all[at].Subject, r.Subject)
		require.Equal(t, all[at].Header, r.Header)
		require.Equal(t, all[at].PayloadDigest(), r.PayloadDigest())
		at++
		return true
	}))
	require.Len(t, all, at)
}

func TestTwoKeepersWriteTheSame(t *testing.T) {
	p := newPast(t, 4)
	s := memory.New(memory.Faults{})
	dirs := [2]string{t.TempDir(), t.TempDir()}
	_, often := open(t, s, dirs[0], archive.Config{Cluster: "test", SegmentEvents: 7})
	for range 10 {
		p.append(11, s)
		require.NoError(t, often.Step(t.Context()))
	}
	_, once := open(t, s, dirs[1], archive.Config{Cluster: "test", SegmentEvents: 7})
	require.NoError(t, once.Step(t.Context()))
	names, err := filepath.Glob(filepath.Join(dirs[0], "*.wake"))
	require.NoError(t, err)
	require.Len(t, names, 110/7+2)
	for _, name := range names {
		one, err := os.ReadFile(name)
		require.NoError(t, err)
		other, err := os.ReadFile(filepath.Join(dirs[1], filepath.Base(name)))
		require.NoError(t, err)
		require.True(t, bytes.Equal(one, other), name)
	}
}

func TestEndedObjectsAreForgotten(t *testing.T) {
	config := busy
	config.TombstoneEvents = 20
	whole, s := memory.New(memory.Faults{}), memory.New(memory.Faults{})
	dir := t.TempDir()
	l, keeper := open(t, s, dir, config)
	p := newPast(t, 1)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "short-lived", UID: "one"}}
	apply := func(proposal events.Proposal) {
		for _, ledger := range []events.Ledger{whole, l} {
			_, err := ledger.Append(t.Context(), proposal)
			require.NoError(t, err)
		}
		e := proposal.Event
		e.Revision = p.state.Revision() + 1
		_, err := p.state.Apply(e)
		require.NoError(t, err)
	}
	apply(events.Create(p.state, pod, "PodCreated"))
	o, _ := p.state.Get(events.Ref{Resource: "pods", Namespace: "default", Name: "short-lived"})
	apply(events.Observe(o, pod, "PodStatusChanged"))
	o, _ = p.state.Get(o.Ref)
	apply(events.Remove(o, "PodDeleted"))
	for range 10 {
		p.append(7, whole, l)
		require.NoError(t, keeper.Step(t.Context()))
	}
	subjects := map[string]bool{}
	r, err := segment.OpenFile(newestSnapshot(t, dir))
	require.NoError(t, err)
	require.NoError(t, r.State(func(raw events.Raw) bool { subjects[raw.Subject] = true; return true }))
	require.NoError(t, r.Close())
	require.Positive(t, r.Header().Forgotten)
	require.False(t, subjects[events.Subject(events.Desired, o.Ref)])
	require.False(t, subjects[events.Subject(events.Observed, o.Ref)])
	p.sameHistory(whole, l)

	// Who still remembers it and who doesn't may both make it again.
	remembers := events.Create(p.state, pod, "PodCreated")
	require.NotZero(t, remembers.Expect)
	view, err := events.OpenView(t.Context(), l, p.registry)
	require.NoError(t, err)
	fresh := events.Create(view.State(), pod, "PodCreated")
	require.Zero(t, fresh.Expect)
	remembers.Basis, fresh.Basis = p.state.Revision(), p.state.Revision()
	revision, err := l.Append(t.Context(), remembers)
	require.NoError(t, err)
	_, err = l.Append(t.Context(), fresh)
	require.ErrorIs(t, err, events.ErrConflict)
	fresh.Expect = revision
	_, err = l.Append(t.Context(), fresh)
	require.NoError(t, err)
}

func newestSnapshot(t testing.TB, dir string) string {
	names, err := filepath.Glob(filepath.Join(dir, "snapshot-*"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	return names[len(names)-1]
}

func TestThinning(t *testing.T) {
	config := busy
	config.ThinAfter = time.Nanosecond
	p := newPast(t, 9)
	whole, s, dir := memory.New(memory.Faults{}), memory.New(memory.Faults{}), t.TempDir()
	l, keeper := open(t, s, dir, config)
	p.append(70, whole, l)
	for range 20 {
		require.NoError(t, keeper.Step(t.Context()))
	}
	thinned := 0
	require.NoError(t, l.ReadRaw(t.Context(), 1, 0, func(r events.Raw) bool {
		if r.Kept != nil {
			thinned++
			facet, _, err := events.ParseSubject(r.Subject)
			require.NoError(t, err)
			require.Equal(t, events.Observed, facet)
		}
		return true
	}))
	require.Positive(t, thinned)
	requireSameEvents(t, whole, l)
	_, _, err := l.Archive().Verify(t.Context())
	require.NoError(t, err)
	// At the segments' ends the state is whole.
	for at := events.Revision(7); at <= 70; at += 7 {
		require.Equal(t, p.fold(whole, events.Query{To: at}).Hash(), p.fold(l, events.Query{To: at, LastPerFacet: true}).Hash())
	}
	l, keeper = open(t, s, dir, config)
	require.NoError(t, keeper.Step(t.Context()))
	requireSameEvents(t, whole, l)
}

func TestSnapshotIsMadeAgain(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, path string){
		"lost":    func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) },
		"damaged": func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPast(t, 2)
			whole, s, dir := memory.New(memory.Faults{}), memory.New(memory.Faults{}), t.TempDir()
			l, keeper := open(t, s, dir, busy)
			p.append(40, whole, l)
			require.NoError(t, keeper.Step(t.Context()))
			path := newestSnapshot(t, dir)
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			harm(t, path)
			l, keeper = open(t, s, dir, busy)
			require.NoError(t, keeper.Step(t.Context()))
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got))
			p.sameHistory(whole, l)
		})
	}
}

// TestDamagedSnapshotIsNoticedLate has a snapshot damaged where opening it doesn't show.
func TestDamagedSnapshotIsNoticedLate(t *testing.T) {
	p := newPast(t, 2)
	whole, s, dir := memory.New(memory.Faults{}), memory.New(memory.Faults{}), t.TempDir()
	l, keeper := open(t, s, dir, busy)
	p.append(40, whole, l)
	require.NoError(t, keeper.Step(t.Context()))
	path := newestSnapshot(t, dir)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	data[len(data)/2] ^= 1
	require.NoError(t, os.WriteFile(path, data, 0o600))
	l, keeper = open(t, s, dir, busy)
	p.append(10, whole, l)
	var damage *segment.DamageError
	require.ErrorAs(t, keeper.Step(t.Context()), &damage)
	require.Contains(t, damage.File, path)
	require.NoError(t, keeper.Step(t.Context()))
	p.sameHistory(whole, l)
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	p := newPast(t, 2)
	s, dir := memory.New(memory.Faults{}), t.TempDir()
	l, keeper := open(t, s, dir, busy)
	p.append(40, l)
	require.NoError(t, keeper.Step(t.Context()))
	opening := func(s archive.Stream, dir string, config archive.Config) error {
		store, err := archive.OpenDir(dir)
		require.NoError(t, err)
		a, err := archive.Open(t.Context(), store, config)
		if err != nil {
			return err
		}
		_, err = archive.NewLedger(t.Context(), s, a)
		return err
	}
	require.NoError(t, opening(s, dir, busy))
	empty := t.TempDir()
	err := opening(s, empty, busy)
	require.ErrorContains(t, err, "revisions 1 to 35 are missing")
	require.ErrorContains(t, err, empty)
	gone := filepath.Join(t.TempDir(), "archive")
	require.ErrorContains(t, opening(s, gone, busy), "revisions 1 to 35 are missing")
	require.NoDirExists(t, gone, "the old one is to be put back there")
	err = opening(memory.New(memory.Faults{}), dir, busy)
	require.ErrorContains(t, err, "35")
	require.ErrorContains(t, err, "the stream ends at 0")
	other := memory.New(memory.Faults{})
	newPast(t, 5).append(40, other)
	require.ErrorContains(t, opening(other, dir, busy), "event 35 is not the same")
	foreign := busy
	foreign.Cluster = "another"
	require.ErrorContains(t, opening(s, dir, foreign), `"test", this is "another"`)
	require.NoError(t, os.Remove(filepath.Join(dir, fmt.Sprintf("segment-%020d-%020d.wake", 8, 14))))
	require.ErrorContains(t, opening(s, dir, busy), "lacks revisions 8 to 14")
}

// TestItsDirectoryIsMadeOnce has the directory made when it is needed, and not again if it is taken away meanwhile.
func TestItsDirectoryIsMadeOnce(t *testing.T) {
	p := newPast(t, 2)
	whole, s, dir := memory.New(memory.Faults{}), memory.New(memory.Faults{}), filepath.Join(t.TempDir(), "not", "yet")
	l, keeper := open(t, s, dir, busy)
	require.NoDirExists(t, dir)
	p.append(40, whole, l)
	require.NoError(t, keeper.Step(t.Context()))
	p.sameHistory(whole, l)
	require.NoError(t, os.Rename(dir, dir+"-away"))
	p.append(40, whole, l)
	require.Error(t, keeper.Step(t.Context()))
	require.NoDirExists(t, dir)
	require.NoError(t, os.Rename(dir+"-away", dir))
	require.NoError(t, keeper.Step(t.Context()))
	p.sameHistory(whole, l)

	locked, err := archive.OpenDir(filepath.Join(t.TempDir(), "not", "yet"))
	require.NoError(t, err)
	unlock, err := locked.Lock(t.Context())
	require.NoError(t, err)
	require.NoError(t, unlock())
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = archive.OpenDir(file)
	require.ErrorContains(t, err, "is a file")
}

// holed is a stream that skips an event, as a broker does that can't read it.
type holed struct {
	stream
	hole events.Revision
}

func (h *holed) ReadRaw(ctx context.Context, from, to events.Revision, yield func(events.Raw) bool) error {
	return h.stream.ReadRaw(ctx, from, to, func(r events.Raw) bool { return r.Revision == h.hole || yield(r) })
}

func TestNothingIsTrimmedBehindAHole(t *testing.T) {
	p := newPast(t, 2)
	for _, hole := range []events.Revision{17, 21} {
		s, dir := &holed{memory.New(memory.Faults{}), hole}, t.TempDir()
		l, keeper := open(t, s, dir, busy)
		p := &past{t: t, registry: p.registry, random: p.random, state: events.NewState(p.registry)}
		p.append(40, l)
		err := keeper.Step(t.Context())
		require.ErrorIs(t, err, segment.ErrGap)
		require.ErrorContains(t, err, fmt.Sprint("revision ", hole))
		status, err := l.Archive().Status(t.Context())
		require.NoError(t, err)
		require.ErrorIs(t, status.Failed, segment.ErrGap)
		require.Equal(t, events.Revision(14), status.Last)
		require.LessOrEqual(t, first(t, s), events.Revision(15))
		s.hole = 0
		require.NoError(t, keeper.Step(t.Context()))
		status, err = l.Archive().Status(t.Context())
		require.NoError(t, err)
		require.NoError(t, status.Failed)
		require.Equal(t, events.Revision(35), status.Last)
	}
}

func TestKeptForATime(t *testing.T) {
	p := newPast(t, 2)
	s := memory.New(memory.Faults{})
	l, keeper := open(t, s, t.TempDir(), archive.Config{Cluster: "test", SegmentEvents: 7, KeepFor: time.Hour})
	p.append(40, l)
	require.NoError(t, keeper.Step(t.Context()))
	require.Equal(t, events.Revision(1), first(t, s))
	l, keeper = open(t, s, t.TempDir(), archive.Config{Cluster: "test", SegmentEvents: 7, KeepFor: time.Nanosecond})
	require.NoError(t, keeper.Step(t.Context()))
	require.Equal(t, events.Revision(36), first(t, s))
	status, err := l.Archive().Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, archive.Status{Where: status.Where, Segments: 5, First: 1, Last: 35, Bytes: status.Bytes, BytesPerEvent: status.BytesPerEvent, Snapshot: 35, Trimmed: 35}, status)
	require.Positive(t, status.BytesPerEvent)
}

func TestOneKeeper(t *testing.T) {
	dir, err := archive.OpenDir(t.TempDir())
	require.NoError(t, err)
	unlock, err := dir.Lock(t.Context())
	require.NoError(t, err)
	_, err = dir.Lock(t.Context())
	require.ErrorContains(t, err, "another process keeps the archive")
	require.NoError(t, unlock())
	unlock, err = dir.Lock(t.Context())
	require.NoError(t, err)
	require.NoError(t, unlock())
}

// TestSlowFollower has a follower overtaken by the keeper: it goes on in the archive.
func TestSlowFollower(t *testing.T) {
	p := newPast(t, 2)
	whole := memory.New(memory.Faults{})
	s := openBroker(t, t.TempDir())
	l, keeper := open(t, s, t.TempDir(), busy)
	p.append(5, whole, l)
	var seen []events.Revision
	err := l.Follow(t.Context(), events.Start{}, func(b events.Batch) error {
		for _, e := range b.Events {
			seen = append(seen, e.Revision)
		}
		if p.state.Revision() < 200 {
			p.append(20, whole, l)
			require.NoError(t, keeper.Step(t.Context()))
		}
		if b.Revision >= 200 {
			return io.EOF
		}
		return nil
	})
	require.ErrorIs(t, err, io.EOF)
	for i, revision := range seen {
		require.Equal(t, events.Revision(i+1), revision)
	}
	require.GreaterOrEqual(t, len(seen), 200)
	p.sameHistory(whole, l)
}

// TestNotesOfADamagedSegment has the view of the present open, with all notes, though a segment that has some of their events can't be read.
func TestNotesOfADamagedSegment(t *testing.T) {
	p := newPast(t, 6)
	s, dir := memory.New(memory.Faults{}), t.TempDir()
	l, keeper := open(t, s, dir, busy)
	p.append(60, l)
	require.NoError(t, keeper.Step(t.Context()))
	segments, err := filepath.Glob(filepath.Join(dir, "segment-*"))
	require.NoError(t, err)
	require.Greater(t, len(segments), 2)
	data, err := os.ReadFile(segments[0])
	require.NoError(t, err)
	data[len(data)/2] ^= 1
	require.NoError(t, os.WriteFile(segments[0], data, 0o600))

	l, _ = open(t, s, dir, busy)
	var damage *segment.DamageError
	require.ErrorAs(t, l.Read(t.Context(), events.Query{}, func(events.Event) bool { return true }), &damage)
	sealed, err := seal.New(l, filepath.Join(t.TempDir(), "key"))
	require.NoError(t, err)
	noted := func(state *events.State) (messages []string) {
		for o := range state.All(events.GroupResource{Resource: "events"}, "") {
			messages = append(messages, o.Typed().(*corev1.Event).Message)
		}
		return messages
	}
	for name, ledger := range map[string]events.Ledger{"alone": l, "sealed": sealed, "shells": seal.Shell(l)} {
		view, err := events.OpenView(t.Context(), ledger, p.registry)
		require.NoError(t, err, name)
		require.NoError(t, view.Status().Notes, name)
		require.Equal(t, p.state.Hash(), view.State().Hash(), name)
		require.NotEmpty(t, noted(p.state))
		require.ElementsMatch(t, noted(p.state), noted(view.State()), name)
		then, err := timetravel.Fold(t.Context(), ledger, p.registry, 60)
		require.NoError(t, err, name)
		require.ElementsMatch(t, noted(p.state), noted(then), name)
	}
}

func TestNotes(t *testing.T) {
	p := newPast(t, 6)
	s := memory.New(memory.Faults{})
	l, keeper := open(t, s, t.TempDir(), busy)
	p.append(60, l)
	require.NoError(t, keeper.Step(t.Context()))
	for _, at := range []events.Revision{1, 7, 20, 56, 60} {
		var want []events.Revision
		require.NoError(t, l.Read(t.Context(), events.Query{To: at}, func(e events.Event) bool {
			if e.Note != nil {
				want = append(want, e.Revision)
			}
			return true
		}))
		recent, err := l.Notes(t.Context(), at)
		require.NoError(t, err)
		var got []events.Revision
		for _, e := range recent.Noted {
			got = append(got, e.Revision)
			require.Empty(t, e.Payload)
		}
		require.Equal(t, want, got)
	}
}
