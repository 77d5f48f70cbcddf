package schemas

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// endpoint is one method on one path, before it is written down in a version of OpenAPI.
type endpoint struct {
	path, method string
	action       string                  // Kubernetes' word for what it does
	about        schema.GroupVersionKind // the kind that clients look it up by
	takes, gives schema.GroupVersionKind // empty: nothing in particular
	parameters   []parameter
}

type parameter struct{ name, kind, text string }

func (p parameter) path() bool { return strings.HasPrefix(p.name, "{") }

var (
	namespaceParameter = parameter{"{namespace}", "string", "object name and auth scope, such as for teams and projects"}
	nameParameter      = parameter{"{name}", "string", "name of the object"}

	readParameters  = []parameter{{"pretty", "string", "If 'true', then the output is pretty printed."}}
	writeParameters = append(slices.Clone(readParameters),
		parameter{"dryRun", "string", "When present, indicates that modifications should not be persisted. Valid values are: All"},
		parameter{"fieldManager", "string", "The name of the actor or entity that is making these changes."},
		parameter{"fieldValidation", "string", "What to do about unknown or duplicate fields. Valid values are: Ignore, Warn, Strict"})
	patchParameters = append(slices.Clone(writeParameters),
		parameter{"force", "boolean", "Whether apply requests take over fields that other managers own."})
	listParameters = append(slices.Clone(readParameters),
		parameter{"allowWatchBookmarks", "boolean", "Whether watch events with type BOOKMARK are requested."},
		parameter{"continue", "string", "The continue token of the previous page."},
		parameter{"fieldSelector", "string", "A selector to restrict the list of returned objects by their fields."},
		parameter{"labelSelector", "string", "A selector to restrict the list of returned objects by their labels."},
		parameter{"limit", "integer", "The maximum number of objects to return."},
		parameter{"resourceVersion", "string", "A constraint on what resource versions a request may be served from."},
		parameter{"resourceVersionMatch", "string", "How resourceVersion is applied to list calls."},
		parameter{"sendInitialEvents", "boolean", "Whether a watch begins with the objects that there are."},
		parameter{"timeoutSeconds", "integer", "Timeout for the list/watch call."},
		parameter{"watch", "boolean", "Watch for changes instead of returning the objects once."})
	deleteParameters = append(slices.Clone(readParameters),
		parameter{"dryRun", "string", "When present, indicates that modifications should not be persisted. Valid values are: All"},
		parameter{"gracePeriodSeconds", "integer", "The duration in seconds before the object should be deleted."},
		parameter{"orphanDependents", "boolean", "Deprecated: use propagationPolicy."},
		parameter{"propagationPolicy", "string", "Whether and how garbage collection will be performed."})
)

var (
	deleteOptionsKind = metav1.SchemeGroupVersion.WithKind("DeleteOptions")
	statusKind        = schema.GroupVersionKind{Version: "v1", Kind: "Status"}
	patchKind         = metav1.SchemeGroupVersion.WithKind("Patch")
)

// isOptions says that a kind stands only for query parameters.
func isOptions(gvk schema.GroupVersionKind) bool { return strings.HasSuffix(gvk.Kind, "Options") }

// endpoints lists all that can be done with a kind.
func endpoints(k *Kind) []endpoint {
	gvk, list := k.GVK(), k.GroupVersion.WithKind(k.KindName+"List")
	root, fixed := apiPath(k.GroupVersion), []parameter(nil)
	collection := root + "/" + k.Resource
	var out []endpoint
	add := func(path, method, action string, about, takes, gives schema.GroupVersionKind, parameters []parameter) {
		out = append(out, endpoint{path, method, action, about, takes, gives, slices.Concat(fixed, parameters)})
	}
	none := schema.GroupVersionKind{}
	if k.Namespaced {
		add(collection, "get", "list", gvk, none, list, listParameters)
		collection, fixed = root+"/namespaces/{namespace}/"+k.Resource, []parameter{namespaceParameter}
	}
	add(collection, "get", "list", gvk, none, list, listParameters)
	add(collection, "post", "post", gvk, gvk, gvk, writeParameters)
	add(collection, "delete", "deletecollection", gvk, deleteOptionsKind, statusKind, slices.Concat(listParameters, deleteParameters[1:]))
	object := collection + "/{name}"
	fixed = append(fixed, nameParameter)
	add(object, "get", "get", gvk, none, gvk, readParameters)
	add(object, "put", "put", gvk, gvk, gvk, writeParameters)
	add(object, "patch", "patch", gvk, patchKind, gvk, patchParameters)
	add(object, "delete", "delete", gvk, deleteOptionsKind, statusKind, deleteParameters)
	for _, s := range k.Subresources {
		path := object + "/" + s.Name
		if isOptions(s.Kind) || s.Name == "log" {
			add(path, "get", "connect", s.Kind, none, none, readParameters)
			continue
		}
		for _, verb := range s.Verbs {
			switch verb {
			case "get":
				add(path, "get", "get", s.Kind, none, s.Kind, readParameters)
			case "create":
				add(path, "post", "post", s.Kind, s.Kind, s.Kind, writeParameters)
			case "update":
				add(path, "put", "put", s.Kind, s.Kind, s.Kind, writeParameters)
			case "patch":
				add(path, "patch", "patch", s.Kind, patchKind, s.Kind, patchParameters)
			}
		}
	}
	return out
}

func (e endpoint) extensions() spec.VendorExtensible {
	return spec.VendorExtensible{Extensions: spec.Extensions{
		"x-kubernetes-action":             e.action,
		"x-kubernetes-group-version-kind": map[string]any{"group": e.about.Group, "version": e.about.Version, "kind": e.about.Kind},
	}}
}

// id gives "get./api/v1/namespaces/{namespace}/pods" in a form that generators take for a name.
func (e endpoint) id() string {
	return e.method + strings.NewReplacer("/", "_", "{", "", "}", "", ".", "_").Replace(e.path)
}

// ref returns a reference to the model of gvk; nil for none.
func ref(prefix string, gvk schema.GroupVersionKind) (*spec.Schema, error) {
	if gvk.Empty() || gvk.Kind == "" {
		return nil, nil
	}
	name, err := modelName(gvk)
	if err != nil {
		return nil, err
	}
	r, err := spec.NewRef(prefix + name)
	return &spec.Schema{SchemaProps: spec.SchemaProps{Ref: r}}, err
}

var (
	patchTypes = []string{"application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"}
	mediaTypes = []string{"application/json", "application/vnd.kubernetes.protobuf", "application/yaml"}
)

func (e endpoint) consumes() []string {
	if e.takes == patchKind {
		return patchTypes
	}
	return mediaTypes
}

func addV3(paths map[string]*spec3.Path, e endpoint) error {
	takes, err := ref("#/components/schemas/", e.takes)
	if err != nil {
		return err
	}
	gives, err := ref("#/components/schemas/", e.gives)
	if err != nil {
		return err
	}
	op := &spec3.Operation{VendorExtensible: e.extensions(), OperationProps: spec3.OperationProps{OperationId: e.id(),
		Responses: &spec3.Responses{ResponsesProps: spec3.ResponsesProps{StatusCodeResponses: map[int]*spec3.Response{
			200: {ResponseProps: spec3.ResponseProps{Description: "OK", Content: content(mediaTypes, gives)}}}}}}}
	for _, p := range e.parameters {
		props := spec3.ParameterProps{Name: strings.Trim(p.name, "{}"), In: "query", Description: p.text, Required: p.path(),
			Schema: &spec.Schema{SchemaProps: spec.SchemaProps{Type: spec.StringOrArray{p.kind}, UniqueItems: true}}}
		if p.path() {
			props.In = "path"
		}
		op.Parameters = append(op.Parameters, &spec3.Parameter{ParameterProps: props})
	}
	if takes != nil {
		op.RequestBody = &spec3.RequestBody{RequestBodyProps: spec3.RequestBodyProps{Content: content(e.consumes(), takes), Required: e.takes != deleteOptionsKind}}
	}
	if paths[e.path] == nil {
		paths[e.path] = &spec3.Path{}
	}
	slot, err := v3Slot(paths[e.path], e.method)
	if err != nil {
		return err
	}
	*slot = op
	return nil
}

func v3Slot(p *spec3.Path, method string) (**spec3.Operation, error) {
	slot, ok := map[string]**spec3.Operation{"get": &p.Get, "post": &p.Post, "put": &p.Put, "patch": &p.Patch, "delete": &p.Delete}[method]
	if !ok {
		return nil, fmt.Errorf("no OpenAPI method is called %q", method)
	}
	return slot, nil
}

func content(types []string, model *spec.Schema) map[string]*spec3.MediaType {
	out := map[string]*spec3.MediaType{}
	for _, t := range types {
		if model != nil {
			out[t] = &spec3.MediaType{MediaTypeProps: spec3.MediaTypeProps{Schema: model}}
		}
	}
	return out
}

func addV2(paths map[string]spec.PathItem, e endpoint) error {
	takes, err := ref("#/definitions/", e.takes)
	if err != nil {
		return err
	}
	gives, err := ref("#/definitions/", e.gives)
	if err != nil {
		return err
	}
	op := &spec.Operation{VendorExtensible: e.extensions(), OperationProps: spec.OperationProps{ID: e.id(), Consumes: e.consumes(), Produces: mediaTypes,
		Responses: &spec.Responses{ResponsesProps: spec.ResponsesProps{StatusCodeResponses: map[int]spec.Response{
			200: {ResponseProps: spec.ResponseProps{Description: "OK", Schema: gives}}}}}}}
	for _, p := range e.parameters {
		out := spec.Parameter{SimpleSchema: spec.SimpleSchema{Type: p.kind},
			ParamProps: spec.ParamProps{Name: strings.Trim(p.name, "{}"), In: "query", Description: p.text, Required: p.path()}}
		if p.path() {
			out.In = "path"
		}
		op.Parameters = append(op.Parameters, out)
	}
	if takes != nil {
		op.Parameters = append(op.Parameters, spec.Parameter{ParamProps: spec.ParamProps{Name: "body", In: "body", Schema: takes, Required: e.takes != deleteOptionsKind}})
	}
	item := paths[e.path]
	slot, ok := map[string]**spec.Operation{"get": &item.Get, "post": &item.Post, "put": &item.Put, "patch": &item.Patch, "delete": &item.Delete}[e.method]
	if !ok {
		return fmt.Errorf("no OpenAPI method is called %q", e.method)
	}
	*slot = op
	paths[e.path] = item
	return nil
}
