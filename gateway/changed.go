package gateway

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

// changedDesired names the fields in which two objects' metadata and spec differ.
func changedDesired(before, after runtime.Object) []string {
	return changed(before, after, func(path string) bool {
		for _, p := range bookkeeping {
			if rest, ok := strings.CutPrefix(path, p); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
				return false
			}
		}
		return true
	})
}

// changedStatus names the fields in which two objects' statuses differ.
func changedStatus(before, after runtime.Object) []string {
	return changed(before, after, func(path string) bool { return path == "status" || strings.HasPrefix(path, "status.") })
}

func changed(before, after runtime.Object, keep func(path string) bool) []string {
	b, err := runtime.DefaultUnstructuredConverter.ToUnstructured(before)
	if err != nil {
		return nil
	}
	a, err := runtime.DefaultUnstructuredConverter.ToUnstructured(after)
	if err != nil {
		return nil
	}
	var paths []string
	for _, d := range fielddiff.Compare(b, a) {
		if !keep(d.Path) {
			continue
		}
		if len(paths) == maxChanged {
			return append(paths, "…")
		}
		// A comma separates paths in the ledger.
		paths = append(paths, strings.ReplaceAll(d.Path, ",", "_"))
	}
	return paths
}
