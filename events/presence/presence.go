package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wakehq/wake/events"
)

const (
	// BeatEvery is how often a member says that it is there.
	BeatEvery = 400 * time.Millisecond
	// Gone is how long a member may be silent.
	Gone = 2 * time.Second

	prefix = "presence."
)

// Member is a process of a kind.
type Member struct {
	ID   string `json:"id"`             // no other process's, ever
	Says string `json:"says,omitempty"` // what the others are to know of it
}

// beat is what members say.
type beat struct {
	Member
	Leaves  bool `json:"leaves,omitempty"`
	Listens bool `json:"listens,omitempty"` // it has just begun and doesn't know the others: nothing is its own yet
}

// Group is the members of a kind, as one of them knows them. It may be used by many goroutines.
type Group struct {
	conn *nats.Conn
	kind string
	self Member

	mu      sync.Mutex
	heard   map[string]seen // the others
	moved   chan struct{}   // closed when somebody has come or gone
	settled bool            // it has listened for long enough to know the others
}

type seen struct {
	Member
	at      time.Time
	listens bool
}

// Join returns the group of a kind, which Run makes self a member of. conn is in the ledger's account and stays the caller's.
func Join(conn *nats.Conn, kind string, self Member) *Group {
	return &Group{conn: conn, kind: kind, self: self, heard: map[string]seen{}, moved: make(chan struct{})}
}

// Run is a member until ctx ends, and returns its error.
func (g *Group) Run(ctx context.Context) error {
	sub, err := g.conn.Subscribe(prefix+events.EncodeToken(g.kind)+".*", g.hear)
	if err != nil {
		return fmt.Errorf("listening to the other %s processes: %w", g.kind, err)
	}
	ticker := time.NewTicker(BeatEvery)
	defer ticker.Stop()
	began, last := time.Now(), time.Now()
	for {
		g.say(false) // who doesn't hear this one hears the next
		select {
		case <-ctx.Done():
			g.say(true)
			_ = g.conn.FlushTimeout(time.Second) // who doesn't hear it finds out by the silence
			return errors.Join(ctx.Err(), sub.Unsubscribe())
		case now := <-ticker.C:
			if now.Sub(last) > Gone/2 { // it was this process that was away: it has yet to hear who is there
				g.excuse(now)
			}
			last = now
			g.sweep(now, now.Sub(began) > 3*BeatEvery)
		}
	}
}

func (g *Group) say(leaves bool) {
	_, settled := g.Members()
	text, err := json.Marshal(beat{g.self, leaves, !settled})
	if err == nil {
		_ = g.conn.Publish(prefix+events.EncodeToken(g.kind)+"."+events.EncodeToken(g.self.ID), text)
	}
}

func (g *Group) hear(msg *nats.Msg) {
	var b beat
	if json.Unmarshal(msg.Data, &b) != nil || b.ID == g.self.ID || b.ID == "" || !strings.HasSuffix(msg.Subject, "."+events.EncodeToken(b.ID)) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	before, known := g.heard[b.ID]
	if b.Leaves {
		delete(g.heard, b.ID)
	} else {
		g.heard[b.ID] = seen{b.Member, time.Now(), b.Listens}
	}
	if known == b.Leaves || known && (before.Member != b.Member || before.listens != b.Listens) {
		g.wake()
	}
}

// excuse takes everybody for present now.
func (g *Group) excuse(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, s := range g.heard {
		s.at = now
		g.heard[id] = s
	}
}

// sweep forgets who is silent. While this process is cut off from the brokers it hears nobody, which says nothing of the others.
func (g *Group) sweep(now time.Time, settled bool) {
	if !g.conn.IsConnected() {
		g.excuse(now)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	moved := settled && !g.settled
	g.settled = g.settled || settled
	for id, s := range g.heard {
		if now.Sub(s.at) > Gone {
			delete(g.heard, id)
			moved = true
		}
	}
	if moved {
		g.wake()
	}
}

// wake tells who waits. g.mu is held.
func (g *Group) wake() {
	close(g.moved)
	g.moved = make(chan struct{})
}

// Moved returns a channel that is closed when somebody comes or goes after this call.
func (g *Group) Moved() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.moved
}

// Members returns who is there, this process included, ordered by ID. settled is false as long as it has not listened for long enough to know.
func (g *Group) Members() (members []Member, settled bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	members = append(members, g.self)
	for _, id := range slices.Sorted(maps.Keys(g.heard)) {
		members = append(members, g.heard[id].Member)
	}
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return members, g.settled
}

// Owns says that a key is this process's.
func (g *Group) Owns(key string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.settled {
		return false
	}
	own := score(g.self.ID, key)
	for id, s := range g.heard {
		if s.listens {
			continue
		}
		if other := score(id, key); other > own || other == own && id > g.self.ID {
			return false
		}
	}
	return true
}

// score is a member's claim to a key: the highest has it (rendezvous hashing).
func score(id, key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id + "\x00" + key))
	x := h.Sum64() // whose high bits know little of the last bytes
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
