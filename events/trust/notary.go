package trust

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/wakehq/wake/events"
)

const (
	defaultEvery = 10 * time.Second
	defaultPoll  = time.Second
	defaultStall = 10 * time.Second
	// farewellWithin bounds the last look at the ledger before a stop.
	farewellWithin = 3 * time.Second
	// lookBack is how many of the last witnessed events are compared again at a start: what is most likely to differ after a restored copy.
	lookBack = 256
	// recordsAtOnce is how many records are written together.
	recordsAtOnce = 4096
)

// Config says what a notary witnesses and where it keeps that. Dir, KeyFile, Cluster and Ledger must be set.
type Config struct {
	Dir     string           // the trust directory, outside of the cluster's data directory; created if missing
	KeyFile string           // the signing key, mode 0600; made with the trust directory
	Cluster string           // the cluster's ID
	Ledger  events.RawReader // with its archive, if there is one
	Every   time.Duration    // between checkpoints while there is something new; 10 s if 0
	Poll    time.Duration    // between looks at the ledger; 1 s if 0
	Stall   time.Duration    // after how long without an event reading counts as stuck; 10 s if 0
	Log     *slog.Logger     // breaks and failures; slog.Default() if nil
}

// Status is what a notary has witnessed.
type Status struct {
	Dir        string          `json:"dir"`
	Revision   events.Revision `json:"revision"`             // witnessed up to here
	Checkpoint *Checkpoint     `json:"checkpoint,omitempty"` // the last that was signed
	Broken     *Finding        `json:"broken,omitempty"`     // why nothing is recorded any more, until the break is accepted
	Failing    string          `json:"failing,omitempty"`    // why the last look at the ledger failed; it is tried again
	Breaks     int             `json:"breaks,omitempty"`     // accepted so far
}

// Notary witnesses a ledger. It may be used by many goroutines.
type Notary struct {
	config Config
	lock   *os.File
	key    ed25519.PrivateKey

	working sync.Mutex // held by whoever reads the ledger or writes
	chain   *chainFile // of the last epoch
	log     *checkpointLog
	digest  events.Digest   // the chain at the last record
	checked bool            // the ledger was compared with what was witnessed before this start
	until   events.Revision // up to here the last accepted break takes the ledger as it is, holes included

	mu     sync.Mutex
	status Status
}

// Open opens the witness in config.Dir, or begins one. What is wrong with what was witnessed is no error: Status tells. Errors: another process has the
// directory, or a file can't be read or written.
func Open(config Config) (*Notary, error) {
	config.Every, config.Poll, config.Stall = cmp.Or(config.Every, defaultEvery), cmp.Or(config.Poll, defaultPoll), cmp.Or(config.Stall, defaultStall)
	config.Log = cmp.Or(config.Log, slog.Default())
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the trust directory: %w", err)
	}
	n := &Notary{config: config, status: Status{Dir: config.Dir}}
	if err := n.take(); err != nil {
		return nil, err
	}
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// take takes the directory for this process.
func (n *Notary) take() error {
	f, err := os.OpenFile(filepath.Join(n.config.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("locking the trust directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("trust directory %s is in use by another process: stop that one first, or choose another directory: %w", n.config.Dir, err), f.Close())
	}
	n.lock = f
	return nil
}

func (n *Notary) open() error {
	w, err := n.witness()
	var found Finding
	if errors.As(err, &found) {
		n.broken(found)
		return nil
	}
	if err != nil || w == nil {
		return err
	}
	defer func() { _ = w.close() }() // read-only
	if n.log, err = openCheckpointLog(n.config.Dir, n.key, w.checkpoints); err != nil {
		return err
	}
	n.status.Breaks = len(w.breaks)
	n.signedStatus(w.signed().Checkpoint)
	if len(w.findings) > 0 {
		n.broken(first(w.findings))
		return nil
	}
	return n.openChain(w)
}

// witness loads the key and what was witnessed. Without a witness it returns nil; then Witness begins one. A Finding says why neither is possible.
func (n *Notary) witness() (*witness, error) {
	var err error
	if n.key, err = readKey(n.config.KeyFile); err != nil {
		return nil, err
	}
	w, err := readWitness(n.config.Dir, nil)
	switch {
	case errors.Is(err, fs.ErrNotExist) && n.key != nil:
		return nil, finding(WitnessLost, 0, 0, remedyLost, "the trust directory %s holds no checkpoints, but the key %s has signed some: what was witnessed is lost.", n.config.Dir, n.config.KeyFile)
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if n.key == nil { // unless the first start was cut short after the key was pinned
		if n.key, err = readKey(n.config.KeyFile + pending); err == nil && n.key != nil && w.pin.Key.Equal(n.key.Public()) {
			err = adoptKey(n.config.KeyFile)
		}
	}
	switch {
	case err != nil:
	case w.pin.Cluster != n.config.Cluster:
		err = finding(OtherCluster, 0, 0, remedyAnew, "the trust directory %s is cluster %s's, not %s's.", n.config.Dir, w.pin.Cluster, n.config.Cluster)
	case n.key == nil:
		err = finding(KeyMismatch, 0, 0, remedyAnew, "the key %s that signed the checkpoints in %s is gone.", n.config.KeyFile, n.config.Dir)
	case !w.pin.Key.Equal(n.key.Public()):
		err = finding(KeyMismatch, 0, 0, remedyAnew, "the checkpoints in %s are not signed with the key %s.", n.config.Dir, n.config.KeyFile)
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// openChain goes on with the last chain file: what is torn is dropped, unless it was signed.
func (n *Notary) openChain(w *witness) error {
	e, signed := w.last(), w.signed()
	chain, err := openChain(chainPath(n.config.Dir, e.number), os.O_RDWR)
	if err != nil {
		return fmt.Errorf("opening the chain file: %w", err)
	}
	n.chain = chain
	end, followed := chain.sound(signed.Revision + 1)
	switch {
	case followed || chain.next() <= signed.Revision:
		at := min(end, chain.next())
		n.broken(finding(ChainAltered, at, 0, remedyTrust, "the chain file has no sound record of revision %d.", at))
		return nil
	case end < chain.next():
		if err := chain.dropFrom(end); err != nil {
			return err
		}
	}
	var ok bool
	if n.digest, ok = w.chainAt(end - 1); !ok {
		n.broken(finding(ChainAltered, signed.Revision+1, end-1, remedyTrust, "the chain file can't be read."))
		return nil
	}
	n.status.Revision, n.until = end-1, w.holesUntil(end)
	return nil
}

// Status tells what was witnessed.
func (n *Notary) Status() Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

// Close frees the directory. Run must have ended.
func (n *Notary) Close() error {
	n.working.Lock()
	defer n.working.Unlock()
	var errs []error
	if n.chain != nil {
		errs = append(errs, n.chain.close())
	}
	if n.log != nil {
		errs = append(errs, n.log.file.Close())
	}
	return errors.Join(append(errs, n.lock.Close())...)
}

// Run witnesses until ctx ends, takes a last look then, and signs. Failures to read or write are tried again: Status tells.
func (n *Notary) Run(ctx context.Context) error {
	poll, sign := time.NewTicker(n.config.Poll), time.NewTicker(n.config.Every)
	defer poll.Stop()
	defer sign.Stop()
	witnessed := n.Witness(ctx)
	signed := n.Sign() // at once: a process that never lives long should prove something, too
	for {
		n.note(ctx, errors.Join(witnessed, signed))
		select {
		case <-poll.C:
			witnessed = n.Witness(ctx)
		case <-sign.C:
			signed = n.Sign()
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellWithin)
			defer cancel()
			return errors.Join(n.Witness(ctx), n.Sign())
		}
	}
}

// note keeps the outcome of a look for Status.
func (n *Notary) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	n.mu.Lock()
	changed := text != n.status.Failing
	n.status.Failing = text
	n.mu.Unlock()
	if changed && err != nil {
		n.config.Log.Warn("the ledger can't be witnessed; it is tried again", "error", err)
	}
}

func (n *Notary) broken(f Finding) {
	n.mu.Lock()
	n.status.Broken = &f
	n.mu.Unlock()
	n.config.Log.Error("the ledger is not what was witnessed; nothing is recorded until the break is accepted", "finding", f.String())
}

func (n *Notary) signedStatus(c Checkpoint) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status.Checkpoint = &c
	n.status.Revision = max(n.status.Revision, c.Revision)
}

// Sign writes a checkpoint if something was witnessed since the last.
func (n *Notary) Sign() error {
	n.working.Lock()
	defer n.working.Unlock()
	return n.sign()
}

func (n *Notary) sign() error {
	s := n.Status()
	if s.Broken != nil || n.chain == nil || s.Checkpoint != nil && s.Checkpoint.Revision >= s.Revision {
		return nil
	}
	if err := n.chain.file.Sync(); err != nil {
		return fmt.Errorf("writing the chain to disk: %w", err)
	}
	c := Checkpoint{Mark{s.Revision, n.digest}, time.Now().UTC()}
	if err := n.log.append(entry{Line: lineCheckpoint, Checkpoint: c}); err != nil {
		return err
	}
	n.signedStatus(c)
	return nil
}
