package pki

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
)

// planeGroup is the organization of the certificates of a control plane's own processes.
const planeGroup = "wake:control-plane"

// IsControlPlane says that a certificate was issued to a process of the control plane. Such a certificate is no user's.
func IsControlPlane(leaf *x509.Certificate) bool {
	return slices.Contains(leaf.Subject.Organization, planeGroup)
}

// ControlPlane returns how a process of the control plane connects to a broker: as role, a part such as "gateway", with a certificate of its own that is renewed in
// time. It takes nobody but a broker of this cluster for one.
func (a *Authority) ControlPlane(role string) *tls.Config {
	own := a.planeCertificate(role)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: BrokerHost, RootCAs: a.Pool(),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.get(nil) },
	}
}

// BrokerForControlPlane returns how a broker listens for the control plane's processes and for other brokers, and connects to these. It lets nobody else in: neither
// nodes nor users.
func (a *Authority) BrokerForControlPlane() *tls.Config {
	own := a.planeCertificate("broker")
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: BrokerHost, RootCAs: a.Pool(),
		GetCertificate: own.get, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.get(nil) },
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.Pool(),
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 || !IsControlPlane(state.PeerCertificates[0]) {
				return errors.New("the certificate is not that of a process of the control plane")
			}
			return nil
		},
	}
}

// planeCertificate is good for both ends of a connection within the control plane.
func (a *Authority) planeCertificate(role string) *leafCertificate {
	return &leafCertificate{issue: func() ([]byte, tls.Certificate, error) {
		template := &x509.Certificate{
			Subject:     pkix.Name{CommonName: role, Organization: []string{planeGroup}},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		if role == "broker" {
			template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
			template.DNSNames = []string{BrokerHost}
		}
		der, key, err := a.issue(template)
		if err != nil {
			return nil, tls.Certificate{}, fmt.Errorf("issuing the certificate of this %s: %w", role, err)
		}
		return der, tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}, nil
	}}
}
