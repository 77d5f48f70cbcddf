package gateway

import (
	"fmt"
	"iter"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

// selector is what of a collection a client wants to see.
type selector struct {
	kind      *schemas.Kind
	namespace string
	labels    labels.Selector
	fields    fields.Selector
}

func newSelector(kind *schemas.Kind, namespace, name string, q url.Values) (*selector, error) {
	s := &selector{kind: kind, namespace: namespace}
	var err error
	if s.labels, err = labels.Parse(q.Get("labelSelector")); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("unable to parse label selector %q: %v", q.Get("labelSelector"), err))
	}
	if s.fields, err = kind.FieldSelector(q.Get("fieldSelector")); err != nil {
		return nil, err
	}
	if name != "" {
		s.fields = fields.AndSelectors(s.fields, fields.OneTermEqualSelector("metadata.name", name))
	}
	return s, nil
}

// all says that nothing but the namespace narrows the collection.
func (s *selector) all() bool { return s.labels.Empty() && s.fields.Empty() }

// matches says whether o, which may be nil, is selected.
func (s *selector) matches(o *events.Object) bool {
	switch {
	case o == nil, s.namespace != "" && o.Ref.Namespace != s.namespace:
		return false
	case !s.labels.Empty() && !s.labels.Matches(labels.Set(o.Meta().GetLabels())):
		return false
	}
	return s.fields.Empty() || s.fields.Matches(s.kind.Fields(o.Typed()))
}

func (s *selector) groupResource() events.GroupResource {
	return events.GroupResource{Group: s.kind.Storage.GroupVersion.Group, Resource: s.kind.Storage.Resource}
}

// candidates gives the objects of state after a position among which are all that match, in order. A node that asks for its own pods costs as
// many steps as it has pods.
func (s *selector) candidates(state *events.State, after position) iter.Seq[*events.Object] {
	gr := s.groupResource()
	node, ok := s.fields.RequiresExactMatch("spec.nodeName")
	if !ok || gr.Resource != "pods" {
		return state.List(gr, s.namespace, after.namespace, after.name)
	}
	return func(yield func(*events.Object) bool) {
		for o := range state.Indexed(events.ByNode, node) {
			if after.precedes(o.Ref) && !yield(o) {
				return
			}
		}
	}
}

// position is a place in a list's order.
type position struct{ namespace, name string }

func (p position) precedes(r events.Ref) bool {
	return p.namespace < r.Namespace || p.namespace == r.Namespace && p.name < r.Name
}
