package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Administrators is the group whose members may do everything.
const Administrators = "system:masters"

// Identity is a client certificate with its key, both as PEM.
type Identity struct {
	User             string
	Certificate, Key []byte
}

// Client issues a certificate, valid for a year, for a user that is a member of groups.
func (a *Authority) Client(user string, groups ...string) (Identity, error) {
	der, key, err := a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return Identity{}, fmt.Errorf("issuing a certificate for %s: %w", user, err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return Identity{}, fmt.Errorf("encoding the key of %s: %w", user, err)
	}
	return Identity{User: user, Certificate: encodeCertificate(der), Key: keyPEM}, nil
}

// Kubeconfig says how to reach a cluster.
type Kubeconfig struct {
	Cluster   string   // a name of the user's choice; context and cluster are called so
	Server    string   // https://127.0.0.1:6443
	Others    []string // the cluster's other gateways; each is a context of its own, <Cluster>-2 and on
	Authority []byte   // the certificate to trust, PEM
	Identity  Identity
}

// Write writes k to path, readable by its owner alone.
func (k Kubeconfig) Write(path string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters[k.Cluster] = &clientcmdapi.Cluster{Server: k.Server, CertificateAuthorityData: k.Authority}
	config.AuthInfos[k.Identity.User] = &clientcmdapi.AuthInfo{ClientCertificateData: k.Identity.Certificate, ClientKeyData: k.Identity.Key}
	config.Contexts[k.Cluster] = &clientcmdapi.Context{Cluster: k.Cluster, AuthInfo: k.Identity.User}
	config.CurrentContext = k.Cluster
	for i, server := range k.Others {
		name := fmt.Sprintf("%s-%d", k.Cluster, i+2)
		config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: k.Authority}
		config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: k.Identity.User}
	}
	content, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("encoding the kubeconfig: %w", err)
	}
	return writeFile(path, content, 0o600)
}
