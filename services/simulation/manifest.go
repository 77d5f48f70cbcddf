package simulation

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/wakehq/wake/schemas"
)

// Manifest is a file of objects to apply.
type Manifest struct {
	Name string // of the file, for errors
	Data []byte // YAML or JSON, several documents and Lists included
}

// document is one object of a manifest, as JSON.
type document struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	kind              *schemas.Kind
	body              []byte
}

// documents takes a manifest apart, in order.
func (m Manifest) documents(registry *schemas.Registry) ([]document, error) {
	var out []document
	reader := yamlstream.NewYAMLReader(bufio.NewReader(bytes.NewReader(m.Data)))
	for n := 1; ; n++ {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var found []document
		if err == nil {
			found, err = documentsOf(text, registry)
		}
		if err != nil {
			return nil, fmt.Errorf("%s, document %d: %w", m.Name, n, err)
		}
		out = append(out, found...)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no objects", m.Name)
	}
	return out, nil
}

// documentsOf reads one document: an object, a List of some, or nothing but comments. JSON texts may follow each other without a mark.
func documentsOf(text []byte, registry *schemas.Registry) ([]document, error) {
	if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 && trimmed[0] == '{' {
		var out []document
		for decoder := json.NewDecoder(bytes.NewReader(trimmed)); ; {
			var raw json.RawMessage
			if err := decoder.Decode(&raw); errors.Is(err, io.EOF) {
				return out, nil
			} else if err != nil {
				return nil, fmt.Errorf("no valid JSON: %w", err)
			}
			found, err := objectsOf(raw, registry)
			if err != nil {
				return nil, err
			}
			out = append(out, found...)
		}
	}
	body, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, fmt.Errorf("no valid YAML: %w", err)
	}
	return objectsOf(body, registry)
}

func objectsOf(body []byte, registry *schemas.Registry) ([]document, error) {
	if bytes.Equal(bytes.TrimSpace(body), []byte("null")) {
		return nil, nil
	}
	var list struct {
		document
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("no object: %w", err)
	}
	d := list.document
	if d.APIVersion == "" || d.Kind == "" {
		return nil, errors.New("no object: apiVersion and kind must be set")
	}
	if d.APIVersion == "v1" && d.Kind == "List" {
		var out []document
		for _, item := range list.Items {
			found, err := objectsOf(item, registry)
			if err != nil {
				return nil, err
			}
			out = append(out, found...)
		}
		return out, nil
	}
	kind, ok := registry.Kind(schema.FromAPIVersionAndKind(d.APIVersion, d.Kind))
	if !ok {
		return nil, fmt.Errorf("no matches for kind %q in version %q", d.Kind, d.APIVersion)
	}
	if d.Name == "" && d.GenerateName == "" {
		return nil, fmt.Errorf("a %s without a name", d.Kind)
	}
	d.kind, d.body = kind, body
	return []document{d}, nil
}
