package agent

import (
	"context"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/plan"
	"github.com/wakehq/wake/agent/runtime"
)

// engine is what the agent needs of Docker; runtime.Docker is the one that is used.
type engine interface {
	List(ctx context.Context) ([]runtime.Sighting, error)
	Inspect(ctx context.Context, id string) (runtime.Sighting, error)
	Events(ctx context.Context, connected func(), handle func(runtime.Event)) error
	CreateSandbox(ctx context.Context, s *plan.SandboxSpec) (id string, fresh bool, err error)
	CreateContainer(ctx context.Context, s *plan.ContainerSpec) (id string, fresh bool, err error)
	Start(ctx context.Context, id string) error
	Stop(ctx context.Context, id string, grace time.Duration) error
	Remove(ctx context.Context, id string) error
	Pull(ctx context.Context, ref, auth string) error
	Exec(ctx context.Context, id string, command []string) (code int, output string, err error)
	Logs(ctx context.Context, id string, options *corev1.PodLogOptions, w io.Writer) error
	Info(ctx context.Context) (runtime.Info, error)
	Close() error
}

var _ engine = (*runtime.Docker)(nil)

const (
	relistEvery   = time.Minute
	reconnectWait = time.Second
)

// watchEngine keeps what is known of Docker's containers true: by its events, and by a full look after each connection and from time
// to time. It closes seen after the first full look.
func (a *Agent) watchEngine(ctx context.Context, seen chan<- struct{}) error {
	first := true
	look := func() error {
		err := a.relist(ctx)
		a.watched(err)
		if err == nil && first {
			first = false
			close(seen)
		}
		return err
	}
	for ctx.Err() == nil {
		session, end := context.WithCancel(ctx)
		connected := make(chan struct{})
		ended := make(chan error, 1)
		var listening sync.WaitGroup
		listening.Go(func() {
			ended <- a.engine.Events(session, func() { close(connected) }, func(e runtime.Event) { a.onEvent(session, e) })
		})
		<-connected
		err := look()
		for err == nil {
			select {
			case err = <-ended:
			case <-time.After(relistEvery):
				err = look()
			}
		}
		end()
		listening.Wait()
		if ctx.Err() == nil {
			a.watched(err)
			a.log.Warn("lost sight of Docker, looking again", "error", err)
			pause(ctx, reconnectWait)
		}
	}
	return ctx.Err()
}

// relist looks at all containers.
func (a *Agent) relist(ctx context.Context) error {
	sightings, err := a.engine.List(ctx)
	if err != nil {
		return err
	}
	byPod := map[string][]runtime.Sighting{}
	for i := range sightings {
		a.judge(&sightings[i])
		s := sightings[i]
		byPod[s.Pod.UID] = append(byPod[s.Pod.UID], s)
	}
	a.mu.Lock()
	listed := map[*pod][]runtime.Sighting{}
	for uid, p := range a.pods {
		listed[p] = byPod[uid]
		delete(byPod, uid)
	}
	a.found = byPod
	known := a.known
	a.mu.Unlock()
	for p, sightings := range listed {
		p.relisted(ctx, sightings)
	}
	if known {
		a.adoptOrphans(ctx)
	}
	return nil
}

// onEvent looks at a container again, unless its event tells what is known already.
func (a *Agent) onEvent(ctx context.Context, e runtime.Event) {
	a.mu.Lock()
	p := a.pods[e.Pod.UID]
	a.mu.Unlock()
	if p != nil && p.believes(e.ID) != e.State {
		go p.look(ctx, e.ID)
	}
}

// pause waits for d, or less if ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
