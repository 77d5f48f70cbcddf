package dns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// fake answers with a record of its own TTL, fails, or takes its time.
type fake struct {
	mu    sync.Mutex
	asked int
	ttl   uint32
	deny  bool
	fail  error
	delay time.Duration
}

func (f *fake) exchange(_ context.Context, query *dns.Msg) (*dns.Msg, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	time.Sleep(f.delay)
	if f.fail != nil {
		return nil, f.fail
	}
	m := new(dns.Msg)
	m.SetReply(query)
	if f.deny {
		m.Rcode = dns.RcodeNameError
		m.Ns = []dns.RR{record("example.org. %d IN SOA ns.example.org. root.example.org. 1 2 3 4 30", f.ttl)}
		return m, nil
	}
	m.Answer = []dns.RR{record("%s %d IN A 192.0.2.1", query.Question[0].Name, f.ttl), record("%s 7200 IN A 192.0.2.2", query.Question[0].Name)}
	return m, nil
}

func record(format string, args ...any) dns.RR {
	rr, err := dns.NewRR(fmt.Sprintf(format, args...))
	if err != nil {
		panic(err)
	}
	return rr
}

var www = key{name: "www.example.org.", qtype: dns.TypeA}

func TestAnswersAreKeptForTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ttl: 60}
		r := newResolver(f, 1<<20, time.Hour)
		ttl := func() uint32 {
			m, err := r.resolve(t.Context(), www)
			require.NoError(t, err)
			return m.Answer[0].Header().Ttl
		}
		require.EqualValues(t, 60, ttl())
		time.Sleep(59 * time.Second)
		require.EqualValues(t, 1, ttl())
		require.Equal(t, 1, f.asked)
		time.Sleep(time.Second)
		require.EqualValues(t, 60, ttl())
		require.Equal(t, 2, f.asked)

		_, err := r.resolve(t.Context(), key{name: www.name, qtype: www.qtype, do: true})
		require.NoError(t, err)
		require.Equal(t, 3, f.asked, "an answer without signatures doesn't do for who wants them")
	})
}

func TestDenialsAreKeptForTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ttl: 60, deny: true}
		r := newResolver(f, 1<<20, time.Hour)
		for _, wait := range []time.Duration{0, 29 * time.Second, time.Second} {
			time.Sleep(wait)
			m, err := r.resolve(t.Context(), www)
			require.NoError(t, err)
			require.Equal(t, dns.RcodeNameError, m.Rcode)
		}
		require.Equal(t, 2, f.asked, "the SOA record's minimum, 30 s, is shorter than its TTL")
	})
}

func TestOldAnswersServeWhileNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ttl: 60}
		r := newResolver(f, 1<<20, time.Hour)
		resolve := func() (*dns.Msg, error) { return r.resolve(t.Context(), www) }
		_, err := resolve()
		require.NoError(t, err)
		f.fail = errors.New("the wire is cut")
		time.Sleep(2 * time.Minute)
		for range 3 {
			m, err := resolve()
			require.NoError(t, err)
			require.EqualValues(t, staleTTL, m.Answer[0].Header().Ttl)
		}
		require.Equal(t, 2, f.asked, "who has just failed isn't asked again at once")
		time.Sleep(retryStale)
		f.fail = nil
		m, err := resolve()
		require.NoError(t, err)
		require.EqualValues(t, 60, m.Answer[0].Header().Ttl)

		f.fail = errors.New("the wire is cut")
		time.Sleep(time.Hour + 2*time.Minute)
		_, err = resolve()
		require.ErrorIs(t, err, f.fail, "there is an end to it")
		require.ErrorContains(t, err, "www.example.org. A")
	})
}

func TestOldAnswersServeWhileAServerIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ttl: 60}
		r := newResolver(f, 1<<20, time.Hour)
		_, err := r.resolve(t.Context(), www)
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		f.delay = 3 * time.Second
		began := time.Now()
		m, err := r.resolve(t.Context(), www)
		require.NoError(t, err)
		require.EqualValues(t, staleTTL, m.Answer[0].Header().Ttl)
		require.Equal(t, patience, time.Since(began))
		time.Sleep(3 * time.Second)
		m, err = r.resolve(t.Context(), www)
		require.NoError(t, err)
		require.EqualValues(t, 60, m.Answer[0].Header().Ttl, "the answer that came late is kept")
		require.Equal(t, 2, f.asked)
	})
}

func TestOneQuestionForAllWhoAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ttl: 60, delay: time.Second}
		r := newResolver(f, 1<<20, time.Hour)
		gone, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			_, err := r.resolve(gone, www)
			require.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		for range 50 {
			group.Go(func() {
				m, err := r.resolve(t.Context(), www)
				require.NoError(t, err)
				m.Answer[0].Header().Name = "spoilt." // each has an answer of its own
			})
		}
		synctest.Wait()
		cancel() // who asked first leaves, the others are answered all the same
		group.Wait()
		require.Equal(t, 1, f.asked)
		m, err := r.resolve(t.Context(), www)
		require.NoError(t, err)
		require.Equal(t, www.name, m.Answer[0].Header().Name)
	})
}

func TestQueriesBeyondTheBoundsAreTurnedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{ttl: 60}
		r := newResolver(f, 1<<20, time.Hour)
		_, err := r.resolve(t.Context(), www)
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		f.delay = time.Second
		r.waiting, r.slots = make(chan struct{}, 2), make(chan struct{}, 1)
		var group sync.WaitGroup
		name := func(i int) key { return key{name: fmt.Sprintf("%d.example.org.", i), qtype: dns.TypeA} }
		group.Go(func() { _, err := r.resolve(t.Context(), name(1)); require.NoError(t, err) })
		synctest.Wait()
		_, err = r.resolve(t.Context(), name(2))
		require.ErrorIs(t, err, errBusy, "no room for another flight")
		group.Go(func() { _, err := r.resolve(t.Context(), name(1)); require.NoError(t, err) })
		synctest.Wait()
		_, err = r.resolve(t.Context(), name(1))
		require.ErrorIs(t, err, errBusy, "no room for another who waits")
		m, err := r.resolve(t.Context(), www)
		require.NoError(t, err)
		require.EqualValues(t, staleTTL, m.Answer[0].Header().Ttl, "an old answer needs none")
		group.Wait()
		_, err = r.resolve(t.Context(), name(2))
		require.NoError(t, err, "room is given back")
	})
}

func TestTheCacheStaysWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit = 64 << 10
		c := newCache(limit)
		now := time.Unix(1_000_000, 0)
		for range rapid.IntRange(1, 2000).Draw(t, "answers") {
			k := key{name: fmt.Sprintf("%d.example.org.", rapid.IntRange(0, 1500).Draw(t, "name"))}
			i := &item{wire: make([]byte, rapid.IntRange(12, 150).Draw(t, "bytes")), stored: now, ttl: time.Minute}
			if cost(k, i) > limit/cacheShards/10 {
				i.wire = nil
			}
			now = now.Add(time.Second)
			c.put(k, i, now)
			if cost(k, i) <= limit/cacheShards/10 {
				require.Same(t, i, c.get(k))
			}
		}
		items, bytes := c.size()
		require.LessOrEqual(t, bytes, limit)
		sum := 0
		for s := range c.shards {
			for k, i := range c.shards[s].items {
				sum += cost(k, i)
				items--
			}
		}
		require.Equal(t, bytes, sum)
		require.Zero(t, items)
	})
}

func TestAskedForAnswersAreSpared(t *testing.T) {
	c := newCache(cacheShards * 100 * 400)
	now := time.Unix(1_000_000, 0)
	c.put(www, &item{ttl: time.Hour, stored: now}, now)
	for i := range 200_000 {
		c.put(key{name: fmt.Sprintf("%d.example.org.", i)}, &item{ttl: time.Hour, stored: now}, now)
		require.NotNil(t, c.get(www), "after %d others", i)
	}
}

func TestTheNodesFileIsFollowed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string, age time.Duration) {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		at := time.Now().Add(-age)
		require.NoError(t, os.Chtimes(file, at, at))
	}
	write("nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver not-an-address\n", time.Hour)
	s := open(t, Config{ResolvConf: file})
	addrs := func() (out []string) {
		for _, u := range s.upstreams.usable(time.Now()) {
			out = append(out, u.addr.String())
		}
		return out
	}
	require.Equal(t, []string{"192.0.2.1:53", "192.0.2.2:53"}, addrs())
	s.upstreams.usable(time.Now())[0].down.Store(time.Now().Add(time.Minute).UnixNano())
	require.Equal(t, []string{"192.0.2.2:53", "192.0.2.1:53"}, addrs(), "who is down is asked last")

	changed, err := s.upstreams.reload()
	require.NoError(t, err)
	require.False(t, changed)
	write("nameserver 2001:db8::1\n", time.Minute)
	changed, err = s.upstreams.reload()
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, []string{"[2001:db8::1]:53"}, addrs())
	require.NoError(t, os.Remove(file))
	_, err = s.upstreams.reload()
	require.ErrorContains(t, err, file)
	require.Equal(t, []string{"[2001:db8::1]:53"}, addrs(), "those of before serve on")
}
