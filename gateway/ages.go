package gateway

import (
	"reflect"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// moved returns a copy of obj in which every time lies d later. Ages are counted to now when they are shown; those of the past are to be counted
// to the moment, so that the times are moved as far as the moment lies back.
func moved(obj runtime.Object, d time.Duration) runtime.Object {
	out := obj.DeepCopyObject()
	moveTimes(reflect.ValueOf(out), d)
	return out
}

var (
	timeType      = reflect.TypeFor[metav1.Time]()
	microTimeType = reflect.TypeFor[metav1.MicroTime]()
)

func moveTimes(v reflect.Value, d time.Duration) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			moveTimes(v.Elem(), d)
		}
	case reflect.Struct:
		if v.Type() == timeType || v.Type() == microTimeType {
			moveTime(v, d)
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				moveTimes(v.Field(i), d)
			}
		}
	case reflect.Slice, reflect.Array:
		if holdsTimes(v.Type().Elem().Kind()) {
			for i := range v.Len() {
				moveTimes(v.Index(i), d)
			}
		}
	}
}

// holdsTimes says that something of a kind may hold a time. No map of Kubernetes' types does.
func holdsTimes(k reflect.Kind) bool {
	return k == reflect.Struct || k == reflect.Pointer || k == reflect.Interface || k == reflect.Slice
}

func moveTime(v reflect.Value, d time.Duration) {
	inner, ok := v.Field(0).Interface().(time.Time)
	if ok && v.CanSet() && !inner.IsZero() {
		v.Field(0).Set(reflect.ValueOf(inner.Add(d)))
	}
}

// shown returns obj as a list of r shows it: with its times moved for a client that asks for that.
func (r *request) shown(obj runtime.Object) runtime.Object {
	if !r.agesThen || r.then.IsZero() {
		return obj
	}
	return moved(obj, time.Since(r.then))
}

// table shows an object, or a list of them, in columns, ages counted to the moment that r is about. The objects that rows carry are as they are.
func (r *request) table(obj runtime.Object, options *metav1.TableOptions) (*metav1.Table, error) {
	table, err := r.kind.Table(obj, options)
	if err != nil || r.then.IsZero() {
		return table, err
	}
	aged, err := r.kind.Table(moved(obj, time.Since(r.then)), options)
	if err != nil || len(aged.Rows) != len(table.Rows) {
		return table, err
	}
	for i := range table.Rows {
		table.Rows[i].Cells = aged.Rows[i].Cells
	}
	return table, nil
}
