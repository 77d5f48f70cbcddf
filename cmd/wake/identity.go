package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// identity is what a cluster stays with from its first start on.
type identity struct {
	ID          string `json:"id"` // marks what belongs to this cluster on the machine
	Node        string `json:"node"`
	PodCIDR     string `json:"podCIDR,omitempty"` // empty: Docker's own bridge
	ServiceCIDR string `json:"serviceCIDR"`
	Archive     string `json:"archive,omitempty"` // empty: in the data directory
	Trust       string `json:"trust,omitempty"`   // empty: beside the data directory
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
		data, err := json.Marshal(wish)
		if err != nil {
			return wish, err
		}
		if err := writeFile(l.identity(), append(data, '\n'), 0o644); err != nil {
			return wish, fmt.Errorf("writing the cluster's identity: %w", err)
		}
		return wish, nil
	}
	if err != nil {
		return id, fmt.Errorf("reading the cluster's identity: %w", err)
	}
	for _, f := range []struct{ flag, wish, has string }{{"node-name", wish.Node, id.Node}, {"pod-cidr", wish.PodCIDR, id.PodCIDR}, {"service-cidr", wish.ServiceCIDR, id.ServiceCIDR},
		{"archive-dir", wish.Archive, id.Archive}, {"trust-dir", wish.Trust, id.Trust}} {
		if given(f.flag) && f.wish != f.has {
			return id, fmt.Errorf("--%s %s: the cluster in %s was started with %q and its objects say so; leave the flag out, or start another cluster with --data-dir", f.flag, f.wish, l.dir, f.has)
		}
	}
	return id, nil
}
