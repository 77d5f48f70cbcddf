package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
	"github.com/wakehq/wake/schemas/ingressclass"
	"github.com/wakehq/wake/services/feed/policy"
)

// Defaults of Config.
const (
	DefaultSilence = 5 * nodewire.HeartbeatEvery
	DefaultGrace   = 3 * DefaultSilence
)

// Line carries messages to and from the nodes. *nodewire.Server is one.
type Line interface {
	Serve(ctx context.Context, h nodewire.Handler) error
	Publish(slice nodewire.Slice) error
}

// Shard says which nodes are this feed's, where there are several. *presence.Group is one.
type Shard interface {
	// Owns says that a node is this feed's now.
	Owns(node string) bool
	// Moved returns a channel that is closed when some node may have changed hands.
	Moved() <-chan struct{}
}

// Config is what a Feed needs.
type Config struct {
	View   *events.View
	Ledger events.Ledger
	Line   Line
	Log    *slog.Logger

	// Registers says that a node may register itself by its first report, and say of itself that it serves Ingresses; others must be in the ledger already, and
	// be labelled by whoever administers them. Nil: all may.
	Registers func(node string) bool

	// Shard is nil if there is no other feed. Connected says that nodes can be heard now; nil: they always can.
	Shard     Shard
	Connected func() bool

	Silence time.Duration // after which a node is lost; 0 is DefaultSilence
	Grace   time.Duration // how long after its own start the Feed waits before it calls nodes lost; 0 is DefaultGrace
}

// Feed serves nodes. Make one with New.
type Feed struct {
	Config
	epoch string

	mu    sync.Mutex // held from a change to the publishing of what it means, so that slices leave in order
	state *events.State
	nodes map[string]*account
	wants map[object]map[string]int // which nodes have how many pods that name a Secret or ConfigMap

	policies *policy.Resolver
	classes  ingressclass.Set // of the Ingresses that are Wake's to serve

	pulse pulse
}

// New returns a Feed.
func New(c Config) *Feed {
	if c.Silence == 0 {
		c.Silence = DefaultSilence
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	return &Feed{Config: c}
}

// Run serves until ctx ends, and returns its error, or why the line can't be served.
func (f *Feed) Run(ctx context.Context) error {
	cursor := f.begin()
	f.pulse.begin(time.Now())
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error { return f.Line.Serve(inner, f) })
	group.Go(func() error { return f.follow(inner, cursor) })
	group.Go(func() error { return f.judgeNodes(inner) })
	if f.Shard != nil {
		group.Go(func() error { return f.changeHands(inner) })
	}
	err := group.Wait()
	if ctx.Err() == nil {
		return fmt.Errorf("the node feed stops: %w", err)
	}
	return err
}

// begin takes the present. No node has been told of anything yet, and the new epoch tells them so with their next heartbeat.
func (f *Feed) begin() *events.Cursor {
	f.mu.Lock()
	defer f.mu.Unlock()
	state, cursor := f.View.Subscribe()
	f.state, f.nodes, f.wants, f.epoch = state, map[string]*account{}, map[object]map[string]int{}, string(uuid.NewUUID())
	f.policies, f.classes = policy.New(state), state.IngressClasses()
	return cursor
}

// follow sends out what changes. If it falls too far behind, it begins again and every node asks for a full slice.
func (f *Feed) follow(ctx context.Context, cursor *events.Cursor) error {
	for {
		changes, state, err := cursor.Next(ctx)
		switch {
		case errors.Is(err, events.ErrTooOld):
			f.Log.Warn("the node feed fell behind and starts afresh; nodes will ask for full slices", "error", err)
			cursor = f.begin()
			continue
		case err != nil:
			return err
		}
		f.send(changes, state)
	}
}

// Heartbeat notes that a node lives, whoever's it is.
func (f *Feed) Heartbeat(_ context.Context, node string) (nodewire.Beat, error) {
	f.pulse.heard(node, time.Now())
	if !f.owns(node) {
		return nodewire.Beat{}, nodewire.ErrNotMine
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.nodes[node]; a != nil {
		return nodewire.Beat{Epoch: f.epoch, Revision: a.revision}, nil
	}
	return nodewire.Beat{}, nil // no epoch is the node's own: it asks for a full slice
}
