package main

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/wakehq/wake/agent/network"
)

// identity is what a cluster stays with from its first start on.
type identity struct {
	ID   string `json:"id"` // marks what belongs to this cluster on the machine
	Node string `json:"node"`
	podRanges
	ServiceCIDR string `json:"serviceCIDR"`
	Domain      string `json:"clusterDomain,omitempty"` // that the cluster's names end in; empty: cluster.local
	Archive     string `json:"archive,omitempty"`       // empty: in the data directory
	Trust       string `json:"trust,omitempty"`         // empty: beside the data directory

	// Of a cluster of several processes ("wake init"); one that is a single process ("wake up") has none of these.
	Brokers       []brokerPlace `json:"brokers,omitempty"`
	API           []string      `json:"api,omitempty"`           // where the gateways are reached: https://host:port
	SharedArchive bool          `json:"sharedArchive,omitempty"` // every process of the control plane reads the archive's directory
}

// brokerPlace is where a broker is.
type brokerPlace struct {
	Name string `json:"name"`
	Host string `json:"host"`
	Port int    `json:"port"` // for the control plane's processes; the next two are for the other brokers and for nodes
}

func (b brokerPlace) clients() string { return net.JoinHostPort(b.Host, strconv.Itoa(b.Port)) }
func (b brokerPlace) routes() string  { return net.JoinHostPort(b.Host, strconv.Itoa(b.Port+1)) }
func (b brokerPlace) nodes() string   { return net.JoinHostPort(b.Host, strconv.Itoa(b.Port+2)) }

// maxReplicas is how many copies of the ledger are kept at most.
const maxReplicas = 5

// replicas is how many brokers hold the ledger: an odd number, so that a majority is as small as can be.
func (id identity) replicas() int {
	n := min(max(len(id.Brokers), 1), maxReplicas)
	return n - (n+1)%2
}

// addresses gives one address of every broker.
func (id identity) addresses(of func(brokerPlace) string) []string {
	out := make([]string, len(id.Brokers))
	for i, b := range id.Brokers {
		out[i] = of(b)
	}
	return out
}

// settle gives a cluster the ranges of its pods, and writes its identity down.
func (l *location) settle(id *identity, wish podRanges, given func(flag string) bool) error {
	services, err := parseServiceRanges(id.ServiceCIDR)
	if err != nil {
		return fmt.Errorf("the cluster's service addresses %q: %w", id.ServiceCIDR, err)
	}
	if id.podRanges = wish; !given("cluster-cidr") {
		if id.podRanges, err = wish.free(services, network.Used); err != nil {
			return err
		}
	}
	data, err := json.Marshal(id)
	if err != nil {
		return err
	}
	if err := writeFile(l.identity(), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the cluster's identity: %w", err)
	}
	return nil
}

// load reads a cluster's identity; fs.ErrNotExist if it has none yet.
func (l *location) load() (identity, error) {
	var id identity
	data, err := os.ReadFile(l.identity())
	if err != nil {
		return id, err
	}
	if err := json.Unmarshal(data, &id); err != nil {
		return id, fmt.Errorf("%s is damaged: %w", l.identity(), err)
	}
	return id, nil
}

// adopt makes the cluster's identity with the wishes of its first start, or returns the one it has. given tells which wishes were spelled
// out: one that the cluster can't follow any more is refused.
func (l *location) adopt(wish identity, given func(flag string) bool) (identity, error) {
	id, err := l.load()
	if errors.Is(err, fs.ErrNotExist) {
		wish.ID = strings.ToLower(rand.Text()[:8])
		err = l.settle(&wish, wish.podRanges, given)
		return wish, err
	}
	if err != nil {
		return id, fmt.Errorf("reading the cluster's identity: %w", err)
	}
	if len(id.Brokers) > 0 {
		return id, fmt.Errorf("the cluster in %s is one of several processes: start them with \"wake broker\", \"wake gateway\" and so on, or choose another --data-dir", l.dir)
	}
	if id.ClusterCIDR == "" { // of a time when nodes got no ranges: from now on they do
		if err := l.settle(&id, wish.podRanges, given); err != nil {
			return id, err
		}
	}
	for _, f := range []struct{ flag, wish, has string }{{"node-name", wish.Node, id.Node}, {"cluster-cidr", wish.ClusterCIDR, id.ClusterCIDR},
		{"node-cidr-mask-size", strconv.Itoa(wish.MaskSize4), strconv.Itoa(id.MaskSize4)}, {"node-cidr-mask-size-ipv6", strconv.Itoa(wish.MaskSize6), strconv.Itoa(id.MaskSize6)}, {"service-cidr", wish.ServiceCIDR, id.ServiceCIDR},
		{"cluster-domain", cmp.Or(wish.Domain, defaultDomain), cmp.Or(id.Domain, defaultDomain)},
		{"archive-dir", wish.Archive, id.Archive}, {"trust-dir", wish.Trust, id.Trust}} {
		if given(f.flag) && f.wish != f.has {
			return id, fmt.Errorf("--%s %s: the cluster in %s was started with %q and its objects say so; leave the flag out, or start another cluster with --data-dir", f.flag, f.wish, l.dir, f.has)
		}
	}
	return id, nil
}
