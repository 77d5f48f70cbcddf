package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// nodeGroup is the organization of nodes' certificates: who is a member of it is a node and nothing else.
	nodeGroup  = "wake:nodes"
	nodePrefix = "node:"
	// BrokerHost is the name that the broker's certificate for nodes is for, wherever it listens.
	BrokerHost = "broker.wake.internal"
	// GatewayHost is a name that the gateway's certificate is always for.
	GatewayHost = "kubernetes.default.svc"

	requestBlock = "CERTIFICATE REQUEST"
)

// Node is whom a node's certificate names.
type Node struct {
	Name string
	UID  string // of the Node object: another node of the same name is another node
}

// NodeOf tells which node a verified certificate is of; ok is false if it isn't a node's.
func NodeOf(leaf *x509.Certificate) (n Node, ok bool) {
	if !IsNode(leaf) {
		return n, false
	}
	n.Name, ok = strings.CutPrefix(leaf.Subject.CommonName, nodePrefix)
	n.UID = leaf.Subject.SerialNumber
	return n, ok && n.Name != "" && n.UID != ""
}

// IsNode says that a certificate was issued to a node, even to one that can't be told. Such a certificate is no user's.
func IsNode(leaf *x509.Certificate) bool {
	return slices.Contains(leaf.Subject.Organization, nodeGroup) || strings.HasPrefix(leaf.Subject.CommonName, nodePrefix)
}

// Node issues a certificate for a node to the key of a request (PEM), valid for life. Nothing else of the request counts.
func (a *Authority) Node(request []byte, node Node, life time.Duration) ([]byte, error) {
	key, err := requestedKey(request)
	if err != nil {
		return nil, err
	}
	der, err := a.certify(&x509.Certificate{
		Subject:     pkix.Name{CommonName: nodePrefix + node.Name, Organization: []string{nodeGroup}, SerialNumber: node.UID},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, key, life)
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate for node %s: %w", node.Name, err)
	}
	return encodeCertificate(der), nil
}

// requestedKey returns the public key of a request whose sender has the private one.
func requestedKey(request []byte) (*ecdsa.PublicKey, error) {
	block, _ := pem.Decode(request)
	if block == nil || block.Type != requestBlock {
		return nil, errors.New("the certificate request is not one in PEM")
	}
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = parsed.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("the certificate request: %w", err)
	}
	key, ok := parsed.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the certificate request is for a key that is not ECDSA on P-256")
	}
	return key, nil
}

// RequestFingerprint returns the hash of the key of a request, in hexadecimal.
func RequestFingerprint(request []byte) (string, error) {
	key, err := requestedKey(request)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("the certificate request's key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// NewNodeKey makes a node's key and a request for its certificate, both PEM.
func NewNodeKey() (key, request []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if key, err = encodeKey(private); err != nil {
		return nil, nil, err
	}
	request, err = Request(key)
	return key, request, err
}

// Request makes a request for a certificate to a key, both PEM.
func Request(key []byte) ([]byte, error) {
	block, _ := pem.Decode(key)
	if block == nil || block.Type != keyBlock {
		return nil, errors.New("the node's key is not one in PEM")
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the node's key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, private)
	if err != nil {
		return nil, fmt.Errorf("asking for a certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: requestBlock, Bytes: der}), nil
}

// Fingerprint returns the hash of the authority's public key in hexadecimal, as kubeadm's discovery-token-ca-cert-hash has it.
func (a *Authority) Fingerprint() string { return fingerprint(a.cert) }

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// FingerprintOf returns the fingerprint of an authority whose certificate is given as PEM.
func FingerprintOf(authority []byte) (string, error) {
	block, _ := pem.Decode(authority)
	if block == nil || block.Type != certificateBlock {
		return "", errors.New("the authority's certificate is not one in PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("the authority's certificate: %w", err)
	}
	return fingerprint(cert), nil
}

// NodeGate returns how the broker listens for nodes: only those get in that have a certificate of the authority.
func (a *Authority) NodeGate() *tls.Config {
	config := a.Server(BrokerHost)
	config.MinVersion, config.ClientAuth, config.NextProtos = tls.VersionTLS13, tls.RequireAndVerifyClientCert, nil
	return config
}

// Pinned returns how a client connects to host, a server of the cluster whose authority has a fingerprint and shows itself.
func Pinned(fingerprintOfAuthority, host string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: host,
		// What is skipped is the system's authorities: what VerifyConnection does takes the place of all of it.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return verifyPinned(fingerprintOfAuthority, host, state.PeerCertificates)
		},
	}
}

func verifyPinned(want, host string, shown []*x509.Certificate) error {
	for _, cert := range shown {
		if !cert.IsCA || !bytes.Equal([]byte(fingerprint(cert)), []byte(want)) {
			continue
		}
		roots := x509.NewCertPool()
		roots.AddCert(cert)
		_, err := shown[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		return err
	}
	return errors.New("the server is not of the cluster that was asked for: none of its certificates is the authority's with the fingerprint " + want)
}
