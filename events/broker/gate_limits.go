package broker

import (
	"sync"
	"time"
)

// limits are what the connections of one node share.
type limits struct{ connections, messages, bytes bucket }

func newLimits(now time.Time) *limits {
	return &limits{
		connections: bucket{rate: guestConnections, burst: guestConnectionBurst, level: guestConnectionBurst, at: now},
		messages:    bucket{rate: guestMessages, burst: guestMessageBurst, level: guestMessageBurst, at: now},
		bytes:       bucket{rate: guestBytes, burst: guestByteBurst, level: guestByteBurst, at: now},
	}
}

// full says that nothing is remembered of what was used.
func (l *limits) full(now time.Time) bool {
	return l.connections.take(0, now) == 0 && l.connections.isFull() && l.messages.take(0, now) == 0 && l.messages.isFull() && l.bytes.take(0, now) == 0 && l.bytes.isFull()
}

// bucket fills with rate a second up to burst. What is taken beyond that is lent, and waited for.
type bucket struct {
	mu          sync.Mutex
	rate, burst float64
	level       float64
	at          time.Time
}

// take takes n and returns how long to wait before it is used.
func (b *bucket) take(n float64, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.level = min(b.burst, b.level+b.rate*max(0, now.Sub(b.at).Seconds()))
	b.at = now
	b.level -= n
	if b.level >= 0 {
		return 0
	}
	return time.Duration(-b.level / b.rate * float64(time.Second))
}

func (b *bucket) isFull() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.level >= b.burst
}
