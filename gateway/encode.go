package gateway

import (
	"bytes"
	"encoding/binary"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// encode writes obj, whose apiVersion and kind are set, in f's encoding.
func (g *Gateway) encode(obj runtime.Object, f format) ([]byte, error) {
	var b bytes.Buffer
	err := g.config.Registry.Encode(&b, obj, mediaTypes[f.encoding], false)
	return b.Bytes(), err
}

// encodeFrame writes one event of a watch; object is encoded already.
func encodeFrame(eventType string, object []byte, f format) ([]byte, error) {
	if f.encoding == protobufEncoding {
		frame := metav1.WatchEvent{Type: eventType, Object: runtime.RawExtension{Raw: object}}
		content := make([]byte, 4+frame.Size())
		binary.BigEndian.PutUint32(content, uint32(frame.Size()))
		_, err := frame.MarshalTo(content[4:])
		return content, err
	}
	var b bytes.Buffer
	b.Grow(len(object) + 64)
	b.WriteString(`{"type":"` + eventType + `","object":`)
	b.Write(bytes.TrimSuffix(object, []byte{'\n'}))
	b.WriteString("}\n")
	return b.Bytes(), nil
}
