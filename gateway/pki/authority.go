package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

const (
	authorityFile   = "ca.pem" // certificate and key in one file, so that no crash can leave one without the other
	certificateFile = "ca.crt" // the certificate alone, for whoever wants to trust it

	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
	// clockSkew lets a machine whose clock lags accept a certificate just issued.
	clockSkew = time.Hour

	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE KEY"
)

// Authority issues certificates.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Open loads the authority from dir, or makes one there.
func Open(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of the certificate authority: %w", err)
	}
	path := filepath.Join(dir, authorityFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		content, err = create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the certificate authority: %w", err)
	}
	a, err := parse(content)
	if err != nil {
		return nil, fmt.Errorf("the certificate authority in %s can't be read (restore it, or remove it to have a new one made; clients then need new kubeconfigs): %w", path, err)
	}
	// The directory may be one that can only be read.
	certificate := filepath.Join(dir, certificateFile)
	if there, err := os.ReadFile(certificate); err == nil && bytes.Equal(there, a.CertificatePEM()) {
		return a, nil
	}
	return a, writeFile(certificate, a.CertificatePEM(), 0o644)
}

func create(path string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "wake-ca"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	content := append(encodeCertificate(der), keyPEM...)
	return content, writeFile(path, content, 0o600)
}

func parse(content []byte) (*Authority, error) {
	block, rest := pem.Decode(content)
	if block == nil || block.Type != certificateBlock {
		return nil, errors.New("it does not begin with a certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	block, _ = pem.Decode(rest)
	if block == nil || block.Type != keyBlock {
		return nil, errors.New("no private key follows the certificate")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T can't sign", key)
	}
	return &Authority{cert: cert, key: signer}, nil
}

// CertificatePEM returns the authority's certificate, which clients trust.
func (a *Authority) CertificatePEM() []byte {
	return encodeCertificate(a.cert.Raw)
}

// Pool returns the authority as the only one trusted.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue signs template with a new key and returns both.
func (a *Authority) issue(template *x509.Certificate) (der []byte, key *ecdsa.PrivateKey, err error) {
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, nil, err
	}
	der, err = a.certify(template, key.Public(), leafLife)
	return der, key, err
}

// certify signs template for a key, to be valid for life from now on.
func (a *Authority) certify(template *x509.Certificate, public any, life time.Duration) ([]byte, error) {
	now := time.Now()
	template.NotBefore, template.NotAfter = now.Add(-clockSkew), now.Add(life)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	return sign(template, a.cert, public, a.key)
}

func sign(template, parent *x509.Certificate, public any, signer crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	return x509.CreateCertificate(rand.Reader, template, parent, public, signer)
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: der})
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
}

// writeFile writes a file whole or not at all, whatever happens meanwhile.
func writeFile(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
