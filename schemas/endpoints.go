package schemas

import (
	"context"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/operation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/discovery"
	discoveryvalidation "k8s.io/kubernetes/pkg/apis/discovery/validation"
)

// Kubernetes' own strategies for Endpoints and EndpointSlices bring its controllers along, for the sake of one constant. These call the same validation.

type endpointsStrategy struct {
	runtime.ObjectTyper
	names.NameGenerator
}

func newEndpointsStrategy() endpointsStrategy {
	return endpointsStrategy{legacyscheme.Scheme, names.SimpleNameGenerator}
}

func (endpointsStrategy) NamespaceScoped() bool          { return true }
func (endpointsStrategy) AllowCreateOnUpdate() bool      { return true }
func (endpointsStrategy) AllowUnconditionalUpdate() bool { return true }
func (endpointsStrategy) Canonicalize(runtime.Object)    {}

func (endpointsStrategy) PrepareForCreate(_ context.Context, _ runtime.Object)    {}
func (endpointsStrategy) PrepareForUpdate(_ context.Context, _, _ runtime.Object) {}

func (endpointsStrategy) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	return corevalidation.ValidateEndpointsCreate(obj.(*core.Endpoints))
}

func (endpointsStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return corevalidation.ValidateEndpointsUpdate(obj.(*core.Endpoints), old.(*core.Endpoints))
}

func (endpointsStrategy) WarningsOnCreate(_ context.Context, obj runtime.Object) []string {
	var warnings []string
	for i, subset := range obj.(*core.Endpoints).Subsets {
		path := field.NewPath("subsets").Index(i)
		for j, address := range subset.Addresses {
			warnings = append(warnings, utilvalidation.GetWarningsForIP(path.Child("addresses").Index(j).Child("ip"), address.IP)...)
		}
		for j, address := range subset.NotReadyAddresses {
			warnings = append(warnings, utilvalidation.GetWarningsForIP(path.Child("notReadyAddresses").Index(j).Child("ip"), address.IP)...)
		}
	}
	return warnings
}

func (s endpointsStrategy) WarningsOnUpdate(ctx context.Context, obj, _ runtime.Object) []string {
	return s.WarningsOnCreate(ctx, obj)
}

type sliceStrategy struct {
	runtime.ObjectTyper
	names.NameGenerator
}

func newSliceStrategy() sliceStrategy {
	return sliceStrategy{legacyscheme.Scheme, names.SimpleNameGenerator}
}

func (sliceStrategy) NamespaceScoped() bool          { return true }
func (sliceStrategy) AllowCreateOnUpdate() bool      { return false }
func (sliceStrategy) AllowUnconditionalUpdate() bool { return true }
func (sliceStrategy) Canonicalize(runtime.Object)    {}

func (sliceStrategy) PrepareForCreate(_ context.Context, obj runtime.Object) {
	slice := obj.(*discovery.EndpointSlice)
	slice.Generation = 1
	dropTopology(slice)
}

// PrepareForUpdate counts the generation up when anything but metadata, or a label, changed.
func (sliceStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	slice, before := obj.(*discovery.EndpointSlice), old.(*discovery.EndpointSlice)
	a, b := *slice, *before
	a.ObjectMeta, b.ObjectMeta = metav1.ObjectMeta{}, metav1.ObjectMeta{}
	if !apiequality.Semantic.DeepEqual(a, b) || !apiequality.Semantic.DeepEqual(slice.Labels, before.Labels) {
		slice.Generation = before.Generation + 1
	}
	dropTopology(slice)
}

// dropTopology clears the field that v1 of the API doesn't let anybody write.
func dropTopology(slice *discovery.EndpointSlice) {
	for i := range slice.Endpoints {
		slice.Endpoints[i].DeprecatedTopology = nil
	}
}

func (sliceStrategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	slice := obj.(*discovery.EndpointSlice)
	errs := discoveryvalidation.ValidateEndpointSliceCreate(slice)
	return rest.ValidateDeclarativelyWithMigrationChecks(ctx, legacyscheme.Scheme, slice, nil, errs, operation.Create)
}

func (sliceStrategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	slice, before := obj.(*discovery.EndpointSlice), old.(*discovery.EndpointSlice)
	errs := discoveryvalidation.ValidateEndpointSliceUpdate(slice, before)
	return rest.ValidateDeclarativelyWithMigrationChecks(ctx, legacyscheme.Scheme, slice, before, errs, operation.Update)
}

func (s sliceStrategy) WarningsOnCreate(ctx context.Context, obj runtime.Object) []string {
	var warnings []string
	if obj.(*discovery.EndpointSlice).AddressType == discovery.AddressTypeFQDN {
		warnings = append(warnings, "spec.addressType: FQDN endpoints are deprecated")
	}
	return append(warnings, s.WarningsOnUpdate(ctx, obj, nil)...)
}

func (sliceStrategy) WarningsOnUpdate(_ context.Context, obj, _ runtime.Object) []string {
	var warnings []string
	for i, endpoint := range obj.(*discovery.EndpointSlice).Endpoints {
		for j, address := range endpoint.Addresses {
			warnings = append(warnings, utilvalidation.GetWarningsForIP(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), address)...)
		}
	}
	return warnings
}
