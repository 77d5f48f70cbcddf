package schemas

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/core"

	"github.com/wakehq/wake/schemas/addresspool"
)

// admitConfigMap refuses address pools that can't be read, so that a slip doesn't take addresses from services.
func admitConfigMap(_ *Write, obj runtime.Object) error {
	cm := obj.(*core.ConfigMap)
	if cm.Namespace != addresspool.Namespace || cm.Name != addresspool.ConfigMap {
		return nil
	}
	if _, errs := addresspool.Parse(cm.Data); len(errs) > 0 {
		return apierrors.NewInvalid(core.Kind("ConfigMap"), cm.Name, errs)
	}
	return nil
}

func carryConfigMap(w *Write, obj, _ runtime.Object) error { return admitConfigMap(w, obj) }
