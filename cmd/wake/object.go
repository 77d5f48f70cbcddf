package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
)

// objectForms says how objects and events are named.
const objectForms = "say <kind>/<name>, as in pod/web-1, or the number of an event, as in 1042"

// parseObject understands "pod/web-1", "deployments.apps/web" and "svc web", as kubectl does.
func parseObject(args []string, namespace string) (events.Ref, error) {
	kindName, name := "", ""
	switch {
	case len(args) == 2 && !strings.Contains(args[0], "/"):
		kindName, name = args[0], args[1]
	case len(args) == 1 && strings.Count(args[0], "/") == 1:
		kindName, name, _ = strings.Cut(args[0], "/")
	}
	if kindName == "" || name == "" {
		return events.Ref{}, fmt.Errorf("%q names no object: %s", strings.Join(args, " "), objectForms)
	}
	kind, err := lookupKind(kindName)
	if err != nil {
		return events.Ref{}, err
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

func lookupKind(name string) (*schemas.Kind, error) {
	registry, err := schemas.NewRegistry()
	if err != nil {
		return nil, err
	}
	kind, ok := registry.Lookup(name)
	if !ok {
		return nil, fmt.Errorf("%q is no kind of object; \"wake kubectl api-resources\" lists them", name)
	}
	return kind, nil
}

// eventForm is how an event is named: "1042", "event 1042", "event/1042", "#1042".
var eventForm = regexp.MustCompile(`^(?:events?[ /]|#)?(\d+)$`)

// parseEvent understands the number of an event; false if args name none.
func parseEvent(args []string) (uint64, bool) {
	match := eventForm.FindStringSubmatch(strings.Join(args, " "))
	if match == nil {
		return 0, false
	}
	revision, err := strconv.ParseUint(match[1], 10, 63)
	return revision, err == nil
}

// isKinds says that text is the name of a kind, or several with commas: "pods,services".
func isKinds(text string) bool {
	for name := range strings.SplitSeq(text, ",") {
		if _, err := lookupKind(name); err != nil {
			return false
		}
	}
	return true
}
