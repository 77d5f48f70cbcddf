package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/wakehq/wake/events/seal"
	"github.com/wakehq/wake/services/service"
)

// defaultBrokerPort is where brokers listen unless told otherwise; they take the next two ports as well.
const defaultBrokerPort = 4222

// initOptions are the flags of "wake init".
type initOptions struct {
	brokers []string
	api     []string
	wish    identity
}

func initCommand(place *location) *cobra.Command {
	o := &initOptions{}
	c := &cobra.Command{
		Use:   "init",
		Short: "Make the identity and the keys of a cluster of several processes or machines",
		Long: `Make the identity and the keys of a cluster whose control plane is several processes, on one machine or on several. ("wake up" needs none of this.)

It writes cluster.json, pki/ and a kubeconfig for the administrator into the data directory. Every process of the control plane reads cluster.json and pki/ there: give each
machine that runs one a copy, or a directory that they share. Keep them safe: who has pki/ is the cluster. Nodes need nothing of it, they join with a token.

Then start the brokers ("wake broker --name NAME"), at least one of each of "wake gateway", "wake services" and "wake feed", and one "wake keeper". Any number of each may run.`,
		Example: `  wake init --broker b1=192.0.2.1 --broker b2=192.0.2.2 --broker b3=192.0.2.3 --api https://192.0.2.1:6443 --api https://192.0.2.2:6443`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := o.identity()
			if err != nil {
				return err
			}
			return initialize(cmd, place, id)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.brokers, "broker", nil, "NAME=HOST[:PORT] of a broker; it uses PORT (4222), PORT+1 for the other brokers and PORT+2 for nodes. Three survive the loss of one, five of two")
	f.StringArrayVar(&o.api, "api", nil, "URL at which a gateway is reached, such as https://192.0.2.1:6443; the first is the kubeconfig's own")
	o.wish.flags(f, "")
	f.StringVar(&o.wish.ServiceCIDR, "service-cidr", service.DefaultRange.String(), "addresses of the services: one range, or one of IPv4 and one of IPv6 apart by a comma, the preferred first")
	f.StringVar(&o.wish.Domain, "cluster-domain", defaultDomain, "what the names of the cluster's services and pods end in")
	f.StringVar(&o.wish.Archive, "archive-dir", "", "a directory that all processes of the control plane share, for the archive; without one nothing is ever trimmed off the ledger's stream (default: the keeper's own data directory)")
	f.StringVar(&o.wish.Trust, "trust-dir", "", "where the keeper's notary keeps what it has seen (default: beside its data directory)")
	return c
}

// identity reads the flags.
func (o *initOptions) identity() (identity, error) {
	id := o.wish
	id.ID, id.SharedArchive = strings.ToLower(rand.Text()[:8]), id.Archive != ""
	services, err := parseServiceRanges(id.ServiceCIDR)
	if err != nil {
		return id, fmt.Errorf("--service-cidr: %w", err)
	}
	id.ServiceCIDR = services.String()
	if err := id.check(services); err != nil {
		return id, err
	}
	if err := checkDomain(id.Domain); err != nil {
		return id, err
	}
	for flag, dir := range map[string]string{"archive-dir": id.Archive, "trust-dir": id.Trust} {
		if dir != "" && !filepath.IsAbs(dir) {
			return id, fmt.Errorf("--%s %s: name the whole path, it is the same for every process", flag, dir)
		}
	}
	taken := map[string]bool{}
	for _, text := range o.brokers {
		b, err := parseBroker(text)
		if err != nil {
			return id, err
		}
		for _, one := range []string{b.Name, b.clients(), b.routes(), b.nodes()} {
			if taken[one] {
				return id, fmt.Errorf("--broker %s: %s is another broker's already (each uses three ports, from PORT on)", text, one)
			}
			taken[one] = true
		}
		id.Brokers = append(id.Brokers, b)
	}
	switch len(id.Brokers) {
	case 0:
		return id, errors.New("a cluster needs brokers: --broker NAME=HOST, three of them to survive the loss of one; for a cluster in one process, \"wake up\" is enough")
	case 2:
		return id, errors.New("two brokers are worse than one: either's loss stops both; name one or three")
	}
	for _, text := range o.api {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
			return id, fmt.Errorf("--api %q is no address such as https://192.0.2.1:6443", text)
		}
		id.API = append(id.API, "https://"+u.Host)
	}
	if len(id.API) == 0 {
		return id, errors.New("name where the gateways are reached: --api https://HOST:6443, once for each")
	}
	return id, nil
}

// parseBroker reads NAME=HOST[:PORT].
func parseBroker(text string) (b brokerPlace, err error) {
	name, address, ok := strings.Cut(text, "=")
	if !ok || address == "" || name == "" || strings.ContainsFunc(name, func(r rune) bool { return !isNameRune(r) }) {
		return b, fmt.Errorf("--broker %q is not NAME=HOST or NAME=HOST:PORT, with a name of letters, digits and dashes", text)
	}
	b = brokerPlace{Name: name, Host: strings.Trim(address, "[]"), Port: defaultBrokerPort}
	if host, port, err := net.SplitHostPort(address); err == nil {
		b.Host = host
		if b.Port, err = strconv.Atoi(port); err != nil || b.Port < 1 || b.Port > 65533 {
			return b, fmt.Errorf("--broker %q: the port is not a number from 1 to 65533", text)
		}
	}
	return b, nil
}

func isNameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-'
}

// initialize writes a cluster's identity and keys, the identity last: without it there is no cluster.
func initialize(cmd *cobra.Command, place *location, id identity) error {
	if _, err := os.Stat(place.identity()); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is a cluster in %s already (%s): remove that directory for good, or choose another --data-dir", place.dir, place.identity())
	}
	if err := os.MkdirAll(place.dir, 0o700); err != nil {
		return fmt.Errorf("the data directory: %w", err)
	}
	p, err := newPlane(place, id, slog.Default())
	if err == nil {
		err = seal.MakeKey(place.secretKey())
	}
	if err == nil {
		err = p.writeKubeconfig(id.API...)
	}
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(place.identity(), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the cluster's identity: %w", err)
	}
	cmd.Printf("Made cluster %s in %s: %d brokers, the ledger on %d of them.\n", id.ID, place.dir, len(id.Brokers), id.replicas())
	cmd.Printf("  Give cluster.json and pki/ to each machine of the control plane, and start the processes there: wake broker --name %s …\n", id.Brokers[0].Name)
	cmd.Printf("  export KUBECONFIG=%s\n", place.kubeconfig())
	return nil
}

// clusterOf reads the identity of a cluster of several processes, and makes sure that its keys are there: none may be made anew.
func (l *location) clusterOf() (identity, error) {
	id, err := l.load()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return id, fmt.Errorf("%s holds no cluster: make one with \"wake init\", or copy cluster.json and pki/ from where that was done", l.dir)
	case err != nil:
		return id, err
	case len(id.Brokers) == 0:
		return id, fmt.Errorf("the cluster in %s is a single process (\"wake up\"): make one of several with \"wake init\" in another --data-dir", l.dir)
	}
	for _, key := range []string{filepath.Join(l.pki(), "ca.pem"), l.secretKey()} {
		if _, err := os.Stat(key); err != nil {
			return id, fmt.Errorf("%s can't be read, and must be the same for all processes: copy it from where \"wake init\" was run (%w)", key, err)
		}
	}
	return id, nil
}
