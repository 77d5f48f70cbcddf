package trust

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/wakehq/wake/events"
)

// Witness records what the ledger holds since the last look, up to its present end. A break is no error: Status tells.
func (n *Notary) Witness(ctx context.Context) error {
	n.working.Lock()
	defer n.working.Unlock()
	if n.Status().Broken != nil {
		return nil
	}
	first, last, err := n.config.Ledger.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("witnessing the ledger: %w", err)
	}
	if n.chain == nil {
		if last == 0 {
			return nil
		}
		if err := n.begin(first); err != nil {
			return err
		}
	}
	if !n.checked {
		if err := n.compare(ctx, first, last); err != nil || n.Status().Broken != nil {
			return err
		}
		n.checked = true
	}
	return n.record(ctx, first, last)
}

// begin begins a witness: pins the key in the trust directory, and only then puts the key in its place.
func (n *Notary) begin(first events.Revision) error {
	key, err := makeKey(n.config.KeyFile)
	if err != nil {
		return err
	}
	header := chainHeader{epoch: 1, first: max(first, 1), cluster: sha256.Sum256([]byte(n.config.Cluster))}
	chain, err := createChain(n.config.Dir, header)
	if err != nil {
		return err
	}
	log, err := openCheckpointLog(n.config.Dir, key, &checkpoints{})
	if err != nil {
		return errors.Join(err, chain.close())
	}
	pin := entry{Line: linePin, Checkpoint: Checkpoint{Mark{header.first - 1, header.before}, time.Now().UTC()},
		Cluster: n.config.Cluster, Key: key.Public().(ed25519.PublicKey)}
	if err := errors.Join(log.append(pin), syncDir(n.config.Dir)); err != nil {
		return errors.Join(err, chain.close(), log.file.Close())
	}
	if err := adoptKey(n.config.KeyFile); err != nil {
		return errors.Join(err, chain.close(), log.file.Close())
	}
	n.key, n.chain, n.log, n.digest = key, chain, log, header.before
	n.signedStatus(pin.Checkpoint)
	return nil
}

// compare sees that the ledger still holds what was witnessed last.
func (n *Notary) compare(ctx context.Context, first, last events.Revision) error {
	end := n.chain.next() - 1
	from := max(first, n.chain.header.first, end-min(end, lookBack)+1)
	whole, expected := last >= end, from
	if whole && from <= end {
		err := read(ctx, n.config.Ledger, from, end, n.config.Stall, func(r events.Raw) bool {
			expected = n.chain.skipHoles(expected, r.Revision)
			d, ok := n.chain.at(expected)
			whole = r.Revision == expected && ok && d == r.Digest()
			expected++
			return whole
		})
		if err != nil {
			return fmt.Errorf("comparing the ledger with what was witnessed before: %w", err)
		}
	}
	if whole && n.chain.skipHoles(expected, end+1) > end {
		return nil
	}
	return n.diagnose(ctx)
}

// record records the events up to last.
func (n *Notary) record(ctx context.Context, first, last events.Revision) error {
	if last < n.chain.next()-1 || first > n.chain.next() {
		return n.diagnose(ctx)
	}
	from := n.chain.next()
	if last < from {
		return nil
	}
	digests := make([]events.Digest, 0, recordsAtOnce)
	var failed error
	flush := func() bool {
		if failed = n.chain.append(digests); failed != nil {
			return false
		}
		for _, d := range digests {
			n.digest = n.digest.Link(d)
		}
		digests = digests[:0]
		n.mu.Lock()
		n.status.Revision = n.chain.next() - 1
		n.mu.Unlock()
		return true
	}
	contiguous, until := true, n.until
	err := read(ctx, n.config.Ledger, from, last, n.config.Stall, func(r events.Raw) bool {
		for r.Revision > from && from <= until {
			digests = append(digests, hole)
			from++
		}
		if contiguous = r.Revision == from; !contiguous {
			return false
		}
		digests = append(digests, r.Digest())
		from++
		return len(digests) < recordsAtOnce || flush()
	})
	if failed == nil {
		for err == nil && contiguous && from <= min(until, last) {
			digests = append(digests, hole)
			from++
		}
		flush()
	}
	switch err := errors.Join(failed, err); {
	case err != nil:
		return fmt.Errorf("witnessing the ledger at revision %d: %w", from, err)
	case !contiguous || from <= last:
		return n.diagnose(ctx)
	}
	return nil
}

// diagnose finds out by a whole check what is wrong, and stops recording. It does not believe a difference that the check doesn't find.
func (n *Notary) diagnose(ctx context.Context) error {
	f, err := n.find(ctx)
	if err == nil && f == nil {
		err = errors.New("the ledger was not what was witnessed at one look and was at the next: looking again")
	}
	if err != nil {
		return err
	}
	n.broken(*f)
	return nil
}

// find makes a whole check and returns the first finding, nil if there is none. That the ledger can't be read is an error: it may pass, and proves nothing.
func (n *Notary) find(ctx context.Context) (*Finding, error) {
	failed := func(err error) (*Finding, error) {
		return nil, fmt.Errorf("finding out what is wrong with the ledger: %w", err)
	}
	if n.chain == nil {
		return nil, nil
	}
	if err := n.chain.file.Sync(); err != nil {
		return failed(err)
	}
	first, _, err := n.config.Ledger.Bounds(ctx)
	if err != nil {
		return failed(err)
	}
	// What was trimmed after it was witnessed is not missed here: whether the archive has it is for a check of the archive to say.
	from := min(first, n.chain.next())
	report, err := Check(ctx, n.config.Ledger, Options{Dir: n.config.Dir, Key: n.key.Public().(ed25519.PublicKey), From: from, Stall: n.config.Stall})
	if err != nil {
		return failed(err)
	}
	f := report.FirstFinding()
	if f != nil && f.Kind == Unreadable {
		return failed(*f)
	}
	return f, nil
}

// errStalled says that nothing came for too long.
var errStalled = errors.New("the ledger stopped handing out events")

// read is RawReader.ReadRaw with an end: errStalled if no event comes within stall.
func read(ctx context.Context, ledger events.RawReader, from, to events.Revision, stall time.Duration, yield func(events.Raw) bool) error {
	reading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var came atomic.Uint64
	go func() {
		tick := time.NewTicker(stall)
		defer tick.Stop()
		for seen := uint64(0); ; {
			select {
			case <-reading.Done():
				return
			case <-tick.C:
			}
			now := came.Load()
			if now == seen {
				cancel(errStalled)
				return
			}
			seen = now
		}
	}()
	came.Add(1)
	err := ledger.ReadRaw(reading, from, to, func(r events.Raw) bool {
		came.Add(1)
		return yield(r)
	})
	if err != nil && errors.Is(context.Cause(reading), errStalled) {
		return fmt.Errorf("%w within %s", errStalled, stall)
	}
	return err
}
