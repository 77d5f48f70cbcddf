package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events/nodewire"
)

// fakeFeed plays the cluster: it keeps pods and objects, checks reports as the node feed does, and can be away.
type fakeFeed struct {
	node string

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at each change
	revision uint64
	objects  map[string]nodewire.Object // by resource/namespace/name
	pods     map[string]*corev1.Pod     // by UID
	reports  []nodewire.PodReport
	nodes    []nodewire.NodeReport
	away     bool
	follower chan nodewire.Slice
	serve    func(context.Context, nodewire.LogRequest, io.Writer) error
}

func newFakeFeed(node string) *fakeFeed {
	f := &fakeFeed{node: node, changed: make(chan struct{}), objects: map[string]nodewire.Object{}, pods: map[string]*corev1.Pod{}}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sendObject(nodewire.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: corev1.NodeSpec{PodCIDRs: []string{randomRange()}}})
	return f
}

// randomRange is hardly one that another test on this machine uses.
func randomRange() string { return fmt.Sprintf("100.%d.%d.0/24", 64+rand.IntN(64), rand.IntN(256)) }

// Slices gives a full slice of what there is, and everything that follows.
func (f *fakeFeed) Slices(ctx context.Context) (<-chan nodewire.Slice, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.follower = make(chan nodewire.Slice, 1024)
	f.sendFull()
	return f.follower, nil
}

// sendFull sends everything; f.mu is held.
func (f *fakeFeed) sendFull() {
	s := nodewire.Slice{Node: f.node, Epoch: "e", Revision: f.revision, Full: true}
	for _, o := range f.objects {
		s.Objects = append(s.Objects, o)
	}
	if f.follower != nil && !f.away {
		f.follower <- s
	}
}

var errAway = errors.New("the cluster is away")

func (f *fakeFeed) ReportPod(ctx context.Context, r nodewire.PodReport) (nodewire.Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return nodewire.Answer{}, errAway
	}
	p := f.pods[r.UID]
	if p == nil {
		return nodewire.Answer{Error: "no such pod", Gone: true}, nil
	}
	f.reports = append(f.reports, r)
	p.Status = r.Status
	if r.Removed {
		delete(f.pods, r.UID)
		f.send(nodewire.Object{Resource: nodewire.Pods, Namespace: r.Namespace, Name: r.Name, UID: r.UID, Deleted: true})
	} else {
		f.sendPod(p)
	}
	f.notify()
	return nodewire.Answer{Revision: f.revision}, nil
}

func (f *fakeFeed) ReportNode(ctx context.Context, r nodewire.NodeReport) (nodewire.Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return nodewire.Answer{}, errAway
	}
	f.nodes = append(f.nodes, r)
	f.notify()
	return nodewire.Answer{}, nil
}

func (f *fakeFeed) Heartbeat(context.Context) error { return nil }

func (f *fakeFeed) ServeLogs(ctx context.Context, handle func(context.Context, nodewire.LogRequest, io.Writer) error) error {
	f.mu.Lock()
	f.serve = handle
	f.notify()
	f.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

func (f *fakeFeed) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// send sends one object; f.mu is held.
func (f *fakeFeed) send(o nodewire.Object) {
	key := string(o.Resource) + "/" + o.Namespace + "/" + o.Name
	previous := f.revision
	f.revision++
	o.Revision, o.Cause = f.revision, f.revision
	if o.Deleted {
		delete(f.objects, key)
	} else {
		f.objects[key] = o
	}
	if f.follower != nil && !f.away {
		f.follower <- nodewire.Slice{Node: f.node, Epoch: "e", Revision: f.revision, Previous: previous, Objects: []nodewire.Object{o}}
	}
}

type encodable interface {
	metav1.Object
	Marshal() ([]byte, error)
}

func (f *fakeFeed) sendObject(resource nodewire.Resource, object encodable) {
	data, err := object.Marshal()
	if err != nil {
		panic(err)
	}
	f.send(nodewire.Object{Resource: resource, Namespace: object.GetNamespace(), Name: object.GetName(), UID: string(object.GetUID()), Data: data})
}

func (f *fakeFeed) sendPod(p *corev1.Pod) { f.sendObject(nodewire.Pods, p) }

// put binds a pod to the node, or changes it.
func (f *fakeFeed) put(p *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known := f.pods[string(p.UID)]; known != nil {
		p.Status = known.Status
	}
	f.pods[string(p.UID)] = p.DeepCopy()
	f.sendPod(p)
}

// delete asks for a pod's end, within its grace period.
func (f *fakeFeed) delete(p *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.pods[string(p.UID)]
	now := metav1.Now()
	known.DeletionTimestamp, known.DeletionGracePeriodSeconds = &now, known.Spec.TerminationGracePeriodSeconds
	f.sendPod(known)
}

// forget removes a pod without the node having agreed.
func (f *fakeFeed) forget(p *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pods, string(p.UID))
	f.send(nodewire.Object{Resource: nodewire.Pods, Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Deleted: true})
}

func (f *fakeFeed) putObject(resource nodewire.Resource, object encodable) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sendObject(resource, object)
}

// setAway makes the cluster unreachable, or reachable again.
func (f *fakeFeed) setAway(away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
	if !away {
		f.sendFull()
	}
}

// until waits until the reported status of a pod is as wanted.
func (f *fakeFeed) until(ctx context.Context, uid string, is func(*corev1.PodStatus) bool) (*corev1.PodStatus, error) {
	for {
		f.mu.Lock()
		changed := f.changed
		var status *corev1.PodStatus
		if p := f.pods[uid]; p != nil {
			status = p.Status.DeepCopy()
		}
		f.mu.Unlock()
		if status != nil && is(status) {
			return status, nil
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-changed:
		}
	}
}

// untilRemoved waits until the node says that nothing of the pod is left.
func (f *fakeFeed) untilRemoved(t *testing.T, p *corev1.Pod) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		f.mu.Lock()
		changed := f.changed
		_, there := f.pods[string(p.UID)]
		f.mu.Unlock()
		if !there {
			return
		}
		select {
		case <-ctx.Done():
			require.Fail(t, "the pod is still there", "%s: %v", p.Name, f.types(string(p.UID)))
		case <-changed:
		}
	}
}

// types lists what was reported of a pod: types, and reasons of notes.
func (f *fakeFeed) types(uid string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, r := range f.reports {
		if r.UID != uid {
			continue
		}
		s := r.Type
		if r.Note != nil {
			s += "/" + r.Note.Reason + "/" + r.Note.Message
		}
		out = append(out, s)
	}
	return out
}

// logs reads a log as the gateway does.
func (f *fakeFeed) logs(ctx context.Context, r nodewire.LogRequest, w io.Writer) error {
	for {
		f.mu.Lock()
		serve, changed := f.serve, f.changed
		f.mu.Unlock()
		if serve != nil {
			return serve(ctx, r, w)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
