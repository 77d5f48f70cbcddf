package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"time"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/recording"
	"github.com/wakehq/wake/events/seal"
	"github.com/wakehq/wake/events/segment"
	"github.com/wakehq/wake/events/timetravel"
	"github.com/wakehq/wake/gateway/pki"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/scheduler"
)

// history is a stretch of a cluster's ledger with what is needed to decide on it again: from a recording, a running cluster, or the data directory of
// a stopped one.
type history struct {
	source   string // where it is from, for people
	cluster  string // the ID of its cluster
	ledger   events.Ledger
	sealed   recording.Source // what ledger opens the secrets of
	keyless  bool             // their key isn't here: ledger has shells of them
	registry *schemas.Registry
	past     *timetravel.Past
	deciding deciding
	first    events.Revision // of its events; the state before is known
	last     events.Revision
	closers  []func() error
}

// stretch says which history is wanted. What is opened may hold more.
type stretch struct {
	file     string // a recording; empty: the cluster's own
	from, to string // moments; empty: the oldest held, and now
}

// openHistory opens a history, which the caller closes.
func openHistory(ctx context.Context, place *location, s stretch) (h *history, err error) {
	h = &history{}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	if h.registry, err = schemas.NewRegistry(); err != nil {
		return h, err
	}
	_, running := place.serving()
	switch {
	case s.file != "":
		err = h.openFile(place, s.file)
	case running == nil:
		err = h.openRunning(ctx, place, s)
	default:
		err = h.openStopped(ctx, place, running)
	}
	if err != nil {
		return h, err
	}
	h.past = timetravel.New(h.ledger, h.registry)
	first, last, err := h.sealed.Bounds(ctx)
	h.first, h.last = max(first, 1), last
	return h, err
}

func (h *history) close() error {
	var failed error
	for i := len(h.closers) - 1; i >= 0; i-- {
		failed = errors.Join(failed, h.closers[i]())
	}
	h.closers = nil
	return failed
}

// openFile reads a recording.
func (h *history) openFile(place *location, name string) error {
	r, err := segment.OpenFile(name)
	if err != nil {
		return err
	}
	h.source = name
	return h.read(place, r)
}

// read makes a recording the history. Its secrets open if they are those of the cluster at place.
func (h *history) read(place *location, r *segment.Reader) error {
	h.closers = append(h.closers, r.Close)
	recorded := segment.NewLedger(r)
	h.sealed, h.cluster = recorded, r.Header().Cluster
	if len(r.Header().Deciders) == 0 {
		return fmt.Errorf("%s does not say how its cluster's deciders were set up: it is no export of a cluster", r.Name())
	}
	var err error
	if h.deciding, err = decidingOf(r.Header().Deciders); err != nil {
		return err
	}
	h.ledger, h.keyless = seal.Shell(recorded), true
	for _, at := range []*location{place, place.beside()} {
		if id, err := at.load(); err == nil && id.ID == r.Header().Cluster {
			return h.unseal(at, recorded, (*seal.Ledger).Redacted)
		}
	}
	return nil
}

// unseal opens the secrets of ledger with the key of the cluster at place, if it is there; how says in which way.
func (h *history) unseal(place *location, ledger events.Ledger, how func(*seal.Ledger) *seal.Ledger) error {
	h.ledger, h.keyless = seal.Shell(ledger), true
	if _, err := os.Stat(place.secretKey()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	opened, err := seal.New(ledger, place.secretKey())
	if err == nil {
		h.ledger, h.keyless = how(opened), false
	}
	return err
}

// openRunning has the running cluster export its history to a file without a name.
func (h *history) openRunning(ctx context.Context, place *location, s stretch) error {
	f, err := os.CreateTemp("", "wake-history-")
	if err != nil {
		return fmt.Errorf("making room for the history: %w", err)
	}
	h.closers = append(h.closers, f.Close)
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("making room for the history: %w", err)
	}
	size, err := place.export(ctx, f, s.from, s.to, false)
	if err != nil {
		return err
	}
	h.source = "the cluster in " + place.dir
	r, err := segment.Open(f, size, "the export of "+h.source)
	if err != nil {
		return err
	}
	return h.read(place, r)
}

// export writes a recording of the running cluster's history between two moments to out, and returns its size in bytes.
func (l *location) export(ctx context.Context, out io.Writer, from, to string, dropSecrets bool) (int64, error) {
	client, err := l.ledgerClient()
	if err != nil {
		return 0, err
	}
	q := url.Values{}
	for name, moment := range map[string]string{"from": from, "to": to} {
		if moment != "" {
			q.Set(name, moment)
		}
	}
	if dropSecrets {
		q.Set("secrets", "dropped")
	}
	response, err := client.ask(ctx, "export", q)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	size, err := io.Copy(out, response.Body)
	if why := response.Trailer.Get("Wake-Broken-Off"); why != "" {
		err = errors.New(why)
	}
	if err != nil {
		return size, fmt.Errorf("the cluster broke the export off after %d bytes: %w", size, err)
	}
	return size, nil
}

// openStopped reads the ledger of a cluster that doesn't run.
func (h *history) openStopped(ctx context.Context, place *location, notRunning error) error {
	id, err := place.load()
	if errors.Is(err, fs.ErrNotExist) {
		return notRunning
	}
	if err != nil {
		return err
	}
	authority, err := pki.Open(place.pki())
	if err != nil {
		return err
	}
	store, err := openStopped(ctx, place, id)
	h.closers = append(h.closers, store.close)
	if err != nil {
		return err
	}
	if h.deciding, err = id.deciding(authority); err != nil {
		return err
	}
	h.source, h.sealed, h.cluster = "the stopped cluster in "+place.dir, store.archived, id.ID
	return h.unseal(place, store.archived, func(l *seal.Ledger) *seal.Ledger { return l })
}

// state returns the state as it was right after revision.
func (h *history) state(ctx context.Context, revision events.Revision) (*events.State, error) {
	return h.past.StateAt(ctx, revision)
}

// deciders returns the deciders that decided on this history, or would have with another scheduler.
func (h *history) deciders(scheduling scheduler.Config) func() []runner.Decider {
	return func() []runner.Decider { return h.deciding.deciders(scheduling) }
}

// resolve returns the revisions that moments stand for: the first after from, and that of to. Empty moments leave them alone.
func (h *history) resolve(ctx context.Context, from, to string, first, last *events.Revision) error {
	now := time.Now()
	if from != "" {
		revision, err := h.past.Resolve(ctx, from, now)
		if err != nil {
			return err
		}
		*first = revision + 1
	}
	if to != "" {
		revision, err := h.past.Resolve(ctx, to, now)
		if err != nil {
			return err
		}
		*last = revision
	}
	return nil
}
