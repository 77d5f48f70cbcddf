package restore

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wakehq/wake/schemas/fielddiff"
)

// maxChanged bounds how many changed paths an event names.
const maxChanged = 16

// bookkeeping are the paths that change by themselves.
var bookkeeping = []string{"metadata.managedFields", "metadata.resourceVersion", "metadata.generation", "status",
	`metadata.annotations["` + corev1.LastAppliedConfigAnnotation + `"]`}

// Hidden stands for a Secret's value.
const Hidden = "(hidden)"

// differences returns the fields in which two objects' metadata and spec differ, and their paths as an event names them.
func differences(now, then runtime.Object) (changes []fielddiff.Difference, paths []string, err error) {
	before, err := runtime.DefaultUnstructuredConverter.ToUnstructured(now)
	if err != nil {
		return nil, nil, err
	}
	after, err := runtime.DefaultUnstructuredConverter.ToUnstructured(then)
	if err != nil {
		return nil, nil, err
	}
	_, secret := now.(*corev1.Secret)
	for _, d := range fielddiff.Compare(before, after) {
		if under(d.Path, bookkeeping) {
			continue
		}
		if secret && under(d.Path, []string{"data", "stringData"}) {
			d = hide(d)
		}
		changes = append(changes, d)
		if len(paths) < maxChanged {
			paths = append(paths, strings.ReplaceAll(d.Path, ",", "_")) // a comma separates paths in the ledger
		}
	}
	if len(changes) > maxChanged {
		paths = append(paths, "…")
	}
	return changes, paths, nil
}

func hide(d fielddiff.Difference) fielddiff.Difference {
	if d.Before != nil {
		d.Before = Hidden
	}
	if d.After != nil {
		d.After = Hidden
	}
	return d
}

func under(path string, roots []string) bool {
	for _, root := range roots {
		if rest, ok := strings.CutPrefix(path, root); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}
