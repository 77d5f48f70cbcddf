package dns

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/wakehq/wake/agent/proxy"
)

const (
	benchServices  = 10_000
	benchEndpoints = 10 // of each service
)

// large is a cluster of 10,000 services with 10 endpoints each; every tenth is headless, with a host name for each endpoint.
func large() proxy.Change {
	change := proxy.Change{Full: true}
	for i := range benchServices {
		namespace, name := fmt.Sprintf("ns-%d", i/100), fmt.Sprintf("svc-%d", i)
		ip := fmt.Sprintf("10.%d.%d.%d", 96+i/62500, i/250%250, i%250+1)
		if i%10 == 0 {
			ip = corev1.ClusterIPNone
		}
		change.Services = append(change.Services, service(namespace, name, []string{ip}, corev1.ServicePort{Name: "http", Port: 80}))
		change.SlicesPut = append(change.SlicesPut, largeSlice(i, benchEndpoints))
	}
	return change
}

func largeSlice(i, n int) *discoveryv1.EndpointSlice {
	namespace, name := fmt.Sprintf("ns-%d", i/100), fmt.Sprintf("svc-%d", i)
	var eps []discoveryv1.Endpoint
	for j := range n {
		host, at := "", i*benchEndpoints+j
		if i%10 == 0 {
			host = fmt.Sprintf("%s-%d", name, j)
		}
		eps = append(eps, ready(fmt.Sprintf("10.%d.%d.%d", 128+at/62500, at/250%250, at%250+1), host))
	}
	ports := []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr(int32(8080))}}
	return slice(namespace, name, name+"-x", ports, eps...)
}

func BenchmarkFullUpdate(b *testing.B) {
	change := large()
	for b.Loop() {
		s := open(b, Config{})
		require.NoError(b, s.Apply(change))
	}
	b.ReportMetric(benchServices*benchEndpoints, "endpoints")
}

// BenchmarkOneEndpoint takes one endpoint of 100,000 away and brings it back, in turn.
func BenchmarkOneEndpoint(b *testing.B) {
	s := open(b, Config{})
	require.NoError(b, s.Apply(large()))
	for i := 0; b.Loop(); i++ {
		require.NoError(b, s.Apply(proxy.Change{SlicesPut: []*discoveryv1.EndpointSlice{largeSlice(i/2%benchServices, benchEndpoints-(i+1)%2)}}))
	}
}

func benchName(i int) string { return fmt.Sprintf("svc-%d.ns-%d.svc.cluster.local.", i, i/100) }

// BenchmarkReply answers without a socket.
func BenchmarkReply(b *testing.B) {
	s := open(b, Config{})
	require.NoError(b, s.Apply(large()))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		query := new(dns.Msg)
		for i := 1; pb.Next(); i++ {
			query.SetQuestion(benchName(i%benchServices), dns.TypeA)
			wire, err := s.reply(b.Context(), query, true).Pack()
			if err != nil || len(wire) < 50 {
				b.Fatal("no answer", err)
			}
		}
	})
}

// BenchmarkQueries asks over UDP; client and server share the machine.
func BenchmarkQueries(b *testing.B) {
	a := cachedUpstream()
	for name, question := range map[string]func(i int) (string, uint16){
		"ClusterIP": func(i int) (string, uint16) { return benchName(i%benchServices/10*10 + 1), dns.TypeA },
		"Headless":  func(i int) (string, uint16) { return benchName(i % benchServices / 10 * 10), dns.TypeA },
		"SRV":       func(i int) (string, uint16) { return "_http._tcp." + benchName(i%benchServices/10*10), dns.TypeSRV },
		"NXDOMAIN": func(i int) (string, uint16) {
			return fmt.Sprintf("www-%d.example.org.ns-1.svc.cluster.local.", i), dns.TypeA
		},
		"Cached": func(i int) (string, uint16) { return fmt.Sprintf("www-%d.example.org.", i%100), dns.TypeA },
	} {
		b.Run(name, func(b *testing.B) {
			s := open(b, Config{})
			s.resolver.servers = a
			require.NoError(b, s.Apply(large()))
			start(b, s)
			flood(b, s.Addrs()[0], question)
		})
	}
}

func cachedUpstream() exchanger { return &fake{ttl: 3600} }

func flood(b *testing.B, addr netip.AddrPort, question func(i int) (string, uint16)) {
	var next atomic.Int64
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		conn, err := dns.Dial("udp", addr.String())
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		query, buffer := new(dns.Msg), make([]byte, dns.MaxMsgSize)
		for pb.Next() {
			query.Extra = nil
			query.SetQuestion(question(int(next.Add(1))))
			query.SetEdns0(bufferBytes, false)
			if err := conn.WriteMsg(query); err != nil {
				b.Error(err)
				return
			}
			if n, err := conn.Read(buffer); err != nil || n < 40 {
				b.Error("no answer", err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
}
