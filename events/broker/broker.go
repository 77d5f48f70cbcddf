package broker

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// The accounts of a broker.
const (
	LedgerAccount = "LEDGER" // holds the ledger's stream; only control plane services are in it
	NodesAccount  = "NODES"  // the nodes and the node feed
)

var accountNames = []string{LedgerAccount, NodesAccount}

// MaxMessageBytes bounds a message: an event's payload and its headers fit well.
const MaxMessageBytes = 4 << 20

const (
	startWithin    = 30 * time.Second
	reconnectEvery = 50 * time.Millisecond
	// defaultSync is what an operating system's crash may cost unless SyncAlways is set.
	defaultSync = time.Second
	// maxBatches is how many atomic batches may be open at once. The server's default of 50 is less than a control plane under load has.
	maxBatches = 1000
	// memoryStore bounds JetStream's memory storage. The ledger is on disk: only the state of short-lived consumers is in memory.
	memoryStore = 64 << 20
	// fileStore keeps JetStream from deriving a limit from the free space at start: the disk itself is the limit (see watch.go).
	fileStore = 1 << 50
	tlsWithin = 5 * time.Second
	// A peer or client that is silent for so many pings is gone.
	serverPings       = 2 * time.Second
	serverPingsMissed = 2
)

// Config says how a broker runs. Dir must be set.
type Config struct {
	Dir          string        // holds everything; created if missing
	SyncAlways   bool          // fsync before an append is acknowledged
	SyncInterval time.Duration // else fsync this often; 1 s if 0
	Listen       string        // "host:port" for clients, port 0 for any; nothing listens if empty
	TLS          *tls.Config   // of Listen. It lets in who belongs to the control plane and nobody else; the name that a client gives is the account that it wants
	Users        []User        // who may connect without it, by password
	Cluster      *Cluster      // nil for a broker on its own
	Log          *slog.Logger  // warnings and errors of the server; slog.Default() if nil
}

// Cluster makes a broker one of several that hold replicas.
type Cluster struct {
	Name   string
	Server string      // this broker's name, unique in the cluster
	Listen string      // "host:port" for the other brokers
	Peers  []string    // their "host:port"
	TLS    *tls.Config // between them, for both ends; nil is none
}

// Broker is a running server. It may be used by many goroutines.
type Broker struct {
	config Config
	lock   *os.File
	own    []User   // those of the in-process connections, one per account
	guests sync.Map // users of the gate by name, as long as they are connected

	mu      sync.Mutex
	server  *server.Server
	failing error // why appends are refused, nil while all is well
	closed  bool
	failed  chan error    // a write failure that the server reported: a channel a server, so that none is believed of its successor
	done    chan struct{} // closed by Close
	watcher sync.WaitGroup
}

// Start starts a broker and returns once it serves, the ledger recovered. Errors: InUseError, or what is wrong with the directory or an address.
func Start(config Config) (*Broker, error) {
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the data directory: %w", err)
	}
	lock, err := lockDir(config.Dir)
	if err != nil {
		return nil, err
	}
	config.Log = cmp.Or(config.Log, slog.Default())
	b := &Broker{config: config, lock: lock, done: make(chan struct{})}
	for _, account := range accountNames {
		b.own = append(b.own, User{Account: account, Name: "in-process-" + account, Password: rand.Text()})
	}
	if b.server, err = b.startServer(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	b.watcher.Go(b.watch)
	return b, nil
}

func (b *Broker) startServer() (*server.Server, error) {
	opts, err := b.options()
	if err != nil {
		return nil, err
	}
	door, err := newDoor(append(slices.Clone(b.own), b.config.Users...))
	if err != nil {
		return nil, err
	}
	door.guests = &b.guests
	opts.CustomClientAuthentication = door
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("configuring the broker: %w", err)
	}
	door.server = s
	b.failed = make(chan error, 1)
	s.SetLoggerV2(&logger{to: b.config.Log, failed: b.failed}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startWithin) {
		s.Shutdown()
		return nil, fmt.Errorf("the broker in %s is not ready after %s: the log says why (an address in use, or a directory that can't be written)", b.config.Dir, startWithin)
	}
	account, err := s.LookupAccount(LedgerAccount)
	if err == nil {
		err = account.EnableJetStream(nil, nil)
	}
	if err != nil {
		s.Shutdown()
		return nil, fmt.Errorf("recovering the ledger in %s: %w", b.config.Dir, err)
	}
	return s, nil
}

func (b *Broker) options() (*server.Options, error) {
	opts := &server.Options{
		ServerName: "wake", DontListen: true, NoSigs: true, NoSystemAccount: false, DisableJetStreamBanner: true,
		JetStream: true, StoreDir: b.config.Dir, JetStreamMaxMemory: memoryStore, JetStreamMaxStore: fileStore,
		SyncAlways: b.config.SyncAlways, SyncInterval: cmp.Or(b.config.SyncInterval, defaultSync),
		MaxPayload:   MaxMessageBytes,
		PingInterval: serverPings, MaxPingsOut: serverPingsMissed,
		JetStreamLimits: server.JSLimitOpts{MaxBatchInflightPerStream: maxBatches, MaxBatchInflightTotal: maxBatches},
	}
	for _, name := range accountNames {
		opts.Accounts = append(opts.Accounts, server.NewAccount(name))
	}
	if b.config.Listen != "" {
		host, port, err := hostPort(b.config.Listen)
		if err != nil {
			return nil, err
		}
		opts.DontListen, opts.Host, opts.Port = false, host, port
		if b.config.TLS != nil {
			opts.TLSConfig, opts.TLSTimeout, opts.TLSHandshakeFirst = b.config.TLS, tlsWithin.Seconds(), true
		}
	}
	return opts, b.clusterOptions(opts)
}

func (b *Broker) clusterOptions(opts *server.Options) error {
	c := b.config.Cluster
	if c == nil {
		return nil
	}
	if b.config.Listen == "" {
		return errors.New("a broker of several must listen for clients too: the server connects to the others only then")
	}
	host, port, err := hostPort(c.Listen)
	if err != nil {
		return err
	}
	opts.ServerName = c.Server
	// What brokers know of each other's addresses is not for clients: those have been told the ones that they can reach.
	opts.Cluster = server.ClusterOpts{Name: c.Name, Host: host, Port: port, NoAdvertise: true, PingInterval: serverPings, MaxPingsOut: serverPingsMissed}
	if c.TLS != nil {
		opts.Cluster.TLSConfig, opts.Cluster.TLSTimeout = c.TLS, tlsWithin.Seconds()
	}
	for _, peer := range c.Peers {
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats-route", Host: peer})
	}
	return nil
}

func hostPort(address string) (string, int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("broker address: %w", err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("broker address %q: the port is not a number from 0 to 65535", address)
	}
	if port == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(port), nil
}

// Ledger returns a connection in the ledger's account. The caller closes it.
func (b *Broker) Ledger(options ...nats.Option) (*nats.Conn, error) {
	return b.connect(LedgerAccount, options)
}

// Nodes returns a connection in the nodes' account. The caller closes it.
func (b *Broker) Nodes(options ...nats.Option) (*nats.Conn, error) {
	return b.connect(NodesAccount, options)
}

func (b *Broker) connect(account string, options []nats.Option) (*nats.Conn, error) {
	user := b.own[slices.IndexFunc(b.own, func(u User) bool { return u.Account == account })]
	conn, err := nats.Connect("", append([]nats.Option{
		nats.InProcessServer(b), nats.Name(account), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectEvery), nats.ReconnectJitter(0, 0),
		nats.UserInfo(user.Name, user.Password),
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the broker in this process: %w", err)
	}
	return conn, nil
}

// InProcessConn lets nats.go connect, and connect again after a restart in place.
func (b *Broker) InProcessConn() (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, net.ErrClosed
	}
	return b.server.InProcessConn()
}

// Address returns where TCP clients connect, "nats://127.0.0.1:4222"; empty if nothing listens.
func (b *Broker) Address() string {
	if b.config.Listen == "" {
		return ""
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.server.ClientURL()
}

// Health returns nil, or why appends are refused.
func (b *Broker) Health() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failing
}

// Leads says whether this broker is the one of its cluster that takes appends to a stream of the ledger's account.
func (b *Broker) Leads(stream string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.closed && b.server.JetStreamIsStreamLeader(LedgerAccount, stream)
}

// Close stops the server: leaderships are handed over, files are flushed, connections are closed, the directory is free.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	close(b.done)
	b.mu.Unlock()
	b.watcher.Wait()
	b.server.Shutdown()
	b.server.WaitForShutdown()
	return b.lock.Close()
}
