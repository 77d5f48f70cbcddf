package feed

import (
	"context"
	"time"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
)

// owns says that a node is this feed's to serve.
func (f *Feed) owns(node string) bool { return f.Shard == nil || f.Shard.Owns(node) }

// changeHands takes over nodes from feeds that went, and leaves nodes to feeds that came, until ctx ends.
func (f *Feed) changeHands(ctx context.Context) error {
	for {
		moved := f.Shard.Moved()
		f.share(time.Now())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

// share brings the accounts in line with whose the nodes are. A node that is taken over is told by an empty slice that another feed speaks, and asks that one for a full one;
// its silence counts from now on, since what was heard of it before may have been heard badly.
func (f *Feed) share(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for node := range f.nodes {
		if !f.owns(node) {
			f.forget(node)
		}
	}
	for o := range f.state.All(events.GroupResource{Resource: "nodes"}, "") {
		node := o.Ref.Name
		if o.Meta().GetLabels()[events.AgentLabel] != "true" || f.nodes[node] != nil || !f.owns(node) {
			continue
		}
		f.pulse.takeOver(node, now)
		if err := f.Line.Publish(nodewire.Slice{Node: node, Epoch: f.epoch}); err != nil {
			f.Log.Debug("a node was not told that it has another feed; it finds out by its heartbeat", "node", node, "error", err)
		}
	}
}

// Overhear notes what a node says of itself to whichever feed.
func (f *Feed) Overhear(node string, r nodewire.NodeReport) {
	f.pulse.report(node, r.Status, time.Now())
}
