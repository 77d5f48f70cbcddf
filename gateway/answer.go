package gateway

import (
	"bytes"
	"net/http"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// listChunk is how much of a list is gathered before it is sent, in bytes.
const listChunk = 64 << 10

// warn sends warnings as Kubernetes does (RFC 7234, code 299). It must precede the answer.
func warn(r *request, warnings []string) {
	for _, text := range warnings {
		if header, err := utilnet.NewWarningHeader(299, "-", text); err == nil {
			r.Response().Header().Add("Warning", header)
		}
	}
}

// answer sends an object of the request's kind, in any version, in the shape that the client wants.
func (g *Gateway) answer(r *request, code int, obj runtime.Object) error {
	content, err := g.encodeShaped(r, obj, true)
	if err != nil {
		return err
	}
	return r.Blob(code, r.format.contentType(), content)
}

// answerPlain sends an object of another kind than the request's: a Status, a Scale.
func (g *Gateway) answerPlain(r *request, code int, obj runtime.Object) error {
	content, err := g.encode(obj, r.format)
	if err != nil {
		return err
	}
	return r.Blob(code, r.format.contentType(), content)
}

// encodeShaped writes an object of the request's kind in the request's shape and format. A table's columns may be left out.
func (g *Gateway) encodeShaped(r *request, obj runtime.Object, columns bool) ([]byte, error) {
	served, err := r.kind.Convert(obj)
	if err != nil {
		return nil, err
	}
	shaped, err := shapeOf(r, served, columns)
	if err != nil {
		return nil, err
	}
	return g.encode(shaped, r.format)
}

// shapeOf makes of an object, or a typed list of them, what the client wants to see of it.
func shapeOf(r *request, obj runtime.Object, columns bool) (runtime.Object, error) {
	metaVersion := schema.GroupVersion{Group: metav1.GroupName, Version: r.format.version}
	switch r.format.shape {
	case tabular:
		table, err := r.table(obj, &metav1.TableOptions{NoHeaders: !columns, IncludeObject: r.format.include})
		if err != nil {
			return nil, err
		}
		if !columns {
			table.ColumnDefinitions = nil
		}
		table.SetGroupVersionKind(metaVersion.WithKind("Table"))
		return table, nil
	case metadataOnly:
		m, err := meta.Accessor(obj)
		if err != nil {
			return nil, err
		}
		partial := meta.AsPartialObjectMetadata(m)
		partial.SetGroupVersionKind(metaVersion.WithKind("PartialObjectMetadata"))
		return partial, nil
	}
	return obj, nil
}

// answerList sends a page of a list in the shape that the client wants. As JSON it is sent while it is written.
func (g *Gateway) answerList(r *request, p page) error {
	switch {
	case r.format.shape == metadataOnly:
		return g.answerMetadata(r, p)
	case r.format.shape == whole && r.format.encoding == jsonEncoding:
		return g.streamList(r, p)
	}
	objects := make([]runtime.Object, len(p.objects))
	for i, o := range p.objects {
		served, err := r.kind.Convert(r.shown(o.Typed()))
		if err != nil {
			return err
		}
		objects[i] = served
	}
	list := r.kind.NewList()
	if err := meta.SetList(list, objects); err != nil {
		return err
	}
	m, err := meta.ListAccessor(list)
	if err != nil {
		return err
	}
	m.SetResourceVersion(p.meta.ResourceVersion)
	m.SetContinue(p.meta.Continue)
	m.SetRemainingItemCount(p.meta.RemainingItemCount)
	shaped, err := shapeOf(r, list, true)
	if err != nil {
		return err
	}
	return g.answerPlain(r, http.StatusOK, shaped)
}

func (g *Gateway) answerMetadata(r *request, p page) error {
	gv := schema.GroupVersion{Group: metav1.GroupName, Version: r.format.version}
	list := &metav1.PartialObjectMetadataList{ListMeta: p.meta, Items: make([]metav1.PartialObjectMetadata, len(p.objects))}
	list.SetGroupVersionKind(gv.WithKind("PartialObjectMetadataList"))
	for i, o := range p.objects {
		list.Items[i] = *meta.AsPartialObjectMetadata(o.Meta())
		list.Items[i].SetGroupVersionKind(gv.WithKind("PartialObjectMetadata"))
	}
	return g.answerPlain(r, http.StatusOK, list)
}

func (g *Gateway) streamList(r *request, p page) error {
	head := metav1.List{ListMeta: p.meta}
	head.SetGroupVersionKind(r.kind.GroupVersion.WithKind(r.kind.KindName + "List"))
	begin, err := g.encode(&head, r.format)
	if err != nil {
		return err
	}
	// An empty metav1.List ends with its items: null, or none, whichever encoder wrote it.
	begin = begin[:bytes.LastIndex(begin, []byte(`"items":`))+len(`"items":`)]
	b := bytes.NewBuffer(append(begin, '['))
	r.Response().Header().Set("Content-Type", r.format.contentType())
	for i, o := range p.objects {
		if i > 0 {
			b.WriteByte(',')
		}
		served, err := r.kind.Convert(r.shown(o.Typed()))
		if err != nil {
			return err
		}
		if err := g.config.Registry.Encode(b, served, mediaTypes[jsonEncoding], false); err != nil {
			return err
		}
		if b.Len() >= listChunk {
			if _, err := b.WriteTo(r.Response()); err != nil {
				return err
			}
		}
	}
	b.WriteString("]}\n")
	_, err = b.WriteTo(r.Response())
	return err
}
