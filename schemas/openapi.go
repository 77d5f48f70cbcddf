package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	generated "k8s.io/kubernetes/pkg/generated/openapi"
)

// openAPI makes the OpenAPI documents when they are first asked for, and keeps their bytes.
type openAPI struct {
	mu   sync.Mutex
	made map[string][]byte
}

func newOpenAPI() *openAPI { return &openAPI{made: map[string][]byte{}} }

// once returns what is kept under key, or builds it.
func (o *openAPI) once(key string, build func() ([]byte, error)) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if data, ok := o.made[key]; ok {
		return data, nil
	}
	data, err := build()
	if err != nil {
		return nil, fmt.Errorf("making the OpenAPI document %s: %w", key, err)
	}
	o.made[key] = data
	return data, nil
}

// OpenAPIV2 returns the whole API as an OpenAPI v2 document, in JSON or in protobuf (gnostic's). The first call takes about a second.
func (r *Registry) OpenAPIV2(protobuf bool) ([]byte, error) {
	data, err := r.openAPI.once("v2", r.makeV2)
	if err != nil || !protobuf {
		return data, err
	}
	return r.openAPI.once("v2 protobuf", func() ([]byte, error) { return handler.ToProtoBinary(data) })
}

// OpenAPIV3 returns the OpenAPI v3 document of a group and version, in JSON or in protobuf (gnostic's); nil if it isn't served.
func (r *Registry) OpenAPIV3(gv schema.GroupVersion, protobuf bool) ([]byte, error) {
	if _, served := r.APIResources(gv); !served {
		return nil, nil
	}
	data, err := r.openAPI.once("v3 "+gv.String(), func() ([]byte, error) { return r.makeV3(gv) })
	if err != nil || !protobuf {
		return data, err
	}
	return r.openAPI.once("v3 protobuf "+gv.String(), func() ([]byte, error) { return handler3.ToV3ProtoBinary(data) })
}

// OpenAPIV3Index lists the v3 documents, as served at /openapi/v3. The hashes change when a document may have.
func (r *Registry) OpenAPIV3Index() *handler3.OpenAPIV3Discovery {
	index := &handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	for _, gv := range r.GroupVersions() {
		index.Paths[apiPath(gv)[1:]] = handler3.OpenAPIV3DiscoveryGroupVersion{
			ServerRelativeURL: "/openapi/v3" + apiPath(gv) + "?hash=" + r.fingerprint(gv)}
	}
	return index
}

// fingerprint stands for a document without making it: what it says follows from the libraries and the rows.
func (r *Registry) fingerprint(gv schema.GroupVersion) string {
	h := sha256.New()
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "k8s.io/kubernetes" || module.Path == "k8s.io/kube-openapi" {
				fmt.Fprintln(h, module.Path, module.Version, module.Sum)
			}
		}
		fmt.Fprintln(h, info.Main.Version)
	}
	list, _ := r.APIResources(gv)
	_ = json.NewEncoder(h).Encode(list)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// apiPath gives "/api/v1", or "/apis/apps/v1".
func apiPath(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.Group + "/" + gv.Version
}

var info = &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes", Version: "v1.36"}}

// models names the schemas that a document about these kinds needs; what they refer to comes along.
func models(kinds []*Kind) ([]string, error) {
	gvks := []schema.GroupVersionKind{
		metav1.SchemeGroupVersion.WithKind("DeleteOptions"), {Version: "v1", Kind: "Status"}, metav1.SchemeGroupVersion.WithKind("WatchEvent")}
	for _, k := range kinds {
		gvks = append(gvks, k.GVK(), k.GroupVersion.WithKind(k.KindName+"List"))
		for _, s := range k.Subresources {
			if !isOptions(s.Kind) {
				gvks = append(gvks, s.Kind)
			}
		}
	}
	var names []string
	for _, gvk := range gvks {
		name, err := modelName(gvk)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return append(names, patchModel), nil
}

// patchModel is the schema of a patch: any object.
const patchModel = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"

// modelName gives "io.k8s.api.apps.v1.Deployment".
func modelName(gvk schema.GroupVersionKind) (string, error) {
	if gvk.GroupVersion() == metav1.SchemeGroupVersion {
		return "io.k8s.apimachinery.pkg.apis.meta.v1." + gvk.Kind, nil
	}
	return legacyscheme.Scheme.ToOpenAPIDefinitionName(gvk)
}

func (r *Registry) makeV3(gv schema.GroupVersion) ([]byte, error) {
	var kinds []*Kind
	for _, k := range r.all {
		if k.GroupVersion == gv {
			kinds = append(kinds, k)
		}
	}
	names, err := models(kinds)
	if err != nil {
		return nil, err
	}
	schemas, err := builder3.BuildOpenAPIDefinitionsForResources(&common.OpenAPIV3Config{Info: info,
		GetDefinitions: generated.GetOpenAPIDefinitions, GetDefinitionName: openapinamer.NewDefinitionNamer(legacyscheme.Scheme).GetDefinitionName}, names...)
	if err != nil {
		return nil, err
	}
	paths := map[string]*spec3.Path{}
	for _, k := range kinds {
		for _, e := range endpoints(k) {
			if err := addV3(paths, e); err != nil {
				return nil, err
			}
		}
	}
	return json.Marshal(&spec3.OpenAPI{Version: "3.0.0", Info: info, Paths: &spec3.Paths{Paths: paths}, Components: &spec3.Components{Schemas: schemas}})
}

func (r *Registry) makeV2() ([]byte, error) {
	names, err := models(r.all)
	if err != nil {
		return nil, err
	}
	doc, err := builder.BuildOpenAPIDefinitionsForResources(&common.Config{Info: info,
		GetDefinitions: generated.GetOpenAPIDefinitions, GetDefinitionName: openapinamer.NewDefinitionNamer(legacyscheme.Scheme).GetDefinitionName}, names...)
	if err != nil {
		return nil, err
	}
	doc.Paths = &spec.Paths{Paths: map[string]spec.PathItem{}}
	for _, k := range r.all {
		for _, e := range endpoints(k) {
			if err := addV2(doc.Paths.Paths, e); err != nil {
				return nil, err
			}
		}
	}
	return json.Marshal(doc)
}
