package pki_test

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wakehq/wake/gateway/pki"
)

// serve answers with the common name of the client's certificate, or "nobody".
func serve(t *testing.T, authority *pki.Authority) string {
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "nobody"
		if len(r.TLS.VerifiedChains) > 0 {
			leaf := r.TLS.VerifiedChains[0][0]
			name = leaf.Subject.CommonName + " of " + leaf.Subject.Organization[0]
		}
		_, _ = io.WriteString(w, name)
	})}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", authority.Server("127.0.0.1", "localhost"))
	require.NoError(t, err)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return "https://" + listener.Addr().String()
}

func TestKubeconfigLetsItsUserIn(t *testing.T) {
	dir := t.TempDir()
	authority, err := pki.Open(dir)
	require.NoError(t, err)
	identity, err := authority.Client("ada", pki.Administrators)
	require.NoError(t, err)
	path := filepath.Join(dir, "kubeconfig")
	config := pki.Kubeconfig{Cluster: "wake", Server: serve(t, authority), Authority: authority.CertificatePEM(), Identity: identity}
	require.NoError(t, config.Write(path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	loaded, err := clientcmd.BuildConfigFromFlags("", path)
	require.NoError(t, err)
	client, err := rest.HTTPClientFor(loaded)
	require.NoError(t, err)
	require.Equal(t, "ada of system:masters", body(t, client, loaded.Host))

	loaded.CertData, loaded.KeyData = nil, nil
	anonymous, err := rest.HTTPClientFor(loaded)
	require.NoError(t, err)
	require.Equal(t, "nobody", body(t, anonymous, loaded.Host))
}

func TestAnAuthorityOutlivesItsProcess(t *testing.T) {
	dir := t.TempDir()
	first, err := pki.Open(dir)
	require.NoError(t, err)
	identity, err := first.Client("ada", pki.Administrators)
	require.NoError(t, err)
	second, err := pki.Open(dir)
	require.NoError(t, err)
	require.Equal(t, first.CertificatePEM(), second.CertificatePEM())

	pair, err := tls.X509KeyPair(identity.Certificate, identity.Key)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: second.Pool(), Certificates: []tls.Certificate{pair}}}}
	require.Equal(t, "ada of system:masters", body(t, client, serve(t, second)))

	info, err := os.Stat(filepath.Join(dir, "ca.pem"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestAForeignCertificateIsRefused(t *testing.T) {
	authority, err := pki.Open(t.TempDir())
	require.NoError(t, err)
	foreign, err := pki.Open(t.TempDir())
	require.NoError(t, err)
	identity, err := foreign.Client("mallory", pki.Administrators)
	require.NoError(t, err)
	pair, err := tls.X509KeyPair(identity.Certificate, identity.Key)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{pair}}}}
	response, err := client.Get(serve(t, authority))
	if err == nil {
		require.NoError(t, response.Body.Close())
	}
	require.Error(t, err)
}

func TestADamagedAuthorityIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ca.pem")
	require.NoError(t, os.WriteFile(path, []byte("not a certificate"), 0o600))
	_, err := pki.Open(dir)
	require.ErrorContains(t, err, path)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "not a certificate", string(content))
}

func body(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	response, err := client.Get(url)
	require.NoError(t, err)
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return string(content)
}
