package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wakehq/wake/agent/network"
	"github.com/wakehq/wake/agent/plan"
	"github.com/wakehq/wake/agent/proxy"
	"github.com/wakehq/wake/agent/runtime"
	"github.com/wakehq/wake/events/nodewire"
)

// Feed is the agent's only line to the cluster.
type Feed interface {
	// Slices gives what the node has to know: all of it, then changes without a gap. The channel closes with ctx.
	Slices(ctx context.Context) (<-chan nodewire.Slice, error)
	ReportPod(ctx context.Context, r nodewire.PodReport) (nodewire.Answer, error)
	ReportNode(ctx context.Context, r nodewire.NodeReport) (nodewire.Answer, error)
	Heartbeat(ctx context.Context) error
	// ServeLogs answers log requests by handle until ctx ends.
	ServeLogs(ctx context.Context, handle func(context.Context, nodewire.LogRequest, io.Writer) error) error
}

// Config says which node this is and how it runs pods.
type Config struct {
	NodeName  string
	Cluster   string            // name of the cluster: marks its containers, and names its network
	Labels    map[string]string // of the node, beside the usual ones
	Root      string            // directory for the pods' files; must be absolute, and the same path for Docker
	Feed      Feed
	Services  Services  // makes who is told of services and endpoints; nil: nobody is
	Announcer Announcer // of addresses on the node's links; nil: none are announced
	Policies  Policies  // enforces network policies; nil: none are
	Ingress   Ingress   // serves Ingresses; nil: the node doesn't
	Log       *slog.Logger

	DockerHost string          // of the Docker API; empty: DOCKER_HOST or the default socket
	ClusterID  string          // the same on all nodes of the cluster; empty: Cluster
	Routing    network.Routing // how pods' packets get to other nodes; empty: network.Auto

	NodeIP        string   // the node's address; empty: that of the route to the outside
	ClusterDNS    []string // name servers that pods ask; empty: what Services made
	ClusterDomain string   // empty: cluster.local
	ResolvConf    string   // the node's own, for pods too; empty: /etc/resolv.conf, or what systemd-resolved has it from

	Starts  int // how many sandboxes and containers are created or started at a time; 0: 8
	MaxPods int // 0: 110
}

// Agent runs the pods of one node.
type Agent struct {
	config       Config
	engine       engine
	log          *slog.Logger
	node         plan.Node
	starts       chan struct{} // a token per start that is under way
	nodeChanged  chan struct{} // holds a token when the node is to be reported
	proxyChanged chan struct{} // holds a token when the proxy is to be told
	now          func() time.Time

	network     *network.Network
	names       atomic.Pointer[naming]
	entering    chan struct{}          // closed when what an earlier process has left of the network was entered, or there is nothing or it can't be
	noNetwork   atomic.Pointer[string] // why no pod can be on the pod network; empty: they can
	entered     []netip.Prefix         // the ranges with which the pod network was entered; takeSlices alone uses it
	endServices context.CancelFunc     // ends what Config.Services has made; likewise
	serving     sync.WaitGroup         // what has not ended of that
	policing    *policing

	mu           sync.Mutex
	proxy        Proxy                   // nil: there is none
	dns          DNS                     // likewise
	peers        map[string]network.Peer // the other nodes, by name
	pods         map[string]*pod         // by UID
	found        map[string][]runtime.Sighting
	known        bool // a full slice has been seen
	objects      *objectStore
	proxyChanges []proxy.Change // not yet told
	health       dockerHealth
}

// New checks the configuration and connects to Docker.
func New(ctx context.Context, config Config) (*Agent, error) {
	var missing []error
	for name, value := range map[string]string{"NodeName": config.NodeName, "Cluster": config.Cluster, "Root": config.Root} {
		if value == "" {
			missing = append(missing, fmt.Errorf("agent: Config.%s is empty", name))
		}
	}
	if config.Feed == nil {
		missing = append(missing, errors.New("agent: Config.Feed is nil"))
	}
	if config.Root != "" && !filepath.IsAbs(config.Root) {
		missing = append(missing, fmt.Errorf("agent: Config.Root %q must be absolute: Docker mounts what lies there", config.Root))
	}
	if err := errors.Join(missing...); err != nil {
		return nil, err
	}
	docker, err := runtime.Open(ctx, runtimeConfig(config))
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", config.NodeName, err)
	}
	return newAgent(config, docker)
}

// Defaults of the configuration.
const (
	defaultStarts  = 8
	defaultMaxPods = 110
)

func newAgent(config Config, e engine) (*Agent, error) {
	config.Starts = cmp.Or(config.Starts, defaultStarts)
	config.MaxPods = cmp.Or(config.MaxPods, defaultMaxPods)
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	net, err := openNetwork(&config)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", config.NodeName, err)
	}
	a := &Agent{
		config:       config,
		engine:       e,
		log:          config.Log.With("node", config.NodeName),
		starts:       make(chan struct{}, config.Starts),
		now:          time.Now,
		nodeChanged:  make(chan struct{}, 1),
		proxyChanged: make(chan struct{}, 1),
		pods:         map[string]*pod{},
		node: plan.Node{
			Name: config.NodeName, IP: config.NodeIP, Dir: podsDir(config),
			ClusterDomain: cmp.Or(config.ClusterDomain, "cluster.local"),
		},
		objects:  newObjectStore(),
		network:  net,
		peers:    map[string]network.Peer{},
		policing: newPolicing(config.Policies),
		entering: make(chan struct{}),
	}
	why := waitsForRange
	a.noNetwork.Store(&why)
	a.names.Store(&naming{servers: config.ClusterDNS})
	return a, nil
}

// Run runs the node until ctx ends. Containers go on when it returns.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.register(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	seen := make(chan struct{}) // closed when Docker has once been seen in full
	group.Go(func() error { return a.watchEngine(ctx, seen) })
	group.Go(func() error { return a.reportNode(ctx) })
	group.Go(func() error { return a.heartbeat(ctx) })
	group.Go(func() error { return a.serveProxy(ctx) })
	group.Go(func() error { return a.servePolicies(ctx) })
	if a.config.Ingress != nil {
		group.Go(func() error { return a.config.Ingress.Run(ctx) })
	}
	if a.config.Announcer != nil {
		group.Go(func() error { return a.config.Announcer.Run(ctx) })
	}
	group.Go(func() error { return a.config.Feed.ServeLogs(ctx, a.serveLog) })
	group.Go(func() error {
		select {
		case <-seen:
		case <-ctx.Done():
			return ctx.Err()
		}
		return a.takeSlices(ctx)
	})
	group.Go(func() error { return a.network.Run(ctx, a.networkCompared) })
	err := group.Wait()
	a.waitPods()
	a.serving.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, a.engine.Close())
}

// waitPods waits for the pods' goroutines, which end with Run's context.
func (a *Agent) waitPods() {
	a.mu.Lock()
	pods := make([]*pod, 0, len(a.pods))
	for _, p := range a.pods {
		pods = append(pods, p)
	}
	a.mu.Unlock()
	for _, p := range pods {
		p.running.Wait()
	}
}

// heartbeat says that the node lives. One that fails is not worth a word: the next comes soon.
func (a *Agent) heartbeat(ctx context.Context) error {
	tick := time.NewTicker(nodewire.HeartbeatEvery)
	defer tick.Stop()
	for {
		if err := a.config.Feed.Heartbeat(ctx); err != nil {
			a.log.Debug("heartbeat not taken", "error", err)
		} else if a.config.Announcer != nil {
			a.config.Announcer.Heard()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
