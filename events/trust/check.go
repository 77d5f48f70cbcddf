package trust

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/wakehq/wake/events"
)

// maxFindings bounds a report; the first is what counts.
const maxFindings = 100

// Options says what a ledger is checked against.
type Options struct {
	Dir   string            // the trust directory; empty: only against Marks
	Key   ed25519.PublicKey // that must have signed; nil: the one that the trust directory pins
	Marks []Mark            // checkpoints that were kept elsewhere
	From  events.Revision   // where the ledger is known to begin, if what lies before was given up; else where the witness begins
	To    events.Revision   // where it is known to end, as an export of a stretch does; 0: at its end
	Stall time.Duration     // after how long without an event the ledger counts as unreadable; 10 s if 0
}

// Report is the outcome of a Check.
type Report struct {
	First     events.Revision `json:"first"` // what was read
	Last      events.Revision `json:"last"`
	Events    uint64          `json:"events"`
	Partial   uint64          `json:"partial"`   // of these, how many are proven but for their payload, of which only the digest is kept
	Witnessed events.Revision `json:"witnessed"` // up to here
	Signed    Checkpoint      `json:"signed"`    // the last checkpoint that holds
	Proven    uint64          `json:"proven"`    // events that signed checkpoints prove
	Key       string          `json:"key"`       // the public key, in hexadecimal
	Breaks    []Break         `json:"breaks,omitempty"`
	Accepted  []Finding       `json:"accepted,omitempty"` // what is wrong with older lines of the checkpoints, and was accepted
	Findings  []Finding       `json:"findings,omitempty"` // by revision
	Took      time.Duration   `json:"took"`               // nanoseconds
}

// FirstFinding returns the finding with the lowest revision, nil if all is well.
func (r Report) FirstFinding() *Finding {
	if len(r.Findings) == 0 {
		return nil
	}
	return &r.Findings[0]
}

func first(findings []Finding) Finding {
	return slices.MinFunc(findings, func(a, b Finding) int { return cmp.Compare(a.Revision, b.Revision) })
}

// Rate returns events per second.
func (r Report) Rate() float64 { return float64(r.Events) / r.Took.Seconds() }

// Check reads everything that ledger holds and compares it with what was witnessed: every event with its record, the chain over them with every
// checkpoint, every checkpoint with its signature. Events without their whole payload pass if they are superseded reports or Secrets, see events.Raw.Kept. It may run beside a notary. What is wrong is in the report; an error says that it could not be found out: ctx ended,
// there is no witness (fs.ErrNotExist), or a file of it can't be read.
func Check(ctx context.Context, ledger events.RawReader, o Options) (Report, error) {
	o.Stall = cmp.Or(o.Stall, defaultStall)
	began := time.Now()
	w, err := openWitness(o)
	var found Finding
	if errors.As(err, &found) {
		return Report{Findings: []Finding{found}, Took: time.Since(began)}, nil
	}
	if err != nil {
		return Report{}, err
	}
	defer func() { _ = w.close() }() // read-only
	k := newComparison(w, o)
	if err := k.run(ctx, ledger); err != nil {
		return k.report, err
	}
	r := &k.report
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(a.Revision, b.Revision) })
	r.Findings = r.Findings[:min(len(r.Findings), maxFindings)]
	r.Took = time.Since(began)
	return *r, nil
}

// openWitness opens what o names; without a directory, a witness that knows nothing but where chains begin.
func openWitness(o Options) (*witness, error) {
	if o.Dir == "" {
		if len(o.Marks) == 0 {
			return nil, errors.New("nothing to check the ledger against: name the trust directory or a checkpoint that was kept elsewhere")
		}
		w := &witness{checkpoints: &checkpoints{}}
		w.begin(anchor{})
		return w, nil
	}
	w, err := readWitness(o.Dir, o.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("nothing was witnessed in %s (no notary has run with it, or its files were removed): %w", o.Dir, err)
	}
	return w, err
}

func (k *comparison) run(ctx context.Context, ledger events.RawReader) error {
	first, last, err := ledger.Bounds(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		k.unreadable(k.w.first(), err)
		return nil
	}
	if k.o.To != 0 {
		last = min(last, k.o.To)
	}
	if last == 0 || first > last {
		k.next = max(k.w.first(), k.o.From, first)
	} else {
		k.begin(max(first, k.o.From))
	}
	for k.next <= last {
		before := k.next
		err := read(ctx, ledger, k.next, last, k.o.Stall, k.take)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			k.unreadable(k.next, err)
			k.finish()
			return nil
		}
		if k.next == before { // nothing more comes, though the broker claims that there is more
			break
		}
	}
	k.absent(last + 1)
	k.readToEnd = true
	k.finish()
	return nil
}
