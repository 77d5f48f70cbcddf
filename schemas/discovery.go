package schemas

import (
	"slices"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersions lists what is served, in order of preference.
func (r *Registry) GroupVersions() []schema.GroupVersion {
	var out []schema.GroupVersion
	for _, k := range r.all {
		if !slices.Contains(out, k.GroupVersion) {
			out = append(out, k.GroupVersion)
		}
	}
	return out
}

// APIResources is the discovery document of a group and version, false if it isn't served.
func (r *Registry) APIResources(gv schema.GroupVersion) (*metav1.APIResourceList, bool) {
	list := &metav1.APIResourceList{TypeMeta: typeMeta(schema.GroupVersionKind{Version: "v1", Kind: "APIResourceList"}), GroupVersion: gv.String()}
	for _, k := range r.all {
		if k.GroupVersion != gv {
			continue
		}
		list.APIResources = append(list.APIResources, metav1.APIResource{Name: k.Resource, SingularName: k.Singular, Namespaced: k.Namespaced,
			Kind: k.KindName, Verbs: k.Verbs(), ShortNames: k.ShortNames, Categories: k.Categories})
		for _, s := range k.Subresources {
			sub := metav1.APIResource{Name: k.Resource + "/" + s.Name, Namespaced: k.Namespaced, Kind: s.Kind.Kind, Verbs: s.Verbs}
			if s.Kind.GroupVersion() != gv {
				sub.Group, sub.Version = s.Kind.Group, s.Kind.Version
			}
			list.APIResources = append(list.APIResources, sub)
		}
	}
	return list, len(list.APIResources) > 0
}

// APIGroups is the discovery document of all named groups.
func (r *Registry) APIGroups() *metav1.APIGroupList {
	list := &metav1.APIGroupList{TypeMeta: typeMeta(schema.GroupVersionKind{Version: "v1", Kind: "APIGroupList"})}
	for _, gv := range r.GroupVersions() {
		if gv.Group == "" {
			continue
		}
		version := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
		i := slices.IndexFunc(list.Groups, func(g metav1.APIGroup) bool { return g.Name == gv.Group })
		if i < 0 {
			list.Groups = append(list.Groups, metav1.APIGroup{Name: gv.Group, PreferredVersion: version})
			i = len(list.Groups) - 1
		}
		list.Groups[i].Versions = append(list.Groups[i].Versions, version)
	}
	return list
}

// APIGroup is the discovery document of one named group, false if it isn't served.
func (r *Registry) APIGroup(name string) (*metav1.APIGroup, bool) {
	for _, g := range r.APIGroups().Groups {
		if g.Name == name {
			g.TypeMeta = typeMeta(schema.GroupVersionKind{Version: "v1", Kind: "APIGroup"})
			return &g, true
		}
	}
	return nil, false
}

// AggregatedDiscovery is all of it in one document (KEP-3352): of the core group for /api, else of the named groups for /apis.
func (r *Registry) AggregatedDiscovery(core bool) *apidiscoveryv2.APIGroupDiscoveryList {
	list := &apidiscoveryv2.APIGroupDiscoveryList{TypeMeta: typeMeta(apidiscoveryv2.SchemeGroupVersion.WithKind("APIGroupDiscoveryList"))}
	for _, gv := range r.GroupVersions() {
		if core != (gv.Group == "") {
			continue
		}
		i := slices.IndexFunc(list.Items, func(g apidiscoveryv2.APIGroupDiscovery) bool { return g.Name == gv.Group })
		if i < 0 {
			list.Items = append(list.Items, apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: gv.Group}})
			i = len(list.Items) - 1
		}
		version := apidiscoveryv2.APIVersionDiscovery{Version: gv.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
		for _, k := range r.all {
			if k.GroupVersion == gv {
				version.Resources = append(version.Resources, k.discovery())
			}
		}
		list.Items[i].Versions = append(list.Items[i].Versions, version)
	}
	return list
}

func (k *Kind) discovery() apidiscoveryv2.APIResourceDiscovery {
	out := apidiscoveryv2.APIResourceDiscovery{Resource: k.Resource, ResponseKind: responseKind(k.GVK()), Scope: apidiscoveryv2.ScopeCluster,
		SingularResource: k.Singular, Verbs: k.Verbs(), ShortNames: k.ShortNames, Categories: k.Categories}
	if k.Namespaced {
		out.Scope = apidiscoveryv2.ScopeNamespace
	}
	for _, s := range k.Subresources {
		out.Subresources = append(out.Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: s.Name, ResponseKind: responseKind(s.Kind), Verbs: s.Verbs})
	}
	return out
}

func responseKind(gvk schema.GroupVersionKind) *metav1.GroupVersionKind {
	return &metav1.GroupVersionKind{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind}
}
