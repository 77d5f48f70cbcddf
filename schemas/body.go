package schemas

import (
	"bytes"
	"fmt"
	"io"
	"mime"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// FieldValidation says what to do about fields of a body that the schema doesn't have or that stand there twice; one of
// metav1.FieldValidationIgnore, Warn (the default) and Strict.
type FieldValidation = string

// serializers are the wire formats. Lax ones drop what the strict ones complain of.
type serializers struct {
	jsonLax, jsonStrict, yamlLax, yamlStrict *json.Serializer
	protobuf                                 *protobuf.Serializer
}

func newSerializers() serializers {
	s := legacyscheme.Scheme
	text := func(yaml, strict bool) *json.Serializer {
		return json.NewSerializerWithOptions(json.DefaultMetaFactory, s, s, json.SerializerOptions{Yaml: yaml, Strict: strict})
	}
	return serializers{text(false, false), text(false, true), text(true, false), text(true, true), protobuf.NewSerializer(s, s)}
}

func (s *serializers) decoder(contentType string, strict bool) (runtime.Decoder, error) {
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case contentType == "", err == nil && media == runtime.ContentTypeJSON:
		if strict {
			return s.jsonStrict, nil
		}
		return s.jsonLax, nil
	case err == nil && (media == runtime.ContentTypeYAML || media == "application/apply-patch+yaml"):
		if strict {
			return s.yamlStrict, nil
		}
		return s.yamlLax, nil
	case err == nil && media == runtime.ContentTypeProtobuf:
		return s.protobuf, nil
	}
	return nil, unsupportedMediaType(contentType)
}

func unsupportedMediaType(contentType string) error {
	err := apierrors.NewGenericServerResponse(415, "", schema.GroupResource{}, "", "", 0, false)
	err.ErrStatus.Reason = metav1.StatusReasonUnsupportedMediaType
	err.ErrStatus.Message = fmt.Sprintf("the body of the request was in an unknown format - accepted media types include: %s, %s, %s (got %q)",
		runtime.ContentTypeJSON, runtime.ContentTypeYAML, runtime.ContentTypeProtobuf, contentType)
	return err
}

// DecodeBody reads an object of this kind and version from a request and sets defaults. An empty content type means JSON.
// Warnings are what FieldValidation makes of the body's oddities.
func (k *Kind) DecodeBody(data []byte, contentType string, validation FieldValidation) (runtime.Object, []string, error) {
	return k.registry.DecodeBody(data, contentType, k.GVK(), validation)
}

// DecodeBody is the same for any kind of the API, those that are never stored included: Binding, Eviction, Scale, DeleteOptions.
// An apiVersion and kind that the body lacks are taken from want.
func (r *Registry) DecodeBody(data []byte, contentType string, want schema.GroupVersionKind, validation FieldValidation) (runtime.Object, []string, error) {
	decoder, err := r.serializer.decoder(contentType, validation != metav1.FieldValidationIgnore)
	if err != nil {
		return nil, nil, err
	}
	obj, got, err := decoder.Decode(data, &want, nil)
	var warnings []string
	if strict, ok := runtime.AsStrictDecodingError(err); ok && obj != nil && validation != metav1.FieldValidationStrict {
		for _, e := range strict.Errors() {
			warnings = append(warnings, e.Error())
		}
		err = nil
	}
	if err == nil || runtime.IsNotRegisteredError(err) {
		if wrong := wrongKind(got, want); wrong != nil {
			return nil, nil, wrong
		}
	}
	if err != nil {
		return nil, nil, badBody(err, got, want, data)
	}
	obj.GetObjectKind().SetGroupVersionKind(want)
	legacyscheme.Scheme.Default(obj)
	return obj, warnings, nil
}

// wrongKind refuses a body that says of itself that it is something else. Options are the same in all groups.
func wrongKind(got *schema.GroupVersionKind, want schema.GroupVersionKind) error {
	switch {
	case got == nil || *got == want:
		return nil
	case got.Kind != want.Kind:
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: this request takes a %s of %s",
			got.Kind, got.GroupVersion(), want.Kind, want.Kind, want.GroupVersion()))
	case want.Kind == "DeleteOptions":
		return nil
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)",
		got.GroupVersion(), want.GroupVersion()))
}

func badBody(err error, got *schema.GroupVersionKind, want schema.GroupVersionKind, data []byte) error {
	if got != nil && got.Kind != "" && len(bytes.TrimSpace(data)) > 0 {
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", got.Kind, got.Version, want.Kind, err))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", want.Kind, err, summary(data)))
}

// summary shows the beginning of a body.
func summary(data []byte) string {
	const most = 30
	switch {
	case len(data) == 0:
		return "<empty>"
	case len(data) > most:
		return fmt.Sprintf("%q ...", data[:most])
	}
	return fmt.Sprintf("%q", data)
}

// Encode writes obj, whose apiVersion and kind must be set, in a wire format. Pretty indents JSON.
func (r *Registry) Encode(w io.Writer, obj runtime.Object, contentType string, pretty bool) error {
	var encoder runtime.Encoder = r.serializer.jsonLax
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case contentType == "", err == nil && media == runtime.ContentTypeJSON:
		if pretty {
			encoder = json.NewSerializerWithOptions(json.DefaultMetaFactory, nil, nil, json.SerializerOptions{Pretty: true})
		}
	case err == nil && media == runtime.ContentTypeYAML:
		encoder = r.serializer.yamlLax
	case err == nil && media == runtime.ContentTypeProtobuf:
		encoder = r.serializer.protobuf
	default:
		return unsupportedMediaType(contentType)
	}
	return encoder.Encode(obj, w)
}
