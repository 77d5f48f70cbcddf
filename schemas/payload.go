package schemas

import (
	"fmt"
	"reflect"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// PayloadType is the content type of what EncodeDesired and EncodeStatus return: the bare protobuf message of the storage version,
// without the envelope that Kubernetes puts around it on the wire.
const PayloadType = "application/vnd.kubernetes.protobuf"

// message is what the generated code of every API type offers.
type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// EncodeDesired returns the payload of the desired facet of obj, which must be in the storage version: all but its status and
// resourceVersion. Equal objects give equal bytes.
func (k *Kind) EncodeDesired(obj runtime.Object) ([]byte, error) {
	v, err := k.value(obj)
	if err != nil {
		return nil, err
	}
	shallow := reflect.New(k.Storage.typ)
	shallow.Elem().Set(v)
	if i := k.Storage.status; i >= 0 {
		shallow.Elem().Field(i).SetZero()
	}
	shallow.Interface().(metav1.Object).SetResourceVersion("")
	return shallow.Interface().(message).Marshal()
}

// EncodeStatus returns the payload of the observed facet of obj, which must be in the storage version: its status alone. Nil for
// a kind without a status.
func (k *Kind) EncodeStatus(obj runtime.Object) ([]byte, error) {
	v, err := k.value(obj)
	if err != nil || k.Storage.status < 0 {
		return nil, err
	}
	return v.Field(k.Storage.status).Addr().Interface().(message).Marshal()
}

// Decode returns the object that the two facets come to, in the storage version. Status may be nil: then the object has the status that
// it has before anybody reports one, such as a pod's phase Pending. Objects may share what they point to.
func (k *Kind) Decode(desired, status []byte) (runtime.Object, error) {
	s := k.Storage
	obj := s.New()
	read := s.decode
	if read == nil {
		read = unmarshal
	}
	if err := read(obj, desired); err != nil {
		return nil, fmt.Errorf("reading the desired facet of a %s (%d bytes): %w", s.KindName, len(desired), err)
	}
	if s.status >= 0 && len(status) > 0 {
		if err := statusOf(s, obj).Addr().Interface().(message).Unmarshal(status); err != nil {
			return nil, fmt.Errorf("reading the observed facet of a %s (%d bytes): %w", s.KindName, len(status), err)
		}
	}
	if s.complete != nil {
		s.complete(obj)
	}
	return obj, nil
}

func unmarshal(obj runtime.Object, desired []byte) error { return obj.(message).Unmarshal(desired) }

// WithStatus returns obj, in the storage version, with the status of another payload: what Decode gives for obj's desired facet and that
// status, without reading the desired facet again. The two objects share all but the status.
func (k *Kind) WithStatus(obj runtime.Object, status []byte) (runtime.Object, error) {
	s := k.Storage
	out := k.Shallow(obj)
	if s.status >= 0 {
		field := statusOf(s, out)
		field.SetZero()
		if err := field.Addr().Interface().(message).Unmarshal(status); err != nil {
			return nil, fmt.Errorf("reading the observed facet of a %s (%d bytes): %w", s.KindName, len(status), err)
		}
	}
	if s.complete != nil {
		s.complete(out)
	}
	return out, nil
}

// Shallow returns a copy of obj, in the storage version, that shares whatever obj points to.
func (k *Kind) Shallow(obj runtime.Object) runtime.Object {
	out := reflect.New(k.Storage.typ)
	out.Elem().Set(reflect.ValueOf(obj).Elem())
	return out.Interface().(runtime.Object)
}

// StatusEqual says that a and b, in the storage version, have the same status.
func (k *Kind) StatusEqual(a, b runtime.Object) bool {
	if k.Storage.status < 0 {
		return true
	}
	return apiequality.Semantic.DeepEqual(statusOf(k.Storage, a).Interface(), statusOf(k.Storage, b).Interface())
}

// SetStatus makes dst's status that of src, in place; both are in the storage version. They share memory afterwards.
func (k *Kind) SetStatus(dst, src runtime.Object) {
	if k.Storage.status >= 0 {
		statusOf(k.Storage, dst).Set(statusOf(k.Storage, src))
	}
}

func statusOf(k *Kind, obj runtime.Object) reflect.Value {
	return reflect.ValueOf(obj).Elem().Field(k.status)
}

// value returns the struct that obj points to.
func (k *Kind) value(obj runtime.Object) (reflect.Value, error) {
	v := reflect.ValueOf(obj)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Type().Elem() != k.Storage.typ {
		return reflect.Value{}, fmt.Errorf("encoding a %s: got a %T, want a *%s", k.KindName, obj, k.Storage.typ)
	}
	return v.Elem(), nil
}
