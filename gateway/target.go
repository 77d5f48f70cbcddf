package gateway

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

// request is a request about objects of a kind.
type request struct {
	echo.Context
	kind        *schemas.Kind // as served, which need not be how it is stored
	namespace   string        // empty: cluster-scoped, or all namespaces
	name        string        // empty: the collection
	subresource string
	query       url.Values
	user        user
	format      format // of the answer

	past     bool      // it is answered from the past
	then     time.Time // the moment to which ages are counted; zero: now
	agesThen bool      // the client shows ages itself
}

// ref names the object that the request is about.
func (r *request) ref() events.Ref {
	storage := r.kind.Storage
	return events.Ref{Group: storage.GroupVersion.Group, Resource: storage.Resource, Namespace: r.namespace, Name: r.name}
}

// newRequest understands the path of a request:
//
//	/api/v1/[namespaces/<namespace>/]<resource>[/<name>[/<subresource>]]
//	/apis/<group>/<version>/…
func (g *Gateway) newRequest(c echo.Context) (*request, error) {
	gv, rest := splitPath(c.Request().URL.Path)
	r := &request{Context: c, query: c.Request().URL.Query(), user: userFrom(c.Request().Context())}
	if len(rest) > 2 && rest[0] == "namespaces" && !namespaceSubresource(gv, rest) {
		r.namespace, rest = rest[1], rest[2:]
	}
	kind, ok := g.config.Registry.Resource(gv.WithResource(rest[0]))
	if !ok || len(rest) > 3 || r.namespace != "" && !kind.Namespaced {
		return nil, errNoSuchPath()
	}
	r.kind = kind
	if len(rest) > 1 {
		r.name = rest[1]
	}
	if len(rest) > 2 {
		r.subresource = rest[2]
	}
	if kind.Namespaced && r.namespace == "" && r.name != "" {
		return nil, errNoSuchPath()
	}
	return r, nil
}

// splitPath divides a path into the group and version that it begins with, and what follows them.
func splitPath(path string) (schema.GroupVersion, []string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if parts[0] == "apis" && len(parts) > 2 {
		return schema.GroupVersion{Group: parts[1], Version: parts[2]}, parts[3:]
	}
	return schema.GroupVersion{Version: parts[1]}, parts[2:]
}

// namespaceSubresource says that the path is about a namespace itself, not about something in it.
func namespaceSubresource(gv schema.GroupVersion, rest []string) bool {
	return gv.Group == "" && len(rest) == 3 && (rest[2] == "status" || rest[2] == "finalize")
}

// resource serves every request about objects of any kind.
func (g *Gateway) resource(c echo.Context) error {
	if gv, rest := splitPath(c.Request().URL.Path); len(rest) == 0 {
		return g.resources(c, gv)
	}
	r, err := g.newRequest(c)
	if err != nil {
		return err
	}
	method := c.Request().Method
	watching := method == http.MethodGet && isTrue(r.query, "watch") && r.subresource == ""
	if r.format, err = negotiate(c.Request(), watching); err != nil {
		return err
	}
	if r.subresource != "" {
		return g.subresource(r)
	}
	switch {
	case watching:
		return g.watch(r)
	case method == http.MethodGet && r.name != "", method == http.MethodHead && r.name != "":
		return g.get(r)
	case method == http.MethodGet:
		return g.list(r)
	case method == http.MethodPost && r.name == "":
		return g.create(r)
	case method == http.MethodPut && r.name != "":
		return g.update(r)
	case method == http.MethodPatch && r.name != "":
		return g.patch(r)
	case method == http.MethodDelete && r.name != "":
		return g.delete(r)
	case method == http.MethodDelete:
		return g.deleteCollection(r)
	}
	return apierrors.NewMethodNotSupported(r.kind.GroupResource(), strings.ToLower(method))
}

// isTrue says whether a query parameter is set to something true; alone it counts as true.
func isTrue(q url.Values, name string) bool {
	values, ok := q[name]
	return ok && values[0] != "false" && values[0] != "0"
}
