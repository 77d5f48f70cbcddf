package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wakehq/wake/gateway/joining"
	"github.com/wakehq/wake/gateway/pki"
)

const (
	joinWithin = 30 * time.Second
	// lookEvery is how often a node looks at its certificate, at most.
	lookEvery = time.Minute
)

// member is what a machine keeps of its membership in a cluster, in one file, written whole. Without a certificate it has not heard the answer yet, and asks
// again with the same key.
type member struct {
	Server      string   `json:"server"`    // the gateway, https://host:port
	Authority   string   `json:"authority"` // fingerprint
	Node        string   `json:"node"`
	Token       string   `json:"token"` // the ID of that with which it joined
	Key         string   `json:"key"`
	Certificate string   `json:"certificate,omitempty"`
	Cluster     string   `json:"cluster,omitempty"`
	Broker      string   `json:"broker,omitempty"`
	Brokers     []string `json:"brokers,omitempty"` // all of them, if there are several
	Servers     []string `json:"servers,omitempty"` // the cluster's gateways, if there are several
	ServiceCIDR string   `json:"serviceCIDR,omitempty"`
	ClusterCIDR string   `json:"clusterCIDR,omitempty"`
	Domain      string   `json:"clusterDomain,omitempty"`
}

// membership is a member that is renewed in time. It may be used by many goroutines.
type membership struct {
	file string

	mu  sync.Mutex
	now member
	tls tls.Certificate
}

// memberFile holds a member.
const memberFile = "member.json"

// readMember reads what a directory's machine is a node of; fs.ErrNotExist if it is none.
func readMember(dir string) (as member, err error) {
	file := filepath.Join(dir, memberFile)
	content, err := os.ReadFile(file)
	if err != nil {
		return as, fmt.Errorf("reading what this machine is a node of: %w", err)
	}
	if err := json.Unmarshal(content, &as); err != nil {
		return as, fmt.Errorf("%s is damaged (remove it and join again): %w", file, err)
	}
	return as, nil
}

// openMembership reads dir's membership, or joins as wish says if it isn't a member yet or not by that token.
func openMembership(ctx context.Context, dir string, wish member, token *joining.Token, log *slog.Logger) (*membership, error) {
	m := &membership{file: filepath.Join(dir, memberFile)}
	now, err := readMember(dir)
	switch {
	case err == nil:
		m.now = now
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case token == nil:
		return nil, fmt.Errorf("this machine is not a node yet (%s has nothing of it): join with --join TOKEN --server https://HOST:PORT; \"wake token create\" makes a token", dir)
	}
	if token != nil && (m.now.Token != token.ID || m.now.Certificate == "") {
		if err := m.join(ctx, wish, *token); err != nil {
			return nil, err
		}
		log.Info("joined", "cluster", m.now.Cluster, "node", m.now.Node)
	}
	if m.now.Certificate == "" {
		return nil, errors.New("this machine has not finished joining: give --join and --server again")
	}
	return m, m.load()
}

func (m *membership) load() error {
	pair, err := tls.X509KeyPair([]byte(m.now.Certificate), []byte(m.now.Key))
	if err == nil {
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	if err != nil {
		return fmt.Errorf("the node's certificate in %s: %w", m.file, err)
	}
	m.tls = pair
	return nil
}

func (m *membership) save(now member) error {
	content, err := json.MarshalIndent(now, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(m.file, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("keeping the node's certificate: %w", err)
	}
	m.now = now
	return nil
}

// join asks for a certificate with a token.
func (m *membership) join(ctx context.Context, wish member, token joining.Token) error {
	if wish.Server == "" {
		return errors.New("--join needs --server, the address of the cluster's API as the machine that runs \"wake up\" tells it")
	}
	wish.Token, wish.Authority = token.ID, token.Authority
	again := m.now.Token == token.ID && m.now.Node == wish.Node && m.now.Key != ""
	if again {
		wish.Key = m.now.Key
	} else {
		key, _, err := pki.NewNodeKey()
		if err != nil {
			return fmt.Errorf("making the node's key: %w", err)
		}
		wish.Key = string(key)
	}
	request, err := pki.Request([]byte(wish.Key))
	if err != nil {
		return err
	}
	// Whoever rejoins keeps the old certificate until there is a new one.
	if !again && m.now.Certificate == "" {
		if err := m.save(wish); err != nil {
			return err
		}
	}
	answer, err := ask(ctx, wish, nil, joining.JoinPath, joining.Request{Token: token.Text(), Node: wish.Node, Request: string(request)})
	if err != nil {
		return fmt.Errorf("joining the cluster at %s as node %s: %w", wish.Server, wish.Node, err)
	}
	wish.Cluster, wish.ServiceCIDR, wish.Domain = answer.Cluster, answer.ServiceCIDR, answer.Domain
	wish.take(answer)
	return m.save(wish)
}

// take takes over what may change of a membership.
func (as *member) take(answer joining.Answer) {
	as.Certificate, as.Broker, as.Brokers, as.Servers, as.ClusterCIDR = answer.Certificate, answer.Broker, answer.Brokers, answer.Servers, answer.ClusterCIDR
}

// ask asks a member's gateway, and nobody else, for a certificate. Where there are several gateways, the next one is asked if one can't be reached.
func ask(ctx context.Context, as member, own *tls.Certificate, path string, request joining.Request) (answer joining.Answer, err error) {
	content, err := json.Marshal(request)
	if err != nil {
		return answer, err
	}
	servers := append([]string{as.Server}, slices.DeleteFunc(slices.Clone(as.Servers), func(other string) bool { return other == as.Server })...)
	var failed error
	for _, server := range servers {
		answer, reached, err := askOne(ctx, server, as.Authority, own, path, content)
		if reached {
			return answer, err
		}
		failed = errors.Join(failed, err)
	}
	return answer, failed
}

// askOne asks one gateway. reached is false if another may do better.
func askOne(ctx context.Context, server, authority string, own *tls.Certificate, path string, content []byte) (answer joining.Answer, reached bool, err error) {
	config := pki.Pinned(authority, pki.GatewayHost)
	if own != nil {
		config.Certificates = []tls.Certificate{*own}
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, joinWithin)
	defer cancel()
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(server, "/")+path, bytes.NewReader(content))
	if err != nil {
		return answer, true, err
	}
	post.Header.Set("Content-Type", "application/json")
	response, err := (&http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(post)
	if err != nil {
		return answer, false, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return answer, false, err
	}
	if response.StatusCode != http.StatusOK {
		if err := refusal(body); err != nil {
			return answer, response.StatusCode < http.StatusInternalServerError, err
		}
		return answer, true, fmt.Errorf("it answered %s: is it a cluster that was started with --nodes-listen?", response.Status)
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return answer, true, fmt.Errorf("its answer: %w", err)
	}
	return answer, true, nil
}

// brokerAddresses is where the node's brokers are: one that doesn't say at which host is at the gateway's.
func (as *member) brokerAddresses() ([]string, error) {
	all := as.Brokers
	if len(all) == 0 {
		all = []string{as.Broker}
	}
	out := make([]string, len(all))
	for i, address := range all {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("the broker's address %q: %w", address, err)
		}
		if host == "" {
			server, err := url.Parse(as.Server)
			if err != nil {
				return nil, fmt.Errorf("the server's address: %w", err)
			}
			host = server.Hostname()
		}
		out[i] = net.JoinHostPort(host, port)
	}
	return out, nil
}

// brokers is where the node's brokers are, now.
func (m *membership) brokers() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all, err := m.now.brokerAddresses()
	if err != nil { // it was looked at before, and a renewal that brings nonsense changes nothing
		return nil
	}
	return all
}

// brokerTLS is how the node connects to its broker, now.
func (m *membership) brokerTLS() (*tls.Config, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	config := pki.Pinned(m.now.Authority, pki.BrokerHost)
	config.Certificates = []tls.Certificate{m.tls}
	return config, nil
}

// keep renews the certificate when a third of its life is left, until ctx ends.
func (m *membership) keep(ctx context.Context, log *slog.Logger) error {
	for {
		m.mu.Lock()
		leaf := m.tls.Leaf
		m.mu.Unlock()
		left, life := time.Until(leaf.NotAfter), leaf.NotAfter.Sub(leaf.NotBefore)
		if left < life/3 {
			if err := m.renew(ctx); err != nil && ctx.Err() == nil {
				log.Warn("the node's certificate could not be renewed; trying again", "valid for", left.Round(time.Second), "error", err)
			} else if err == nil {
				log.Info("the node's certificate was renewed")
			}
		}
		timer := time.NewTimer(min(lookEvery, max(time.Second, left/10)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

func (m *membership) renew(ctx context.Context) error {
	m.mu.Lock()
	next, own := m.now, m.tls
	m.mu.Unlock()
	key, request, err := pki.NewNodeKey()
	if err != nil {
		return err
	}
	answer, err := ask(ctx, next, &own, joining.RenewPath, joining.Request{Request: string(request)})
	if err != nil {
		return err
	}
	next.Key = string(key)
	next.take(answer)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.save(next); err != nil {
		return err
	}
	return m.load()
}
