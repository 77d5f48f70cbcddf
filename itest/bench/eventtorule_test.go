package bench

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/wakehq/wake/itest/fabric"
)

const (
	manyServices = 10_000
	fullEach     = 10  // endpoints of most of them
	emptyOnes    = 300 // have none, at first
	changedOnes  = 200 // of those get one, one after the other
	warmingUp    = 20  // get one before that, while the last of the making is still being dealt with
)

// BenchmarkEventToRule gives services an endpoint by the API, one after the other, among 10,000 services with nearly 100,000 endpoints: from the event
// as the broker stored it until the node serves the endpoint, which a client on the node asks every millisecond. Control plane, agent and nftables are
// the real ones, in processes of their own, and share the processors with the client.
func BenchmarkEventToRule(b *testing.B) {
	f := fabric.New(b, fabric.Config{Nodes: []string{"near"}})
	c, near := f.Control(), f.Node("near")
	c.Up()
	c.Join(near)
	many := &manyOf{b: b, client: f.Client(c.Kubeconfig()), backend: listening(b, f.Machine(fabric.Outside))}
	began := time.Now()
	addresses := many.fill()
	made := time.Since(began)
	last, err := many.make(b.Context(), "last", 0)
	require.NoError(b, err)
	answer := served(b, near, last)
	many.give("last")
	<-answer
	b.Logf("%d services are made in %s and known to the node after %s", manyServices, made.Round(time.Second), time.Since(began).Round(time.Second))
	next := 0
	change := func() time.Duration {
		name, answer := nameOf(next), served(b, near, addresses[next])
		next++
		many.give(name)
		return (<-answer).Sub(stored(b, c, "endpointslice/"+name, "--all", "--tail", "1"))
	}
	for range warmingUp {
		change()
	}
	for b.Loop() {
		var waits []time.Duration
		for range changedOnes {
			waits = append(waits, change())
		}
		slices.Sort(waits)
		b.ReportMetric(milliseconds(waits[len(waits)/2]), "p50-ms")
		b.ReportMetric(milliseconds(waits[len(waits)*99/100]), "p99-ms")
		b.ReportMetric(milliseconds(waits[len(waits)-1]), "worst-ms")
	}
	b.ReportMetric(0, "ns/op")
}

// manyOf makes services with endpoints written by hand.
type manyOf struct {
	b       *testing.B
	client  kubernetes.Interface
	backend netip.AddrPort // the one endpoint that there is
}

func nameOf(i int) string { return fmt.Sprintf("web-%05d", i) }

// fill makes all services, and returns the addresses of those without endpoints.
func (m *manyOf) fill() []string {
	addresses := make([]string, emptyOnes)
	inParallel(m.b, manyServices, func(ctx context.Context, i int) error {
		if i >= emptyOnes {
			_, err := m.make(ctx, nameOf(i), fullEach)
			return err
		}
		address, err := m.make(ctx, nameOf(i), 0)
		addresses[i] = address
		return err
	})
	return addresses
}

// make makes a service with endpoints where nobody listens, and returns its address.
func (m *manyOf) make(ctx context.Context, name string, endpoints int) (string, error) {
	service, err := m.client.CoreV1().Services(metav1.NamespaceDefault).Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	port := int32(m.backend.Port())
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}}, Endpoints: []discoveryv1.Endpoint{}}
	nobody := netip.MustParseAddr("198.18.0.1")
	for range endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{nobody.String()}})
		nobody = nobody.Next()
	}
	_, err = m.client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Create(ctx, slice, metav1.CreateOptions{})
	return net.JoinHostPort(service.Spec.ClusterIP, "80"), err
}

// give gives a service the one endpoint that there is.
func (m *manyOf) give(name string) {
	_, err := m.client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Patch(m.b.Context(), name, types.MergePatchType,
		fmt.Appendf(nil, `{"endpoints":[{"addresses":["%s"]}]}`, m.backend.Addr()), metav1.PatchOptions{})
	require.NoError(m.b, err)
}

// listening accepts connections on a machine.
func listening(b *testing.B, m *fabric.Machine) netip.AddrPort {
	var listener net.Listener
	require.NoError(b, m.Within(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(m.Addr, 0).String())
		return err
	}))
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	return netip.MustParseAddrPort(listener.Addr().String())
}

// served asks an address every millisecond, from a machine, and tells when it was answered first.
func served(b *testing.B, from *fabric.Node, address string) <-chan time.Time {
	asked, answered := make(chan struct{}), make(chan time.Time, 1)
	go func() {
		defer close(answered)
		ctx, cancel := context.WithTimeout(b.Context(), patience)
		defer cancel()
		for first := true; ctx.Err() == nil; first = false {
			within, done := context.WithTimeout(ctx, 100*time.Millisecond)
			conn, err := from.Dial(within, "tcp", address)
			done()
			if first {
				close(asked)
			}
			if err == nil {
				answered <- time.Now()
				_ = conn.Close()
				return
			}
			time.Sleep(time.Millisecond)
		}
		b.Errorf("%s isn't served within %s", address, patience)
	}()
	<-asked
	return answered
}
