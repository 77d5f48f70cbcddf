package faults

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// writer writes to the API over and over, by the other gateway if one doesn't take it, and remembers for how long it couldn't.
type writer struct {
	clients []kubernetes.Interface
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu      sync.Mutex
	taken   int
	last    time.Time
	longest time.Duration
}

const (
	writeEvery  = 100 * time.Millisecond
	writeWithin = 2 * time.Second
)

func (w *world) write(t testing.TB) *writer {
	ctx, stop := context.WithCancel(context.Background())
	out := &writer{stop: stop, last: time.Now()}
	for _, file := range w.p.Kubeconfigs() {
		out.clients = append(out.clients, w.f.Client(file))
	}
	out.done.Go(func() { out.run(ctx) })
	t.Cleanup(func() { out.end() })
	return out
}

func (w *writer) run(ctx context.Context) {
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		patch := fmt.Appendf(nil, `{"data":{"n":"%d"}}`, i)
		for _, client := range w.clients {
			within, cancel := context.WithTimeout(ctx, writeWithin)
			_, err := client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Patch(within, "written", types.MergePatchType, patch, metav1.PatchOptions{})
			cancel()
			if err == nil {
				w.note()
				break
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *writer) note() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.longest = max(w.longest, now.Sub(w.last))
	w.last = now
	w.taken++
}

// count is how many writes were taken so far.
func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.taken
}

// end returns the longest time between two writes that were taken.
func (w *writer) end() time.Duration {
	w.stop()
	w.done.Wait()
	return w.longest
}
