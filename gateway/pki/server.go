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

// renewBefore is how long before it expires a server certificate is replaced.
const renewBefore = leafLife / 3

// Server returns how a server that answers to the given names and addresses listens: with a certificate of its own, asking clients for theirs
// and taking only those that the authority issued. A client without one gets in; who it is, and whether that does, is the server's to say.
func (a *Authority) Server(hosts ...string) *tls.Config {
	s := &serverCertificate{authority: a, hosts: hosts}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: s.get,
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      a.Pool(),
		NextProtos:     []string{"h2", "http/1.1"},
	}
}

// serverCertificate is a certificate that is renewed in time.
type serverCertificate struct {
	authority *Authority
	hosts     []string

	mu     sync.Mutex
	issued *tls.Certificate
}

func (s *serverCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.issued != nil && time.Until(s.issued.Leaf.NotAfter) > renewBefore {
		return s.issued, nil
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "wake-gateway"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range s.hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, key, err := s.authority.issue(template)
	if err != nil {
		return nil, fmt.Errorf("issuing the gateway's certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the gateway's own certificate: %w", err)
	}
	s.issued = &tls.Certificate{Certificate: [][]byte{der, s.authority.cert.Raw}, PrivateKey: key, Leaf: leaf}
	return s.issued, nil
}
