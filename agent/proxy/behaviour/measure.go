package behaviour

import (
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

const (
	sinkPort = 8081
	// rounds is how often the two sides of a comparison take turns.
	rounds = 9
	turn   = 400 * time.Millisecond
)

// Measure compares a client outside that uses a service with one that goes straight to the pod: bytes and new connections per second, medians
// of several turns in one run, and their ratio. Run it with -benchtime=1x.
func Measure(b *testing.B, newBackend Factory) {
	b.Run("throughput", func(b *testing.B) {
		w := servedSink(b, newBackend)
		for b.Loop() {
			w.compare(b, "MB", pourBytes)
		}
	})
	b.Run("connections", func(b *testing.B) {
		w := servedSink(b, newBackend)
		for b.Loop() {
			w.compare(b, "conns", openConnections)
		}
	})
}

// servedSink is a world of which two pods take bytes, the first behind a service. The second is the one for going straight: IPVS would confuse
// connections to one pod that come from the same port of a client, with and without the service.
func servedSink(b *testing.B, newBackend Factory) *bench {
	b.Helper()
	w := newBench(b, kind{}, newBackend)
	for _, p := range w.pods[:2] {
		w.in(b, p.ns, func() { p.takeBytes(b) })
	}
	slice := backedBy("web", 0)
	slice.Ports[0].Port = ptr(int32(sinkPort))
	w.serve(b, []*corev1.Service{service("web", "10.96.0.1")}, slice)
	return w
}

// takeBytes listens in the current namespace until the benchmark ends.
func (p *pod) takeBytes(b *testing.B) {
	b.Helper()
	l, err := net.Listen("tcp4", fmt.Sprintf("%s:%d", p.ip, sinkPort))
	require.NoError(b, err)
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = conn.Write([]byte{'!'})
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}()
		}
	}()
}

// compare lets both sides take turns, from the client's namespace.
func (b *bench) compare(t *testing.B, unit string, count func(addr string, until time.Time) (int, error)) {
	t.Helper()
	rates := map[string][]float64{}
	b.in(t, b.client, func() {
		for range rounds {
			for name, addr := range map[string]string{"direct": fmt.Sprintf("%s:%d", podIP(1), sinkPort), "service": "10.96.0.1:80"} {
				start := time.Now()
				n, err := count(addr, start.Add(turn))
				require.NoError(t, err, name)
				rates[name] = append(rates[name], float64(n)/time.Since(start).Seconds())
			}
		}
	})
	for name, list := range rates {
		slices.Sort(list)
		t.ReportMetric(list[len(list)/2], fmt.Sprintf("%s-%s/s", name, unit))
	}
	t.ReportMetric(rates["service"][rounds/2]/rates["direct"][rounds/2], "ratio")
	t.ReportMetric(0, "ns/op")
}

// dialSink connects and waits for the pod's first byte.
func dialSink(addr string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp4", addr, patience)
	if err != nil {
		return nil, err
	}
	if err = conn.SetDeadline(time.Now().Add(patience)); err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// pourBytes sends for a while over one connection and gives the megabytes sent.
func pourBytes(addr string, until time.Time) (int, error) {
	conn, err := dialSink(addr)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	buf, sent := make([]byte, 256<<10), 0
	for time.Now().Before(until) {
		n, err := conn.Write(buf)
		if err != nil {
			return 0, err
		}
		sent += n
	}
	return sent >> 20, nil
}

// openConnections opens one connection after the other. They end by a reset, so that ports don't run out.
func openConnections(addr string, until time.Time) (int, error) {
	made := 0
	for time.Now().Before(until) {
		conn, err := dialSink(addr)
		if err != nil {
			return 0, fmt.Errorf("connection %d: %w", made+1, err)
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = tcp.SetLinger(0)
		}
		if err != nil {
			return 0, err
		}
		_ = conn.Close()
		made++
	}
	return made, nil
}
