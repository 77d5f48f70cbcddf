package jetstream

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wakehq/wake/events"
)

// StreamName is the name of the ledger's stream.
const StreamName = "LEDGER"

// duplicates is the shortest window for deduplication by message ID, which the ledger doesn't use and which slows down recovery.
const duplicates = 100 * time.Millisecond

// Config says how the stream is kept.
type Config struct {
	Replicas int // 1 if 0; more need a cluster of brokers
}

// Ledger implements events.Ledger.
type Ledger struct {
	conn       *nats.Conn
	ids        *events.IDs
	replicated bool // a reader may be served by a broker that lags behind

	acks      *nats.Subscription
	inbox     string // reply subjects of pipelines: <inbox><pipeline>.<index>
	mu        sync.Mutex
	pipelines map[uint64]*pipeline
	started   uint64
}

var _ events.Ledger = (*Ledger)(nil)

// Open opens the ledger in the account that conn is in, and creates its stream if there is none. The connection stays the caller's.
func Open(ctx context.Context, conn *nats.Conn, config Config) (*Ledger, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	if err := createStream(ctx, js, config); err != nil {
		return nil, fmt.Errorf("opening the ledger's stream %s: %w", StreamName, err)
	}
	l := &Ledger{conn: conn, replicated: config.Replicas > 1, ids: events.NewIDs(rand.Text()[:12]), inbox: nats.NewInbox() + ".", pipelines: map[uint64]*pipeline{}}
	if l.acks, err = conn.Subscribe(l.inbox+">", l.acknowledged); err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	if err := l.acks.SetPendingLimits(-1, -1); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the ledger: %w", err), l.acks.Unsubscribe())
	}
	return l, nil
}

// createStream makes the stream or brings it up to date. Single events can't be deleted from it; only the oldest can be trimmed.
func createStream(ctx context.Context, js jetstream.JetStream, config Config) error {
	wanted := jetstream.StreamConfig{
		Name: StreamName, Subjects: []string{events.SubjectPrefix + ".>"}, Storage: jetstream.FileStorage, Replicas: cmp.Or(config.Replicas, 1),
		Retention: jetstream.LimitsPolicy, Duplicates: duplicates, AllowDirect: true, AllowAtomicPublish: true, DenyDelete: true,
	}
	_, err := js.CreateOrUpdateStream(ctx, wanted)
	if err == nil {
		return nil
	}
	// The broker never takes back that a stream can't be purged. One that was made so is used as it is: it grows, and Trim says why.
	if existing, infoErr := js.Stream(ctx, StreamName); infoErr == nil && existing.CachedInfo().Config.DenyPurge {
		wanted.DenyPurge = true
		_, err = js.UpdateStream(ctx, wanted)
	}
	return err
}

// Close implements events.Ledger. Appends under way end with an error.
func (l *Ledger) Close() error {
	err := l.acks.Unsubscribe()
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrBadSubscription) {
		return nil
	}
	return err
}

// Last implements events.Ledger.
func (l *Ledger) Last(ctx context.Context) (events.Revision, time.Time, error) {
	state, err := l.state(ctx)
	if err != nil || state.LastSeq == 0 {
		return 0, time.Time{}, err
	}
	return state.LastSeq, state.LastTime, nil
}

// RevisionAt implements events.Ledger.
func (l *Ledger) RevisionAt(ctx context.Context, t time.Time) (events.Revision, error) {
	next, err := l.firstSince(ctx, t.Add(1))
	if err != nil {
		return 0, fmt.Errorf("looking for the revision at %s: %w", t.Format(time.RFC3339Nano), err)
	}
	if next > 0 {
		return next - 1, nil
	}
	revision, _, err := l.Last(ctx)
	return revision, err
}
