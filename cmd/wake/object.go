package main

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

// parseObject understands "pod/web-1", "deployments.apps/web" and "svc web", as kubectl does.
func parseObject(args []string, namespace string) (events.Ref, error) {
	kindName, name := "", ""
	switch {
	case len(args) == 2:
		kindName, name = args[0], args[1]
	case len(args) == 1 && strings.Count(args[0], "/") == 1:
		kindName, name, _ = strings.Cut(args[0], "/")
	default:
		return events.Ref{}, fmt.Errorf("%q names no object: say <kind>/<name>, as in pod/web-1", strings.Join(args, " "))
	}
	registry, err := schemas.NewRegistry()
	if err != nil {
		return events.Ref{}, err
	}
	kind, ok := registry.Lookup(kindName)
	if !ok {
		return events.Ref{}, fmt.Errorf("%q is no kind of object; \"wake kubectl api-resources\" lists them", kindName)
	}
	r := events.Ref{Group: kind.Storage.GroupVersion.Group, Resource: kind.Storage.Resource, Name: name}
	if kind.Namespaced {
		r.Namespace = namespace
		if r.Namespace == "" {
			r.Namespace = metav1.NamespaceDefault
		}
	}
	return r, nil
}
