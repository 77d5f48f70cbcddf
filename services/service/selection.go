package service

import (
	"maps"
	"slices"

	"github.com/wakehq/wake/events"
)

// selection knows who selects whom. A Service is filed under one label of its selector and a pod under each of its labels, so that neither
// direction looks at more than what shares a label.
type selection struct {
	selectors map[events.Ref]map[string]string
	filed     map[events.Ref]label
	services  map[label]map[events.Ref]bool
	pods      map[label]map[string]bool
}

type label struct{ namespace, key, value string }

func newSelection() *selection {
	return &selection{selectors: map[events.Ref]map[string]string{}, filed: map[events.Ref]label{},
		services: map[label]map[events.Ref]bool{}, pods: map[label]map[string]bool{}}
}

func (s *selection) service(ref events.Ref, old, selector map[string]string) {
	if maps.Equal(old, selector) {
		return
	}
	if under, ok := s.filed[ref]; ok {
		remove(s.services, under, ref)
		delete(s.filed, ref)
		delete(s.selectors, ref)
	}
	if len(selector) == 0 {
		return
	}
	least := label{}
	for key, value := range selector {
		under := label{ref.Namespace, key, value}
		if least.key == "" || len(s.services[under]) < len(s.services[least]) {
			least = under
		}
	}
	s.selectors[ref], s.filed[ref] = selector, least
	add(s.services, least, ref)
}

func (s *selection) pod(ref events.Ref, old, labels map[string]string) {
	if maps.Equal(old, labels) {
		return
	}
	for key, value := range old {
		remove(s.pods, label{ref.Namespace, key, value}, ref.Name)
	}
	for key, value := range labels {
		add(s.pods, label{ref.Namespace, key, value}, ref.Name)
	}
}

func add[K, V comparable](index map[K]map[V]bool, key K, value V) {
	if index[key] == nil {
		index[key] = map[V]bool{}
	}
	index[key][value] = true
}

func remove[K, V comparable](index map[K]map[V]bool, key K, value V) {
	delete(index[key], value)
	if len(index[key]) == 0 {
		delete(index, key)
	}
}

// selecting gives the Services that select a pod with any of the given sets of labels.
func (s *selection) selecting(namespace string, sets ...map[string]string) []events.Ref {
	var found []events.Ref
	for _, labels := range sets {
		for key, value := range labels {
			for ref := range s.services[label{namespace, key, value}] {
				if matches(s.selectors[ref], labels) {
					found = append(found, ref)
				}
			}
		}
	}
	slices.SortFunc(found, compareRefs)
	return slices.Compact(found)
}

// candidates gives the names of the pods that share the rarest label of a selector, in order.
func (s *selection) candidates(namespace string, selector map[string]string) []string {
	var rarest map[string]bool
	first := true
	for key, value := range selector {
		if pods := s.pods[label{namespace, key, value}]; first || len(pods) < len(rarest) {
			rarest, first = pods, false
		}
	}
	return slices.Sorted(maps.Keys(rarest))
}

func matches(selector, labels map[string]string) bool {
	for key, value := range selector {
		if have, ok := labels[key]; !ok || have != value {
			return false
		}
	}
	return true
}
