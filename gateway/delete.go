package gateway

import (
	"bytes"
	"cmp"
	"errors"
	"mime"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/wakehq/wake/events"
)

// delete asks for an object's end: at once, or when what holds it has let go.
func (g *Gateway) delete(r *request) error {
	options, err := deleteOptions(r)
	if err != nil {
		return err
	}
	d, err := g.deleteOne(r, options)
	warn(r, d.warnings)
	if err != nil {
		return err
	}
	if !d.removed {
		return g.answer(r, http.StatusOK, d.object)
	}
	r.format.shape = whole
	return g.answerPlain(r, http.StatusOK, deletedStatus(r, d.object))
}

// deletedStatus is what Kubernetes says of an object that is gone.
func deletedStatus(r *request, obj runtime.Object) *metav1.Status {
	details := &metav1.StatusDetails{Name: r.name, Group: r.kind.GroupVersion.Group, Kind: r.kind.Resource}
	if m, ok := obj.(metav1.Object); ok {
		details.UID = m.GetUID()
	}
	status := &metav1.Status{Status: metav1.StatusSuccess, Details: details}
	status.Kind, status.APIVersion = "Status", "v1"
	return status
}

func (g *Gateway) deleteOne(r *request, options *metav1.DeleteOptions) (draft, error) {
	return g.commit(r, func(state *events.State) (draft, error) {
		o, err := find(state, r)
		if err != nil {
			return draft{}, err
		}
		return draftDelete(r, state, o, options)
	})
}

// draftDelete decides what asking for o's deletion comes to.
func draftDelete(r *request, state *events.State, o *events.Object, options *metav1.DeleteOptions) (draft, error) {
	if err := checkNote(r, o); err != nil {
		return draft{}, err
	}
	deletion, err := r.kind.PrepareDelete(r.write(state), o.Typed(), options)
	if err != nil {
		return draft{}, err
	}
	d := draft{object: deletion.Object, removed: deletion.Remove}
	switch {
	case deletion.Remove:
		d.object = deletion.Object.DeepCopyObject()
		d.proposals = []events.Proposal{events.Remove(o, o.Kind.KindName+"Deleted")}
	case deletion.Changed:
		desired := deletion.Object.DeepCopyObject()
		if o.Facet(events.Assigned) != nil {
			o.Kind.Unassign(desired)
		}
		d.proposals = []events.Proposal{events.Alter(o, desired, o.Kind.KindName+"DeletionRequested", changedDesired(o.Typed(), deletion.Object)...)}
	}
	return d, nil
}

// deleteCollection asks for the end of all objects that the selectors name. Those that vanish meanwhile are none the worse for it.
func (g *Gateway) deleteCollection(r *request) error {
	options, err := deleteOptions(r)
	if err != nil {
		return err
	}
	s, err := newSelector(r.kind, r.namespace, "", r.query)
	if err != nil {
		return err
	}
	p := page{meta: metav1.ListMeta{ResourceVersion: strconv.FormatUint(g.config.View.State().Revision(), 10)}}
	for o := range s.candidates(g.config.View.State(), position{}) {
		if !s.matches(o) || o.IsNote() {
			continue
		}
		one := *r
		one.namespace, one.name = o.Ref.Namespace, o.Ref.Name
		if _, err := g.deleteOne(&one, options); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		p.objects = append(p.objects, o)
	}
	return g.answerList(r, p)
}

// deleteOptions reads a deletion's options from the body and the query; the query decides.
func deleteOptions(r *request) (*metav1.DeleteOptions, error) {
	options := &metav1.DeleteOptions{}
	content, err := r.body()
	if err != nil {
		return nil, err
	}
	if len(content) > 0 {
		if err := decodeDeleteOptions(content, r.Request().Header.Get("Content-Type"), options); err != nil {
			return nil, apierrors.NewBadRequest("reading the DeleteOptions in the request's body: " + err.Error())
		}
	}
	if len(options.DryRun) > 0 {
		r.query["dryRun"] = options.DryRun
	}
	if err := r.checkOptions("DeleteOptions"); err != nil {
		return nil, err
	}
	return options, errors.Join(queryDeleteOptions(r, options), checkDeleteOptions(options))
}

// decodeDeleteOptions reads options whatever group and version they claim: clients send them in that of the kind that they delete, or in several others.
func decodeDeleteOptions(content []byte, contentType string, options *metav1.DeleteOptions) error {
	media, _, err := mime.ParseMediaType(cmp.Or(contentType, mediaTypes[jsonEncoding]))
	if err != nil {
		return err
	}
	switch media {
	case mediaTypes[jsonEncoding], mediaTypes[yamlEncoding]:
		return yaml.Unmarshal(content, options)
	case mediaTypes[protobufEncoding]:
		raw, ok := bytes.CutPrefix(content, []byte("k8s\x00"))
		if !ok {
			return errors.New("the protobuf envelope is missing")
		}
		var envelope runtime.Unknown
		if err := envelope.Unmarshal(raw); err != nil {
			return err
		}
		return options.Unmarshal(envelope.Raw)
	}
	return errUnsupportedMedia(contentType, mediaTypes[:]...)
}

func queryDeleteOptions(r *request, options *metav1.DeleteOptions) error {
	if text := r.query.Get("gracePeriodSeconds"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return apierrors.NewBadRequest("gracePeriodSeconds: " + strconv.Quote(text) + " is no number")
		}
		options.GracePeriodSeconds = &seconds
	}
	if text := r.query.Get("propagationPolicy"); text != "" {
		policy := metav1.DeletionPropagation(text)
		options.PropagationPolicy = &policy
	}
	if r.query.Has("orphanDependents") {
		orphan := isTrue(r.query, "orphanDependents")
		options.OrphanDependents = &orphan
	}
	if uid := types.UID(r.query.Get("preconditions.uid")); uid != "" {
		options.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	return nil
}

func checkDeleteOptions(options *metav1.DeleteOptions) error {
	var errs field.ErrorList
	policies := []metav1.DeletionPropagation{metav1.DeletePropagationForeground, metav1.DeletePropagationBackground, metav1.DeletePropagationOrphan}
	if p := options.PropagationPolicy; p != nil {
		if *p != policies[0] && *p != policies[1] && *p != policies[2] {
			errs = append(errs, field.NotSupported(field.NewPath("propagationPolicy"), *p, policies))
		}
		if options.OrphanDependents != nil {
			errs = append(errs, field.Invalid(field.NewPath("propagationPolicy"), *p, "orphanDependents and deletionPropagation cannot be both set"))
		}
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("DeleteOptions").GroupKind(), "", errs)
	}
	return nil
}
