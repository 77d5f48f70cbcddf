package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/gateway/pki"
)

func nodeLeaf(t *testing.T, a *pki.Authority, life time.Duration) (*x509.Certificate, tls.Certificate) {
	t.Helper()
	key, request, err := pki.NewNodeKey()
	require.NoError(t, err)
	cert, err := a.Node(request, pki.Node{Name: "n1", UID: "u1"}, life)
	require.NoError(t, err)
	pair, err := tls.X509KeyPair(cert, key)
	require.NoError(t, err)
	block, _ := pem.Decode(cert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return leaf, pair
}

// shake shakes hands and returns what each side says of it.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() {
		conn := tls.Server(a, server)
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte("x"))
		}
		_ = a.Close()
		done <- err
	}()
	conn := tls.Client(b, client)
	clientErr = conn.Handshake()
	if clientErr == nil {
		_, clientErr = conn.Read(make([]byte, 1))
	}
	_ = b.Close()
	return <-done, clientErr
}

func TestANodesCertificateIsForThatNodeAlone(t *testing.T) {
	a, err := pki.Open(t.TempDir())
	require.NoError(t, err)
	leaf, pair := nodeLeaf(t, a, time.Hour)
	node, ok := pki.NodeOf(leaf)
	require.True(t, ok)
	require.Equal(t, pki.Node{Name: "n1", UID: "u1"}, node)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, leaf.ExtKeyUsage)
	require.WithinDuration(t, time.Now().Add(time.Hour), leaf.NotAfter, time.Minute)

	client := pki.Pinned(a.Fingerprint(), pki.BrokerHost)
	client.Certificates = []tls.Certificate{pair}
	serverErr, clientErr := shake(t, a.NodeGate(), client)
	require.NoError(t, serverErr)
	require.NoError(t, clientErr)

	// It can't play the server before other nodes.
	posing := a.NodeGate()
	posing.GetCertificate, posing.Certificates = nil, []tls.Certificate{{Certificate: append(pair.Certificate, authorityDER(t, a)), PrivateKey: pair.PrivateKey}}
	_, clientErr = shake(t, posing, client)
	require.Error(t, clientErr)

	identity, err := a.Client("ada", pki.Administrators)
	require.NoError(t, err)
	block, _ := pem.Decode(identity.Certificate)
	user, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	require.False(t, pki.IsNode(user))
	_, ok = pki.NodeOf(user)
	require.False(t, ok)
}

func authorityDER(t *testing.T, a *pki.Authority) []byte {
	t.Helper()
	block, _ := pem.Decode(a.CertificatePEM())
	require.NotNil(t, block)
	return block.Bytes
}

func TestStrangersAreNotLetIn(t *testing.T) {
	a, err := pki.Open(t.TempDir())
	require.NoError(t, err)
	other, err := pki.Open(t.TempDir())
	require.NoError(t, err)
	_, foreign := nodeLeaf(t, other, time.Hour)
	_, expired := nodeLeaf(t, a, -time.Second)
	for name, certificates := range map[string][]tls.Certificate{"no certificate": nil, "another cluster's": {foreign}, "an expired one": {expired}} {
		client := pki.Pinned(a.Fingerprint(), pki.BrokerHost)
		client.Certificates = certificates
		serverErr, clientErr := shake(t, a.NodeGate(), client)
		require.Error(t, serverErr, name)
		require.Error(t, clientErr, name)
	}
}

func TestAPinnedClientIsNotDeceived(t *testing.T) {
	a, err := pki.Open(t.TempDir())
	require.NoError(t, err)
	other, err := pki.Open(t.TempDir())
	require.NoError(t, err)
	fromPEM, err := pki.FingerprintOf(a.CertificatePEM())
	require.NoError(t, err)
	require.Equal(t, a.Fingerprint(), fromPEM)

	_, clientErr := shake(t, other.Server(pki.GatewayHost), pki.Pinned(a.Fingerprint(), pki.GatewayHost))
	require.ErrorContains(t, clientErr, "not of the cluster")
	// Another's certificate does not become true by showing this authority's beside it.
	liar := other.Server(pki.GatewayHost)
	own, err := liar.GetCertificate(nil)
	require.NoError(t, err)
	liar.GetCertificate, liar.Certificates = nil, []tls.Certificate{{Certificate: [][]byte{own.Certificate[0], authorityDER(t, a)}, PrivateKey: own.PrivateKey}}
	_, clientErr = shake(t, liar, pki.Pinned(a.Fingerprint(), pki.GatewayHost))
	require.Error(t, clientErr)
	// Nor does a server of the cluster pass for another of its servers.
	_, clientErr = shake(t, a.Server(pki.GatewayHost), pki.Pinned(a.Fingerprint(), pki.BrokerHost))
	require.Error(t, clientErr)
	_, clientErr = shake(t, a.Server(pki.GatewayHost), pki.Pinned(a.Fingerprint(), pki.GatewayHost))
	require.NoError(t, clientErr)
}

func TestBadRequests(t *testing.T) {
	a, err := pki.Open(t.TempDir())
	require.NoError(t, err)
	_, request, err := pki.NewNodeKey()
	require.NoError(t, err)
	block, _ := pem.Decode(request)
	block.Bytes[len(block.Bytes)-1] ^= 1 // whoever sends it doesn't have the key
	for _, bad := range [][]byte{nil, []byte("x"), a.CertificatePEM(), pem.EncodeToMemory(block)} {
		_, err := a.Node(bad, pki.Node{Name: "n1", UID: "u1"}, time.Hour)
		require.Error(t, err)
	}
}
