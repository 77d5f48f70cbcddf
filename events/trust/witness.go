package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/wakehq/wake/events"
)

// witness is everything that a trust directory says. It is read-only and used by one goroutine.
type witness struct {
	*checkpoints
	anchors []anchor // signed, ascending: what the chain came to where
	epochs  []epoch  // ascending: which chain file speaks of which revisions
}

// anchor is a signed Mark. Those of an epoch that a break ended are dropped from the break on.
type anchor struct {
	Checkpoint
	byBreak bool
}

// epoch is a chain file. It speaks from first on, until the next epoch's first.
type epoch struct {
	number int
	first  events.Revision
	chain  *chainFile // nil if it is gone or damaged
}

// readWitness reads dir. key is the key that must be pinned, or nil. Errors: fs.ErrNotExist if dir holds no witness, a Finding if it can't be used at all.
func readWitness(dir string, key ed25519.PublicKey) (*witness, error) {
	c, err := readCheckpoints(dir)
	if err != nil {
		return nil, err
	}
	if key != nil && !bytes.Equal(key, c.pin.Key) {
		return nil, finding(KeyMismatch, 0, 0, remedyAnew, "the trust directory %s was signed with another key than this cluster's.", dir)
	}
	w := &witness{checkpoints: c}
	w.begin(anchor{Checkpoint: c.pin.Checkpoint})
	for _, e := range c.entries {
		a := anchor{Checkpoint: e.Checkpoint, byBreak: e.Line == lineBreak}
		switch last := w.anchors[len(w.anchors)-1]; {
		case a.byBreak:
			w.begin(a)
		case a.Revision > last.Revision:
			w.anchors = append(w.anchors, a)
		}
	}
	for i := range w.epochs {
		if err := w.openEpoch(dir, &w.epochs[i]); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	return w, nil
}

// begin begins an epoch after a.
func (w *witness) begin(a anchor) {
	w.anchors = slices.DeleteFunc(w.anchors, func(b anchor) bool { return b.Revision >= a.Revision })
	w.anchors = append(w.anchors, a)
	number := 1
	if n := len(w.epochs); n > 0 {
		number = w.epochs[n-1].number + 1
	}
	w.epochs = slices.DeleteFunc(w.epochs, func(e epoch) bool { return e.first > a.Revision })
	w.epochs = append(w.epochs, epoch{number: number, first: a.Revision + 1})
}

func (w *witness) openEpoch(dir string, e *epoch) error {
	path := chainPath(dir, e.number)
	chain, err := openChain(path, os.O_RDONLY)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		w.findings = append(w.findings, finding(ChainAltered, e.first, 0, remedyTrust, "the chain file %s is gone.", path))
		return nil
	case errors.Is(err, errDamaged):
		w.findings = append(w.findings, finding(ChainAltered, e.first, 0, remedyTrust, "the header of the chain file %s was altered.", path))
		return nil
	case err != nil:
		return err
	}
	if chain.header != w.header(e.number, e.first) {
		w.findings = append(w.findings, finding(ChainAltered, e.first, 0, remedyTrust, "the header of the chain file %s is not what the checkpoints say.", path))
		return chain.close()
	}
	e.chain = chain
	return nil
}

// header is how the chain file of an epoch must begin.
func (w *witness) header(number int, first events.Revision) chainHeader {
	h := chainHeader{epoch: uint32(number), first: first, cluster: sha256.Sum256([]byte(w.pin.Cluster))}
	for _, a := range w.anchors {
		if a.Revision == first-1 {
			h.before = a.Chain
		}
	}
	return h
}

func (w *witness) close() error {
	var errs []error
	for _, e := range w.epochs {
		if e.chain != nil {
			errs = append(errs, e.chain.close())
		}
	}
	return errors.Join(errs...)
}

// first is the first revision that was witnessed.
func (w *witness) first() events.Revision { return w.pin.Revision + 1 }

// last is the newest epoch.
func (w *witness) last() *epoch { return &w.epochs[len(w.epochs)-1] }

// signed is the last signed anchor.
func (w *witness) signed() anchor { return w.anchors[len(w.anchors)-1] }

// end is the last revision that was witnessed, signed or not.
func (w *witness) end() events.Revision {
	end := w.signed().Revision
	if e := w.last(); e.chain != nil && e.chain.next() > end+1 {
		sound, followed := e.chain.sound(end + 1)
		if followed {
			return e.chain.next() - 1
		}
		return sound - 1
	}
	return end
}

// at returns the digest that revision n was witnessed with.
func (w *witness) at(n events.Revision) (d events.Digest, ok bool) {
	for _, e := range slices.Backward(w.epochs) {
		if n >= e.first {
			if e.chain == nil {
				return d, false
			}
			return e.chain.at(n)
		}
	}
	return d, false
}

// chainAt returns what the chain came to at revision n, by the last anchor and the records after it.
func (w *witness) chainAt(n events.Revision) (chain events.Digest, ok bool) {
	from := w.anchors[0]
	for _, a := range w.anchors {
		if a.Revision <= n {
			from = a
		}
	}
	if n < from.Revision {
		return chain, false
	}
	chain = from.Chain
	for m := from.Revision + 1; m <= n; m++ {
		d, ok := w.at(m)
		if !ok {
			return chain, false
		}
		chain = chain.Link(d)
	}
	return chain, true
}

// holesUntil is the revision up to which the break that began n's epoch took the ledger as it was.
func (w *witness) holesUntil(n events.Revision) (until events.Revision) {
	for _, e := range w.epochs {
		if n >= e.first && e.number > 1 && e.number-2 < len(w.breaks) {
			until = w.breaks[e.number-2].Until
		}
	}
	return until
}
