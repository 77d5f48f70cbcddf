package gateway

import (
	"net/http"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wakehq/wake/events"
)

// updateStatus replaces an object's status by that of the object in the request's body.
func (g *Gateway) updateStatus(r *request) error {
	if err := r.checkOptions("UpdateOptions"); err != nil {
		return err
	}
	obj, err := r.decode()
	if err != nil {
		return err
	}
	d, err := g.commit(r, func(state *events.State) (draft, error) {
		o, err := find(state, r)
		if err != nil {
			return draft{}, err
		}
		return g.draftStatus(r, state, o, obj)
	})
	warn(r, d.warnings)
	if err != nil {
		return err
	}
	return g.answer(r, http.StatusOK, d.object)
}

// draftStatus decides that o's status becomes that of obj. All else that obj says is left aside: it is for who writes the object itself.
func (g *Gateway) draftStatus(r *request, state *events.State, o *events.Object, obj runtime.Object) (draft, error) {
	if err := checkObjectVersion(r, o, events.Observed, obj); err != nil {
		return draft{}, err
	}
	obj = carryPlacement(obj, o)
	prepared, warnings, err := r.kind.PrepareStatusUpdate(r.write(state), obj, o.Typed())
	d := draft{object: prepared, warnings: warnings}
	if err != nil {
		return d, err
	}
	shown := o.Typed().DeepCopyObject()
	o.Kind.SetStatus(shown, prepared)
	d.object = shown
	if o.Kind.StatusEqual(o.Typed(), shown) {
		return d, nil
	}
	d.proposals = []events.Proposal{events.Observe(o, shown, r.kind.KindName+"StatusChanged", changedStatus(o.Typed(), shown)...)}
	return d, nil
}
