package ingress

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/wakehq/wake/events/nodewire"
	"github.com/wakehq/wake/schemas/ingressclass"
)

// KeeperConfig says how a Keeper's process is started and spoken to.
type KeeperConfig struct {
	Socket    string // where the process is spoken to
	Addresses Addresses
	Build     string // tells apart the versions of this program
	// Start starts a process that calls Serve with all that, and that goes on when this one ends. If it is to take over, it calls TakeOver before.
	Start func(takeOver bool) error
	Log   *slog.Logger
}

// Keeper keeps a process that serves Ingresses, and tells it what the agent learns. It is the agent's side.
type Keeper struct {
	KeeperConfig
	changed chan struct{} // holds a token when there is something to tell

	mu      sync.Mutex
	full    bool // all is known
	objects map[objectName]nodewire.Object
	pending map[objectName]bool         // changed and not told yet
	secrets map[objectName][]objectName // that an Ingress names
	named   map[objectName]int          // how many Ingresses name a Secret

	// Run alone uses these.
	at     mark // what the process was told last
	last   string
	lastAt time.Time
}

type objectName struct {
	resource        nodewire.Resource
	namespace, name string
}

func nameOf(o nodewire.Object) objectName { return objectName{o.Resource, o.Namespace, o.Name} }

// NewKeeper returns a Keeper.
func NewKeeper(c KeeperConfig) *Keeper {
	return &Keeper{KeeperConfig: c, changed: make(chan struct{}, 1), objects: map[objectName]nodewire.Object{}, pending: map[objectName]bool{},
		secrets: map[objectName][]objectName{}, named: map[objectName]int{}, at: mark{Teller: rand.Text()}}
}

const (
	keepRetry   = time.Second
	startWithin = 10 * time.Second // which a process has to answer
	callWithin  = 30 * time.Second
)

// Apply takes in what the agent learned, without waiting for anything. What Ingresses don't need is left out.
func (k *Keeper) Apply(full bool, objects []nodewire.Object) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if full {
		k.full = true
		for name := range k.objects {
			k.pending[name] = true
		}
		clear(k.objects)
		clear(k.secrets)
		clear(k.named)
	}
	for _, o := range objects {
		switch o.Resource {
		case nodewire.Ingresses, nodewire.Services, nodewire.EndpointSlices, nodewire.Secrets:
		default:
			continue
		}
		name := nameOf(o)
		k.pending[name] = true
		if o.Deleted {
			delete(k.objects, name)
		} else {
			k.objects[name] = o
		}
		if name.resource == nodewire.Ingresses {
			k.rename(name)
		}
	}
	if full || len(k.pending) > 0 {
		k.kick()
	}
}

func (k *Keeper) kick() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// Run keeps the process and tells it of changes, until ctx ends. The process goes on.
func (k *Keeper) Run(ctx context.Context) error {
	c := client(k.Socket)
	defer c.CloseIdleConnections()
	for ctx.Err() == nil {
		err := k.session(ctx, c)
		if ctx.Err() == nil {
			k.complain(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(keepRetry):
		}
	}
	return ctx.Err()
}

// complain logs what goes wrong, again and again the same only once a minute.
func (k *Keeper) complain(err error) {
	if text := err.Error(); text != k.last || time.Since(k.lastAt) > time.Minute {
		k.last, k.lastAt = text, time.Now()
		k.Log.Warn("Ingresses can't be served as they should; trying again", "error", err)
	}
}

// session finds or starts the process and tells it everything, then every change, until it ends.
func (k *Keeper) session(ctx context.Context, c *http.Client) error {
	for !k.isKnown() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-k.changed:
		}
	}
	if err := k.find(ctx, c); err != nil {
		return err
	}
	watch, err := call(ctx, c, http.MethodGet, pathWatch, nil)
	if err != nil {
		return err
	}
	defer func() { _ = watch.Close() }()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = watch.Read(make([]byte, 1))
	}()
	if err := k.tell(ctx, c, true); err != nil {
		return err
	}
	k.Log.Info("Ingresses are served", "http", k.Addresses.HTTP, "https", k.Addresses.HTTPS)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gone:
			return errors.New("it ended")
		case <-k.changed:
			if err := k.tell(ctx, c, false); err != nil {
				return err
			}
		}
	}
}

func (k *Keeper) isKnown() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.full
}

// find makes sure that a process of this program's version runs, at the wanted addresses, and has nothing to complain of.
func (k *Keeper) find(ctx context.Context, c *http.Client) error {
	s, err := k.ask(ctx, c)
	if err == nil && s.Build == k.Build && s.Addresses == k.Addresses && s.Failed == "" {
		return nil
	}
	takeOver := err == nil && s.Failed == "" && s.Addresses == k.Addresses && s.Listening
	if err == nil && !takeOver {
		if s.Failed != "" {
			k.complain(errors.New(s.Failed))
		}
		if err := Stop(ctx, k.Socket); err != nil {
			return err
		}
	}
	if err := k.Start(takeOver); err != nil {
		return fmt.Errorf("starting the process: %w", err)
	}
	deadline := time.Now().Add(startWithin)
	for {
		s, err := k.ask(ctx, c)
		if err == nil && s.Build == k.Build {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return errors.Join(errors.New("the process that was started doesn't answer"), err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (k *Keeper) ask(ctx context.Context, c *http.Client) (s status, err error) {
	answer, err := call(ctx, c, http.MethodGet, pathStatus, nil)
	if err != nil {
		return s, err
	}
	defer func() { _ = answer.Close() }()
	return s, json.NewDecoder(answer).Decode(&s)
}

// tell tells the process everything, or what changed. After an error everything is to be told.
func (k *Keeper) tell(ctx context.Context, c *http.Client, full bool) error {
	t := told{Change: k.due(full)}
	if !full && len(t.Objects) == 0 {
		return nil
	}
	k.at.Count++
	t.mark = k.at
	body, err := json.Marshal(t)
	if err != nil {
		return err
	}
	ctx, end := context.WithTimeout(ctx, callWithin)
	defer end()
	answer, err := call(ctx, c, http.MethodPost, pathApply, body)
	if err != nil {
		return err
	}
	return answer.Close()
}

// due takes what is to be told. Of Secrets only those that Ingresses name are anybody's business; which these are may change with every Ingress.
func (k *Keeper) due(full bool) Change {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := Change{Full: full, Objects: []nodewire.Object{}}
	add := func(name objectName) {
		o, there := k.objects[name]
		if name.resource == nodewire.Secrets && k.named[name] == 0 {
			there = false
		}
		switch {
		case there:
			c.Objects = append(c.Objects, o)
		case !full:
			c.Objects = append(c.Objects, nodewire.Object{Resource: name.resource, Namespace: name.namespace, Name: name.name, Deleted: true})
		}
	}
	if full {
		for name := range k.objects {
			add(name)
		}
	} else {
		for name := range k.pending {
			add(name)
		}
	}
	clear(k.pending)
	return c
}

// rename takes in which Secrets an Ingress names now: those that it begins or ceases to name are to be told of; k.mu is held.
func (k *Keeper) rename(ingress objectName) {
	var i networkingv1.Ingress
	var now []objectName
	if o, there := k.objects[ingress]; there && i.Unmarshal(o.Data) == nil {
		for _, secret := range ingressclass.Secrets(&i) {
			now = append(now, objectName{nodewire.Secrets, ingress.namespace, secret})
		}
	}
	for _, secret := range now {
		k.named[secret]++
		k.pending[secret] = true
	}
	for _, secret := range k.secrets[ingress] {
		k.pending[secret] = true
		if k.named[secret]--; k.named[secret] == 0 {
			delete(k.named, secret)
		}
	}
	k.secrets[ingress] = now
	if len(now) == 0 {
		delete(k.secrets, ingress)
	}
}

// call asks the process, and returns its answer if it is a good one.
func call(ctx context.Context, c *http.Client, method, path string, body []byte) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://ingress"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := c.Do(request)
	if err != nil {
		return nil, fmt.Errorf("speaking to the process that serves Ingresses: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer func() { _ = response.Body.Close() }()
	why, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	return nil, errors.Join(fmt.Errorf("the process that serves Ingresses refuses %s: %s: %s", path, response.Status, strings.TrimSpace(string(why))), err)
}
