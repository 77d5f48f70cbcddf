package pki

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"sync"
	"time"
)

// renewBefore is how long before it expires a certificate is replaced.
const renewBefore = leafLife / 3

// Server returns how a server that answers to the given names and addresses listens: with a certificate of its own, asking clients for theirs
// and taking only those that the authority issued. A client without one gets in; who it is, and whether that does, is the server's to say.
func (a *Authority) Server(hosts ...string) *tls.Config {
	own := &leafCertificate{issue: func() ([]byte, tls.Certificate, error) { return a.serverCertificate(hosts) }}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: own.get,
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      a.Pool(),
		NextProtos:     []string{"h2", "http/1.1"},
	}
}

// serverCertificate issues a certificate for a server of these names and addresses.
func (a *Authority) serverCertificate(hosts []string) (der []byte, pair tls.Certificate, _ error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "wake-gateway"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, key, err := a.issue(template)
	if err != nil {
		return nil, pair, fmt.Errorf("issuing the gateway's certificate: %w", err)
	}
	return der, tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}, nil
}

// leafCertificate is a certificate that is issued when it is first asked for, and again in time.
type leafCertificate struct {
	issue func() (der []byte, pair tls.Certificate, err error)

	mu     sync.Mutex
	issued *tls.Certificate
}

func (s *leafCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.issued != nil && time.Until(s.issued.Leaf.NotAfter) > renewBefore {
		return s.issued, nil
	}
	der, pair, err := s.issue()
	if err != nil {
		return nil, err
	}
	if pair.Leaf, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("reading this process's own certificate: %w", err)
	}
	s.issued = &pair
	return s.issued, nil
}
