package dns

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	cacheShards   = 32
	entryOverhead = 160 // bytes that an item costs beside its message and name, about
	evictionTries = 8
	maxPositive   = time.Hour
	maxNegative   = 30 * time.Minute
)

// key is what is asked of other servers. It is a cache key: whatever makes the answer differ is in it.
type key struct {
	name  string // in lower case
	qtype uint16
	do    bool // DNSSEC records are wanted
	cd    bool // without validation
}

// item is an answer that is kept. Only its marks change.
type item struct {
	wire   []byte
	stored time.Time
	ttl    time.Duration
	used   atomic.Bool
	// failed is when asking anew last failed, in nanoseconds of Unix time.
	failed atomic.Int64
}

func (i *item) fresh(now time.Time) bool { return now.Before(i.stored.Add(i.ttl)) }

// cache keeps answers in bounded memory. Items that are past their time stay until their room is needed.
type cache struct {
	shards [cacheShards]shard
}

type shard struct {
	mu    sync.RWMutex
	items map[key]*item
	bytes int
	max   int
}

func newCache(maxBytes int) *cache {
	c := &cache{}
	for i := range c.shards {
		c.shards[i] = shard{items: map[key]*item{}, max: maxBytes / cacheShards}
	}
	return c
}

func (c *cache) shard(k key) *shard {
	hash := uint32(2166136261)
	for i := range len(k.name) {
		hash = (hash ^ uint32(k.name[i])) * 16777619
	}
	return &c.shards[(hash^uint32(k.qtype))%cacheShards]
}

func (c *cache) get(k key) *item {
	s := c.shard(k)
	s.mu.RLock()
	found := s.items[k]
	s.mu.RUnlock()
	if found != nil && !found.used.Load() {
		found.used.Store(true)
	}
	return found
}

// put keeps an answer, and drops others to make room; one too large for a tenth of its shard isn't kept.
func (c *cache) put(k key, i *item, now time.Time) {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	size := cost(k, i)
	if size > s.max/10 {
		return
	}
	s.drop(k)
	for s.bytes+size > s.max {
		s.drop(s.victim(now))
	}
	s.items[k] = i
	s.bytes += size
}

func cost(k key, i *item) int { return len(k.name) + len(i.wire) + entryOverhead }

func (s *shard) drop(k key) {
	if old := s.items[k]; old != nil {
		s.bytes -= cost(k, old)
		delete(s.items, k)
	}
}

// victim chooses among a few items, in the map's random order: best one that is past its time, else one that nobody has asked
// for since it was last spared.
func (s *shard) victim(now time.Time) key {
	var chosen key
	tries := 0
	for k, i := range s.items {
		if tries++; tries == 1 || !i.used.Load() {
			chosen = k
		}
		if !i.fresh(now) {
			return k
		}
		i.used.Store(false)
		if tries == evictionTries {
			break
		}
	}
	return chosen
}

func (c *cache) size() (items, bytes int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		items, bytes = items+len(s.items), bytes+s.bytes
		s.mu.RUnlock()
	}
	return items, bytes
}

// lifetime is how long an answer may be kept; 0: not at all. A denial counts only with the SOA record that says how long.
func lifetime(m *dns.Msg) time.Duration {
	if m.Truncated || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return 0
	}
	if m.Rcode == dns.RcodeNameError || !answers(m) {
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				return min(maxNegative, seconds(min(soa.Hdr.Ttl, soa.Minttl)))
			}
		}
		return 0
	}
	ttl := maxPositive
	for _, rr := range m.Answer {
		ttl = min(ttl, seconds(rr.Header().Ttl))
	}
	return ttl
}

// answers says whether there is more to an answer than aliases.
func answers(m *dns.Msg) bool {
	for _, rr := range m.Answer {
		if t := rr.Header().Rrtype; t != dns.TypeCNAME && t != dns.TypeDNAME || t == m.Question[0].Qtype {
			return true
		}
	}
	return false
}

func seconds(ttl uint32) time.Duration { return time.Duration(ttl) * time.Second }
