package dns

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

const (
	flightTime  = 4500 * time.Millisecond // all servers and tries together; clients give up after 5 s
	patience    = 800 * time.Millisecond  // how long a query waits for news when there is an old answer
	retryStale  = 5 * time.Second         // how long an old answer is used without a try after one failed
	staleTTL    = 30                      // seconds, of old answers
	maxFlights  = 1024
	maxWaiting  = 16384 // queries, for flights
	bufferBytes = 1232  // of a UDP message that arrives everywhere in one piece
)

var errBusy = fmt.Errorf("%d questions are already being asked, or %d queries wait for them", maxFlights, maxWaiting)

// exchanger asks other name servers; its answers are NOERROR or NXDOMAIN and whole.
type exchanger interface {
	exchange(ctx context.Context, query *dns.Msg) (*dns.Msg, error)
}

// resolver answers from what other name servers say, or have said.
type resolver struct {
	servers exchanger
	cache   *cache
	stale   time.Duration // how long an answer is used beyond its time
	flights singleflight.Group
	slots   chan struct{} // a token per flight
	waiting chan struct{} // a token per query that waits for one
	now     func() time.Time
}

func newResolver(servers exchanger, cacheBytes int, stale time.Duration) *resolver {
	return &resolver{
		servers: servers, cache: newCache(cacheBytes), stale: stale, now: time.Now,
		slots: make(chan struct{}, maxFlights), waiting: make(chan struct{}, maxWaiting),
	}
}

// resolve gives an answer that is the caller's to change, or says why there is none.
func (r *resolver) resolve(ctx context.Context, k key) (*dns.Msg, error) {
	now := r.now()
	old := r.cache.get(k)
	if old != nil && old.fresh(now) {
		return old.message(now)
	}
	if old != nil && now.After(old.stored.Add(old.ttl+r.stale)) {
		old = nil
	}
	select {
	case r.waiting <- struct{}{}:
		defer func() { <-r.waiting }()
	default:
		if old != nil {
			return old.message(now)
		}
		return nil, errBusy
	}
	var impatient <-chan time.Time
	if old != nil {
		if now.Sub(time.Unix(0, old.failed.Load())) < retryStale {
			return old.message(now)
		}
		timer := time.NewTimer(patience)
		defer timer.Stop()
		impatient = timer.C
	}
	// The flight outlives the query that began it: others wait for it too, and the answer is kept.
	flight := r.flights.DoChan(k.String(), func() (any, error) { return r.fly(context.WithoutCancel(ctx), k) })
	select {
	case landed := <-flight:
		if landed.Err == nil {
			return landed.Val.(*item).message(now)
		}
		if old != nil {
			old.failed.Store(now.UnixNano())
			return old.message(now)
		}
		return nil, landed.Err
	case <-impatient:
		return old.message(now)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fly asks the servers and keeps their answer. A failure is noted on the old answer, whoever still waits.
func (r *resolver) fly(ctx context.Context, k key) (*item, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	default:
		return nil, errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, flightTime)
	defer cancel()
	reply, err := r.servers.exchange(ctx, k.query())
	if err != nil {
		if old := r.cache.get(k); old != nil {
			old.failed.Store(r.now().UnixNano())
		}
		return nil, fmt.Errorf("resolving %s: %w", k, err)
	}
	reply.Compress = true
	wire, err := reply.Pack()
	if err != nil {
		return nil, fmt.Errorf("resolving %s: the answer can't be encoded: %w", k, err)
	}
	now := r.now()
	fresh := &item{wire: wire, stored: now, ttl: lifetime(reply)}
	if fresh.ttl > 0 {
		r.cache.put(k, fresh, now)
	}
	return fresh, nil
}

func (k key) String() string {
	text := k.name + " " + dns.Type(k.qtype).String()
	if k.do {
		text += " +dnssec"
	}
	if k.cd {
		text += " +cd"
	}
	return text
}

func (k key) query() *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(k.name, k.qtype)
	m.CheckingDisabled = k.cd
	m.SetEdns0(bufferBytes, k.do)
	return m
}

var errUnreadable = errors.New("an answer that was kept can't be decoded")

// message is the answer as it stands now: what is left of its records' time, or a short time if none is.
func (i *item) message(now time.Time) (*dns.Msg, error) {
	m := new(dns.Msg)
	if err := m.Unpack(i.wire); err != nil {
		return nil, errors.Join(errUnreadable, err)
	}
	age := uint32(max(0, now.Sub(i.stored)) / time.Second)
	old := i.ttl > 0 && !i.fresh(now)
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			h := rr.Header()
			switch {
			case h.Rrtype == dns.TypeOPT:
			case old:
				h.Ttl = staleTTL
			default:
				h.Ttl -= min(age, h.Ttl)
			}
		}
	}
	return m, nil
}
