package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// subresource serves requests about a part of an object, or a thing to do with it.
func (g *Gateway) subresource(r *request) error {
	if _, ok := r.kind.Subresource(r.subresource); !ok {
		return errNoSuchPath()
	}
	method := r.Request().Method
	if slices.Contains(onNodes, r.subresource) && momentText(r.Request()) != "" {
		return errNodes(r.subresource)
	}
	switch r.subresource {
	case "scale":
		return g.scale(r)
	case "binding":
		return only(r, http.MethodPost, g.bind)
	case "eviction":
		return only(r, http.MethodPost, g.evict)
	case "log":
		return only(r, http.MethodGet, g.log)
	case "exec", "attach", "portforward", "proxy":
		return errNotImplemented(fmt.Sprintf("%s of %s is not implemented yet by this version of Wake", r.subresource, r.kind.Resource))
	case "token":
		return errNotImplemented("tokens of service accounts are not implemented yet by this version of Wake: clients authenticate with certificates")
	}
	switch {
	case method == http.MethodGet:
		return g.get(r)
	case method == http.MethodPut && r.subresource == "status":
		return g.updateStatus(r)
	case method == http.MethodPut:
		return g.update(r)
	case method == http.MethodPatch:
		return g.patch(r)
	}
	return apierrors.NewMethodNotSupported(r.kind.GroupResource(), strings.ToLower(method))
}

func only(r *request, method string, serve func(*request) error) error {
	if r.Request().Method != method {
		return apierrors.NewMethodNotSupported(r.kind.GroupResource(), strings.ToLower(r.Request().Method))
	}
	return serve(r)
}
