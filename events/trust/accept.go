package trust

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wakehq/wake/events"
)

// Accept ends a break: from its revision on a new chain begins, with the ledger as it is now, and why and by whom is signed and kept. The notary goes on.
// If it hasn't come upon a break itself, a whole check is made first: what that finds is accepted.
// Errors: nothing is broken; the break is of a kind that can't be accepted; the ledger can't be read.
func (n *Notary) Accept(ctx context.Context, reason, who string) (Break, error) {
	if reason == "" || who == "" {
		return Break{}, errors.New("accepting a break needs a reason and who accepts it: both are kept for good")
	}
	n.working.Lock()
	defer n.working.Unlock()
	found := n.Status().Broken
	if found == nil {
		var err error
		if found, err = n.find(ctx); err != nil {
			return Break{}, fmt.Errorf("accepting a break: %w", err)
		}
	}
	switch {
	case found == nil:
		return Break{}, errors.New("there is no break to accept: the ledger is what was witnessed")
	case n.log == nil:
		return Break{}, fmt.Errorf("this can't be accepted: %w", *found)
	}
	_, last, err := n.config.Ledger.Bounds(ctx)
	if err != nil {
		return Break{}, fmt.Errorf("accepting the break: %w", err)
	}
	w, err := readWitness(n.config.Dir, nil)
	if err != nil {
		return Break{}, fmt.Errorf("accepting the break: %w", err)
	}
	b := Break{Revision: min(max(found.Revision, w.first()), w.end()+1), Until: last, Reason: reason, Who: who, Time: time.Now().UTC(), Found: found}
	before, number := w.soundBefore(&b), w.last().number+1
	if err := w.close(); err != nil {
		return Break{}, err
	}
	return b, n.beginEpoch(b, before, number)
}

// soundBefore returns the chain before b. Where the records needed for that are damaged, too, b begins after the last anchor.
func (w *witness) soundBefore(b *Break) events.Digest {
	if chain, ok := w.chainAt(b.Revision - 1); ok {
		return chain
	}
	from := w.anchors[0]
	for _, a := range w.anchors {
		if a.Revision < b.Revision {
			from = a
		}
	}
	b.Revision = from.Revision + 1
	return from.Chain
}

// beginEpoch makes the chain file first: a break that is signed has one.
func (n *Notary) beginEpoch(b Break, before events.Digest, number int) error {
	header := (&witness{checkpoints: &checkpoints{pin: entry{Cluster: n.config.Cluster}},
		anchors: []anchor{{Checkpoint: Checkpoint{Mark: Mark{b.Revision - 1, before}}}}}).header(number, b.Revision)
	chain, err := createChain(n.config.Dir, header)
	if err != nil {
		return err
	}
	c := Checkpoint{Mark{b.Revision - 1, before}, b.Time}
	if err := n.log.append(entry{Line: lineBreak, Checkpoint: c, Break: &b}); err != nil {
		return errors.Join(err, chain.close())
	}
	if n.chain != nil {
		err = n.chain.close()
	}
	n.chain, n.digest, n.checked = chain, before, true
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status.Broken, n.status.Failing, n.status.Revision, n.status.Checkpoint = nil, "", b.Revision-1, &c
	n.status.Breaks++
	n.until = b.Until
	return err
}
