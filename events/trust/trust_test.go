package trust_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/events/trust"
)

// book is a ledger that can be tampered with.
type book struct {
	raws   []events.Raw
	claims events.Revision // the end that it claims, if not that of raws
	stuck  events.Revision // reading never comes past here, if not 0
	broken error
}

func (b *book) Bounds(context.Context) (first, last events.Revision, _ error) {
	if b.broken != nil || len(b.raws) == 0 {
		return 0, 0, b.broken
	}
	return b.raws[0].Revision, max(b.raws[len(b.raws)-1].Revision, b.claims), nil
}

func (b *book) ReadRaw(ctx context.Context, from, to events.Revision, yield func(events.Raw) bool) error {
	for _, r := range b.raws {
		if b.stuck != 0 && r.Revision >= b.stuck {
			<-ctx.Done()
			return ctx.Err()
		}
		if r.Revision >= from && r.Revision <= to && !yield(r) {
			return nil
		}
	}
	return nil
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// event makes the event of a revision, of a history of its own.
func event(history string, revision events.Revision) events.Raw {
	return events.Raw{Revision: revision, Stored: epoch.Add(time.Duration(revision) * time.Millisecond), Subject: fmt.Sprintf("ledger.desired.core.pods.default.p%d", revision%7),
		Header: []events.HeaderField{{Name: "Wake-Id", Value: fmt.Sprint(history, revision)}}, Payload: fmt.Appendf(nil, "%s %d", history, revision)}
}

func (b *book) write(history string, count int) {
	for range count {
		next := events.Revision(1)
		if n := len(b.raws); n > 0 {
			next = b.raws[n-1].Revision + 1
		}
		b.raws = append(b.raws, event(history, next))
	}
}

func (b *book) at(revision events.Revision) *events.Raw {
	return &b.raws[slices.IndexFunc(b.raws, func(r events.Raw) bool { return r.Revision == revision })]
}

// renumber gives the events contiguous revisions again.
func (b *book) renumber() {
	for i := range b.raws {
		b.raws[i].Revision = events.Revision(i + 1)
	}
}

// desk is a notary's place.
type desk struct {
	t      testing.TB
	config trust.Config
}

func newDesk(t testing.TB, ledger events.RawReader) *desk {
	dir := t.TempDir()
	return &desk{t, trust.Config{Dir: filepath.Join(dir, "wake.trust"), KeyFile: filepath.Join(dir, "wake", "pki", "trust.key"), Cluster: "c1", Ledger: ledger, Stall: 100 * time.Millisecond,
		Log: slog.New(slog.DiscardHandler)}}
}

// session opens a notary, lets it witness, passes it to do and closes it.
func (d *desk) session(do func(n *trust.Notary)) {
	d.t.Helper()
	n, err := trust.Open(d.config)
	require.NoError(d.t, err)
	require.NoError(d.t, n.Witness(d.t.Context()))
	do(n)
	require.NoError(d.t, n.Close())
}

// witness lets a notary witness and sign all that there is.
func (d *desk) witness() {
	d.t.Helper()
	d.session(func(n *trust.Notary) {
		require.NoError(d.t, n.Sign())
		require.Nil(d.t, n.Status().Broken)
	})
}

func (d *desk) check(marks ...trust.Mark) trust.Report {
	d.t.Helper()
	report, err := trust.Check(d.t.Context(), d.config.Ledger, trust.Options{Dir: d.config.Dir, Marks: marks, Stall: d.config.Stall})
	require.NoError(d.t, err)
	return report
}

// witnessed returns a book of 300 events, witnessed up to 290 and signed at 100, 200 and 280.
func witnessed(t testing.TB) (*book, *desk) {
	b := &book{}
	d := newDesk(t, b)
	for _, count := range []int{100, 100, 80} {
		b.write("a", count)
		d.witness()
	}
	b.write("a", 10)
	d.session(func(n *trust.Notary) { require.EqualValues(t, 290, n.Status().Revision) })
	b.write("a", 10)
	return b, d
}

func TestAnUntouchedLedgerIsProven(t *testing.T) {
	b, d := witnessed(t)
	r := d.check()
	require.Empty(t, r.Findings)
	require.Equal(t, []uint64{1, 300, 300, 290, 280, 280}, []uint64{r.First, r.Last, r.Events, r.Witnessed, r.Signed.Revision, r.Proven})
	// The chain is what anybody computes from the events alone.
	var chain events.Digest
	for _, raw := range b.raws[:280] {
		chain = chain.Link(raw.Digest())
	}
	require.Equal(t, chain, r.Signed.Chain)
	for name, mode := range map[string]fs.FileMode{d.config.KeyFile: 0o600, filepath.Join(d.config.Dir, "chain-0001"): 0o600} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm())
	}
}

// edit rewrites a file of the trust directory.
func (d *desk) edit(name string, change func([]byte) []byte) {
	path := filepath.Join(d.config.Dir, name)
	content, err := os.ReadFile(path)
	require.NoError(d.t, err)
	require.NoError(d.t, os.WriteFile(path, change(content), 0o600))
}

// lines changes the checkpoints' lines.
func (d *desk) lines(change func([]string) []string) {
	d.edit("checkpoints", func(content []byte) []byte {
		lines := change(strings.SplitAfter(strings.TrimSuffix(string(content), "\n"), "\n"))
		lines[len(lines)-1] = strings.TrimSuffix(lines[len(lines)-1], "\n")
		return []byte(strings.Join(lines, "") + "\n")
	})
}

// record is the place of a revision's record in the chain file.
func record(revision int) int { return 128 + (revision-1)*36 }

func TestTamperingIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		tamper        func(b *book, d *desk)
		kind          trust.FindingKind
		from, through events.Revision
	}{
		"payload":                    {func(b *book, _ *desk) { b.at(150).Payload = []byte("else") }, trust.Altered, 150, 0},
		"subject of the first":       {func(b *book, _ *desk) { b.at(1).Subject += "x" }, trust.Altered, 1, 0},
		"header of the last signed":  {func(b *book, _ *desk) { b.at(280).Header[0].Value = "mallory" }, trust.Altered, 280, 0},
		"time":                       {func(b *book, _ *desk) { b.at(7).Stored = epoch }, trust.Altered, 7, 0},
		"unsigned, but witnessed":    {func(b *book, _ *desk) { b.at(285).Payload = nil }, trust.Altered, 285, 0},
		"dropped":                    {func(b *book, _ *desk) { b.raws = slices.Delete(b.raws, 41, 44) }, trust.Missing, 42, 44},
		"dropped, not witnessed yet": {func(b *book, _ *desk) { b.raws = slices.Delete(b.raws, 294, 295) }, trust.Missing, 295, 0},
		"dropped and renumbered":     {func(b *book, _ *desk) { b.raws = slices.Delete(b.raws, 41, 44); b.renumber() }, trust.Missing, 42, 44},
		"inserted and renumbered":    {func(b *book, _ *desk) { b.raws = slices.Insert(b.raws, 41, event("m", 0)); b.renumber() }, trust.Inserted, 42, 0},
		"swapped":                    {func(b *book, _ *desk) { b.raws[41], b.raws[230] = b.raws[230], b.raws[41]; b.renumber() }, trust.Reordered, 42, 231},
		"swapped, times in place":    {swapContent, trust.Reordered, 42, 44},
		"tail cut":                   {func(b *book, _ *desk) { b.raws = b.raws[:150] }, trust.TailCut, 151, 290},
		"tail cut after the signed":  {func(b *book, _ *desk) { b.raws = b.raws[:285] }, trust.TailCut, 286, 290},
		"tail claimed":               {func(b *book, _ *desk) { b.raws = b.raws[:150]; b.claims = 300 }, trust.TailCut, 151, 300},
		"emptied":                    {func(b *book, _ *desk) { b.raws = nil }, trust.TailCut, 1, 290},
		"purged beginning":           {func(b *book, _ *desk) { b.raws = b.raws[50:] }, trust.Missing, 1, 50},
		"older copy, shorter":        {func(b *book, _ *desk) { b.raws = b.raws[:150]; b.write("b", 20) }, trust.OlderCopy, 151, 290},
		"older copy, longer":         {func(b *book, _ *desk) { b.raws = b.raws[:150]; b.write("b", 500) }, trust.OlderCopy, 151, 290},
		"stuck":                      {func(b *book, _ *desk) { b.stuck = 77 }, trust.Unreadable, 77, 0},
		"not answering":              {func(b *book, _ *desk) { b.broken = errors.New("no stream") }, trust.Unreadable, 1, 0},
		"chain record":               {func(_ *book, d *desk) { d.edit("chain-0001", flip(record(120))) }, trust.ChainAltered, 120, 0},
		"chain record, unsigned":     {func(_ *book, d *desk) { d.edit("chain-0001", flip(record(285))) }, trust.ChainAltered, 285, 0},
		"chain cut":                  {func(_ *book, d *desk) { d.edit("chain-0001", func(c []byte) []byte { return c[:record(120)] }) }, trust.ChainAltered, 120, 0},
		"chain header":               {func(_ *book, d *desk) { d.edit("chain-0001", flip(20)) }, trust.ChainAltered, 1, 0},
		"chain gone":                 {func(_ *book, d *desk) { require.NoError(d.t, os.Remove(filepath.Join(d.config.Dir, "chain-0001"))) }, trust.ChainAltered, 1, 0},
		"checkpoint altered": {func(_ *book, d *desk) {
			d.lines(func(l []string) []string {
				l[2] = strings.Replace(l[2], `"revision":200`, `"revision":199`, 1)
				return l
			})
		}, trust.CheckpointForged, 101, 0},
		"checkpoint torn":          {func(_ *book, d *desk) { d.lines(func(l []string) []string { l[2] = l[2][:40] + "\n"; return l }) }, trust.CheckpointForged, 101, 0},
		"checkpoint removed":       {func(_ *book, d *desk) { d.lines(func(l []string) []string { return slices.Delete(l, 2, 3) }) }, trust.CheckpointsCut, 101, 280},
		"last checkpoints removed": {func(_ *book, d *desk) { d.lines(func(l []string) []string { return l[:2] }) }, trust.CheckpointsCut, 101, 280},
		"last checkpoint replaced": {replaceLast, trust.CheckpointsCut, 201, 0},
		"head removed":             {func(_ *book, d *desk) { require.NoError(d.t, os.Remove(filepath.Join(d.config.Dir, "head"))) }, trust.CheckpointsCut, 281, 0},
		"pin altered": {func(_ *book, d *desk) {
			d.lines(func(l []string) []string { l[0] = strings.Replace(l[0], `"c1"`, `"c2"`, 1); return l })
		}, trust.KeyMismatch, 0, 0},
		"event and record altogether": {alterBoth, trust.Altered, 101, 200},
	} {
		t.Run(name, func(t *testing.T) {
			b, d := witnessed(t)
			test.tamper(b, d)
			r := d.check()
			require.NotNil(t, r.FirstFinding())
			f := *r.FirstFinding()
			require.Equal(t, []any{test.kind, test.from, test.through}, []any{f.Kind, f.Revision, f.Through}, "%v", r.Findings)
			require.NotEmpty(t, f.Remedy)
			for _, f := range r.Findings {
				t.Log(f)
			}
		})
	}
}

func flip(at int) func([]byte) []byte {
	return func(c []byte) []byte { c[at+2] ^= 4; return c }
}

func swapContent(b *book, _ *desk) {
	x, y := b.at(42), b.at(44)
	x.Subject, y.Subject = y.Subject, x.Subject
	x.Header, y.Header = y.Header, x.Header
	x.Payload, y.Payload = y.Payload, x.Payload
}

// replaceLast puts the line before the last in the last one's place.
func replaceLast(_ *book, d *desk) {
	d.lines(func(l []string) []string { return append(l[:3], l[2]) })
}

// alterBoth changes an event and its record alike: only the signature tells, and that for its segment alone.
func alterBoth(b *book, d *desk) {
	b.at(150).Payload = []byte("else")
	other := newDesk(d.t, b)
	other.witness()
	forged, err := os.ReadFile(filepath.Join(other.config.Dir, "chain-0001"))
	require.NoError(d.t, err)
	d.edit("chain-0001", func(c []byte) []byte {
		copy(c[record(150):record(151)], forged[record(150):record(151)])
		return c
	})
}

func TestARecordThatIsWrongDoesNotAccuseItsEvent(t *testing.T) {
	_, d := witnessed(t)
	d.edit("chain-0001", flip(record(120)))
	r := d.check()
	require.Len(t, r.Findings, 1)
	require.EqualValues(t, 280, r.Proven)
}

func TestAnyTamperingIsFoundWhereItBegins(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b, d := &book{}, newDesk(t, nil)
		d.config.Ledger = b
		for range rapid.IntRange(1, 4).Draw(rt, "sessions") {
			b.write("a", rapid.IntRange(1, 60).Draw(rt, "events"))
			d.witness()
		}
		count := len(b.raws)
		from := events.Revision(rapid.IntRange(1, count).Draw(rt, "from"))
		switch op := rapid.SampledFrom([]string{"alter", "drop", "cut", "older copy", "swap"}).Draw(rt, "op"); op {
		case "alter":
			b.at(from).Payload = append(b.at(from).Payload, 'x')
		case "drop":
			b.raws = slices.Delete(b.raws, int(from)-1, rapid.IntRange(int(from), count).Draw(rt, "to"))
		case "cut":
			b.raws = b.raws[:from-1]
		case "older copy":
			b.raws = b.raws[:from-1]
			b.write("b", rapid.IntRange(1, 100).Draw(rt, "more"))
		case "swap":
			with := events.Revision(rapid.IntRange(1, count).Draw(rt, "with"))
			if with == from {
				return
			}
			b.raws[from-1], b.raws[with-1] = b.raws[with-1], b.raws[from-1]
			b.renumber()
			from = min(from, with)
		}
		r := d.check()
		if r.FirstFinding() == nil || r.FirstFinding().Revision != from {
			rt.Fatalf("want a finding at %d: %v", from, r.Findings)
		}
	})
}

func TestAPayloadThatIsLeftOutStillProvesTheRest(t *testing.T) {
	b := &book{}
	b.write("a", 9)
	b.at(4).Subject = "ledger.observed.core.pods.default.p"
	b.at(5).Subject = "ledger.desired.core.secrets.default.s"
	d := newDesk(t, b)
	d.witness()
	*b.at(4) = b.at(4).Without(nil)
	*b.at(5) = b.at(5).Without([]byte("shell"))
	r := d.check()
	require.Empty(t, r.Findings)
	require.Equal(t, []uint64{2, 9}, []uint64{r.Partial, r.Proven})
	b.at(5).Header[0].Value = "else"
	require.EqualValues(t, 5, d.check().FirstFinding().Revision)
	// Of everything else the payload must be there: that its digest is right proves nothing about another one.
	*b.at(3) = b.at(3).Without([]byte("mallory"))
	require.EqualValues(t, 3, d.check().FirstFinding().Revision)
	b.at(4).Payload = []byte("mallory")
	*b.at(3) = event("a", 3)
	require.EqualValues(t, 4, d.check().FirstFinding().Revision)
}

func TestAStretch(t *testing.T) {
	b, d := witnessed(t)
	whole := b.raws
	stretch := func(from, to int) trust.Report {
		b.raws = slices.Clone(whole[from-1 : to])
		r, err := trust.Check(t.Context(), b, trust.Options{Dir: d.config.Dir, From: events.Revision(from), To: events.Revision(to)})
		require.NoError(t, err)
		return r
	}
	for _, s := range [][2]int{{1, 300}, {1, 250}, {150, 160}, {101, 200}, {150, 250}, {281, 290}, {285, 300}} {
		r := stretch(s[0], s[1])
		require.Empty(t, r.Findings, s)
		require.EqualValues(t, max(min(s[1], 280)-s[0]+1, 0), r.Proven, s)
	}
	whole[154].Payload = []byte("else")
	f := stretch(150, 160).FirstFinding()
	require.Equal(t, []any{trust.Altered, events.Revision(155)}, []any{f.Kind, f.Revision})
	whole = whole[:158]
	b.raws = b.raws[:8]
	r, err := trust.Check(t.Context(), b, trust.Options{Dir: d.config.Dir, From: 156, To: 160})
	require.NoError(t, err)
	require.Equal(t, trust.TailCut, r.FirstFinding().Kind)
}

func TestTrimmingIsNotMissedByTheNotary(t *testing.T) {
	b, d := witnessed(t)
	b.raws = b.raws[250:]
	d.witness()
	b.raws = b.raws[40:]
	b.at(292).Payload = nil
	d.session(func(n *trust.Notary) {
		f := n.Status().Broken
		require.NotNil(t, f)
		require.Equal(t, []any{trust.Altered, events.Revision(292)}, []any{f.Kind, f.Revision})
	})
	_, d = witnessed(t)
	b = d.config.Ledger.(*book)
	b.raws = b.raws[295:]
	d.session(func(n *trust.Notary) {
		f := n.Status().Broken
		require.NotNil(t, f)
		require.Equal(t, []any{trust.Missing, events.Revision(291), events.Revision(295)}, []any{f.Kind, f.Revision, f.Through}, "trimmed before it was witnessed")
	})
}

func TestAnAcceptedBreakCantBeUsedAgain(t *testing.T) {
	b, d := witnessed(t)
	was := b.at(150).Payload
	b.raws = b.raws[:140]
	b.write("b", 300)
	d.session(func(n *trust.Notary) {
		_, err := n.Accept(t.Context(), "restored a backup", "ann")
		require.NoError(t, err)
	})
	d.witness()
	require.Empty(t, d.check().Findings)
	b.at(150).Payload = was
	d.lines(func(l []string) []string { l[len(l)-1] += "\n"; return append(l, l[len(l)-2]) })
	kinds := map[trust.FindingKind]bool{}
	for _, f := range d.check().Findings {
		kinds[f.Kind] = true
	}
	require.True(t, kinds[trust.Altered])
	require.True(t, kinds[trust.CheckpointForged])
}

func TestACheckpointKeptElsewhere(t *testing.T) {
	b, d := witnessed(t)
	signed := d.check().Signed.Mark
	mark, err := trust.ParseMark(signed.String())
	require.NoError(t, err)
	require.Equal(t, signed, mark)
	for _, text := range []string{"", "12", "x:00", "12:00", signed.String() + "0"} {
		_, err := trust.ParseMark(text)
		require.Error(t, err, text)
	}
	require.Empty(t, d.check(mark).Findings)
	onlyMark := func() trust.Report {
		r, err := trust.Check(t.Context(), b, trust.Options{Marks: []trust.Mark{mark}})
		require.NoError(t, err)
		return r
	}
	require.Empty(t, onlyMark().Findings, "without any trust directory")

	// Whoever owns everything can have the whole witnessed anew.
	b.at(9).Payload = []byte("else")
	require.NoError(t, os.RemoveAll(d.config.Dir))
	require.NoError(t, os.Remove(d.config.KeyFile))
	d.witness()
	require.Empty(t, d.check().Findings)
	require.Equal(t, trust.Contradicted, d.check(mark).FirstFinding().Kind)
	require.Equal(t, trust.Contradicted, onlyMark().FirstFinding().Kind)
	b.raws = b.raws[:200]
	require.Equal(t, trust.TailCut, onlyMark().FirstFinding().Kind)
}

func TestTheNotaryStopsAtABreakAndGoesOnWhenItIsAccepted(t *testing.T) {
	for name, tamper := range map[string]func(b *book){
		"older copy": func(b *book) { b.raws = b.raws[:150]; b.write("b", 300) },
		"tail cut":   func(b *book) { b.raws = b.raws[:150] },
		"holes":      func(b *book) { b.raws = slices.Delete(b.raws[:288:288], 284, 286) },
		"hole last":  func(b *book) { b.raws = slices.Delete(b.raws, 284, 286); b.raws = b.raws[:284]; b.claims = 286 },
		"altered":    func(b *book) { b.at(288).Payload = nil },
	} {
		t.Run(name, func(t *testing.T) {
			b, d := witnessed(t)
			tamper(b)
			old, err := os.ReadFile(filepath.Join(d.config.Dir, "chain-0001"))
			require.NoError(t, err)
			want := d.check().FirstFinding()
			d.session(func(n *trust.Notary) {
				require.Equal(t, want, n.Status().Broken)
				_, err := n.Accept(t.Context(), "", "ann")
				require.ErrorContains(t, err, "reason")
			})
			d.session(func(n *trust.Notary) {
				require.Equal(t, want, n.Status().Broken, "a restart finds it again")
				b.write("c", 5)
				b.claims = 0
				require.NoError(t, n.Witness(t.Context()))
				require.NoError(t, n.Sign())
				require.Equal(t, want, n.Status().Broken)
				accepted, err := n.Accept(t.Context(), "restored a backup", "ann")
				require.NoError(t, err)
				require.Equal(t, want.Revision, accepted.Revision)
				require.NoError(t, n.Witness(t.Context()))
				require.NoError(t, n.Sign())
				require.Nil(t, n.Status().Broken)
				require.Equal(t, b.raws[len(b.raws)-1].Revision, n.Status().Revision)
				_, err = n.Accept(t.Context(), "again", "ann")
				require.ErrorContains(t, err, "no break")
			})
			b.write("c", 5)
			d.witness()
			r := d.check()
			require.Empty(t, r.Findings)
			require.Len(t, r.Breaks, 1)
			require.Equal(t, "restored a backup", r.Breaks[0].Reason)
			require.Equal(t, want, r.Breaks[0].Found)
			kept, err := os.ReadFile(filepath.Join(d.config.Dir, "chain-0001"))
			require.NoError(t, err)
			require.Equal(t, old, kept, "what was witnessed before stays")
			b.at(want.Revision - 100).Payload = []byte("else")
			require.Equal(t, want.Revision-100, d.check().FirstFinding().Revision, "what lies before is still proven")
		})
	}
}

func TestDamageOfEveryKindCanBeAccepted(t *testing.T) {
	for name, damage := range map[string]func(b *book, d *desk){
		"checkpoints":      func(_ *book, d *desk) { d.lines(func(l []string) []string { l[2] = l[2][:40] + "\n"; return l[:3] }) },
		"last checkpoints": func(_ *book, d *desk) { d.lines(func(l []string) []string { return l[:1] }) },
		"head":             func(_ *book, d *desk) { require.NoError(d.t, os.Remove(filepath.Join(d.config.Dir, "head"))) },
		"chain gone":       func(_ *book, d *desk) { require.NoError(d.t, os.Remove(filepath.Join(d.config.Dir, "chain-0001"))) },
		"chain cut":        func(_ *book, d *desk) { d.edit("chain-0001", func(c []byte) []byte { return c[:record(120)] }) },
		"chain record":     func(_ *book, d *desk) { d.edit("chain-0001", flip(record(120))) },
		"last record":      func(_ *book, d *desk) { d.edit("chain-0001", flip(record(285))) },
		"long ago":         func(b *book, _ *desk) { b.raws = slices.Delete(b.raws, 6, 8) },
		"both": func(b *book, d *desk) {
			b.at(7).Payload = nil
			d.edit("chain-0001", flip(record(5)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, d := witnessed(t)
			damage(b, d)
			require.NotNil(t, d.check().FirstFinding())
			d.session(func(n *trust.Notary) {
				_, err := n.Accept(t.Context(), "a disk fault", "ann")
				require.NoError(t, err)
				require.NoError(t, n.Witness(t.Context()))
			})
			b.write("a", 7)
			d.witness()
			r := d.check()
			require.Empty(t, r.Findings)
			require.Len(t, r.Breaks, 1)
			require.EqualValues(t, len(b.raws), r.Proven)
		})
	}
}

func TestATornEndIsDroppedAndWitnessedAgain(t *testing.T) {
	for name, tear := range map[string]func(d *desk){
		"half a record":     func(d *desk) { d.edit("chain-0001", func(c []byte) []byte { return c[:len(c)-20] }) },
		"unwritten pages":   func(d *desk) { d.edit("chain-0001", func(c []byte) []byte { clear(c[record(284):]); return c }) },
		"half a checkpoint": func(d *desk) { d.edit("checkpoints", func(c []byte) []byte { return append(c, `{"entry":{"li`...) }) },
		"head behind": func(d *desk) {
			head, err := os.ReadFile(filepath.Join(d.config.Dir, "head"))
			require.NoError(d.t, err)
			d.witness()
			d.edit("head", func([]byte) []byte { return head })
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, d := witnessed(t)
			tear(d)
			require.Empty(t, d.check().Findings)
			d.witness()
			r := d.check()
			require.Empty(t, r.Findings)
			require.EqualValues(t, 300, r.Proven)
		})
	}
}

func TestAFirstStartThatIsCutShort(t *testing.T) {
	b := &book{}
	b.write("a", 5)
	d := newDesk(t, b)
	d.session(func(*trust.Notary) {})
	require.NoError(t, os.Rename(d.config.KeyFile, d.config.KeyFile+".new")) // the key was pinned and not yet put in place
	d.witness()
	require.EqualValues(t, 5, d.check().Proven)

	d = newDesk(t, b)
	d.session(func(*trust.Notary) {})
	require.NoError(t, os.Rename(d.config.KeyFile, d.config.KeyFile+".new"))
	require.NoError(t, os.Remove(filepath.Join(d.config.Dir, "checkpoints"))) // and here not even that
	require.NoError(t, os.Remove(filepath.Join(d.config.Dir, "head")))
	d.witness()
	require.EqualValues(t, 5, d.check().Proven)
}

func TestWhoseWitnessItIs(t *testing.T) {
	_, d := witnessed(t)
	broken := func() (f trust.Finding) {
		d.session(func(n *trust.Notary) {
			require.NotNil(t, n.Status().Broken)
			f = *n.Status().Broken
			_, err := n.Accept(t.Context(), "so what", "ann")
			require.ErrorContains(t, err, "can't be accepted")
		})
		return f
	}
	d.config.Cluster = "c2"
	require.Equal(t, trust.OtherCluster, broken().Kind)
	d.config.Cluster = "c1"
	key, err := os.ReadFile(d.config.KeyFile)
	require.NoError(t, err)
	require.NoError(t, os.Remove(d.config.KeyFile))
	require.Equal(t, trust.KeyMismatch, broken().Kind)
	_, other := witnessed(t)
	public, err := trust.PublicKey(other.config.KeyFile)
	require.NoError(t, err)
	r, err := trust.Check(t.Context(), d.config.Ledger, trust.Options{Dir: d.config.Dir, Key: public})
	require.NoError(t, err)
	require.Equal(t, trust.KeyMismatch, r.FirstFinding().Kind)
	require.NoError(t, os.WriteFile(d.config.KeyFile, key, 0o600))
	require.NoError(t, os.RemoveAll(d.config.Dir))
	require.Equal(t, trust.WitnessLost, broken().Kind)
	_, err = trust.Check(t.Context(), d.config.Ledger, trust.Options{Dir: d.config.Dir})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestOneNotaryPerDirectory(t *testing.T) {
	_, d := witnessed(t)
	d.session(func(*trust.Notary) {
		_, err := trust.Open(d.config)
		require.ErrorContains(t, err, "in use")
	})
}

func TestATransientFailureIsNoBreak(t *testing.T) {
	b, d := witnessed(t)
	b.stuck = 280
	n, err := trust.Open(d.config)
	require.NoError(t, err)
	require.Error(t, n.Witness(t.Context()))
	require.Nil(t, n.Status().Broken)
	b.stuck = 0
	require.NoError(t, n.Witness(t.Context()))
	require.EqualValues(t, 300, n.Status().Revision)
	require.NoError(t, n.Close())
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ledger := memory.New(memory.Faults{})
		add := func(name string) {
			_, err := ledger.Append(t.Context(), events.Proposal{Event: events.Event{Ref: events.Ref{Resource: "pods", Namespace: "default", Name: name}, UID: name, Type: "PodCreated", Payload: []byte(name)}})
			require.NoError(t, err)
		}
		n, err := trust.Open(trust.Config{Dir: filepath.Join(dir, "trust"), KeyFile: filepath.Join(dir, "key"), Cluster: "c1", Ledger: ledger})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- n.Run(ctx) }()
		time.Sleep(3 * time.Second)
		require.Zero(t, n.Status().Revision, "an empty ledger is not witnessed yet")
		add("a")
		time.Sleep(1100 * time.Millisecond)
		require.EqualValues(t, 1, n.Status().Revision)
		require.Zero(t, n.Status().Checkpoint.Revision)
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 1, n.Status().Checkpoint.Revision)
		add("b")
		stop()
		require.NoError(t, <-ended)
		require.EqualValues(t, 2, n.Status().Checkpoint.Revision, "a stop takes a last look and signs")
		require.NoError(t, n.Close())
	})
}
