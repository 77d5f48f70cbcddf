package gateway

import (
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wakehq/wake/events"
)

// maxEncoded bounds how many encoded objects are held. Watchers of a kind follow close upon each other, so few are enough.
const maxEncoded = 1024

// encodedFor identifies what is written once for all who watch.
type encodedFor struct {
	object   *events.Object
	revision events.Revision
	kind     schema.GroupVersionKind
	format   format
	columns  bool
}

// encodedObjects holds what was written for one watch for the others that want the same.
type encodedObjects struct {
	mu    sync.Mutex
	held  map[encodedFor][]byte
	order [maxEncoded]encodedFor // a ring
	next  int
}

func newEncodedObjects() *encodedObjects { return &encodedObjects{held: map[encodedFor][]byte{}} }

func (e *encodedObjects) get(key encodedFor) ([]byte, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	content, ok := e.held[key]
	return content, ok
}

func (e *encodedObjects) put(key encodedFor, content []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.held[key]; ok {
		return
	}
	delete(e.held, e.order[e.next])
	e.order[e.next], e.held[key] = key, content
	e.next = (e.next + 1) % maxEncoded
}

// encodeAt writes o as of revision, which is newer than o's own when o is gone, in the shape that the request wants.
func (g *Gateway) encodeAt(r *request, o *events.Object, revision events.Revision, columns bool) ([]byte, error) {
	key := encodedFor{object: o, revision: revision, kind: r.kind.GVK(), format: r.format, columns: columns && r.format.shape == tabular}
	if content, ok := g.encoded.get(key); ok && !r.past {
		return content, nil
	}
	obj := o.Typed()
	if revision != o.Revision() {
		obj = obj.DeepCopyObject()
		m, err := meta.Accessor(obj)
		if err != nil {
			return nil, err
		}
		m.SetResourceVersion(strconv.FormatUint(revision, 10))
	}
	content, err := g.encodeShaped(r, obj, columns)
	if err != nil {
		return nil, err
	}
	if !r.past { // who looks at the past is alone with it
		g.encoded.put(key, content)
	}
	return content, nil
}
