package schemas

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/printers"
	printersinternal "k8s.io/kubernetes/pkg/printers/internalversion"
	printerstorage "k8s.io/kubernetes/pkg/printers/storage"
)

func newTableGenerator() *printers.HumanReadableGenerator {
	return printers.NewTableGenerator().With(printersinternal.AddHandlers)
}

// Table shows an object, or a list of them, in the columns of "kubectl get". Opts may be nil: then with headers, and each row carries its
// object's metadata.
func (k *Kind) Table(obj runtime.Object, opts *metav1.TableOptions) (*metav1.Table, error) {
	if opts == nil {
		opts = &metav1.TableOptions{}
	}
	if opts.IncludeObject == "" {
		opts = &metav1.TableOptions{NoHeaders: opts.NoHeaders, IncludeObject: metav1.IncludeMetadata}
	}
	internal, err := k.internal(obj)
	if err != nil {
		return nil, err
	}
	var convertor rest.TableConvertor = printerstorage.TableConvertor{TableGenerator: k.registry.tables()}
	if k.Storage.plain {
		convertor = rest.NewDefaultTableConvertor(k.GroupResource())
	}
	table, err := convertor.ConvertToTable(context.Background(), internal, opts)
	if err != nil {
		return nil, fmt.Errorf("showing %s as a table: %w", k, err)
	}
	table.TypeMeta = typeMeta(metav1.SchemeGroupVersion.WithKind("Table"))
	for i := range table.Rows {
		if err := k.rowObject(&table.Rows[i].Object, opts.IncludeObject); err != nil {
			return nil, err
		}
	}
	return table, nil
}

// rowObject replaces the internal object of a row by what the client asked for.
func (k *Kind) rowObject(raw *runtime.RawExtension, include metav1.IncludeObjectPolicy) error {
	obj := raw.Object
	var err error
	switch include {
	case metav1.IncludeNone:
		raw.Object = nil
	case metav1.IncludeMetadata:
		raw.Object, err = PartialMetadata(obj)
	case metav1.IncludeObject:
		raw.Object, err = k.ConvertTo(obj, k.GroupVersion)
	default:
		err = apierrors.NewBadRequest(fmt.Sprintf("unrecognized includeObject value: %q", include))
	}
	return err
}

// PartialMetadata returns obj's metadata alone, as clients that ask for PartialObjectMetadata get it.
func PartialMetadata(obj runtime.Object) (*metav1.PartialObjectMetadata, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, fmt.Errorf("taking the metadata of a %T: %w", obj, err)
	}
	partial := meta.AsPartialObjectMetadata(m)
	partial.TypeMeta = typeMeta(metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata"))
	return partial, nil
}
