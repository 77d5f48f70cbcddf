package gateway

import (
	"cmp"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// encoding is how an object is written down.
type encoding uint8

const (
	jsonEncoding encoding = iota
	yamlEncoding
	protobufEncoding
	encodings
)

var mediaTypes = [encodings]string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}

// shape is what of an object is written down.
type shape uint8

const (
	whole shape = iota
	tabular
	metadataOnly
)

var shapes = map[string]shape{"": whole, "Table": tabular, "PartialObjectMetadata": metadataOnly, "PartialObjectMetadataList": metadataOnly}

// format is what a client wants its answer to look like.
type format struct {
	encoding encoding
	shape    shape
	version  string                     // of meta.k8s.io, for tables and metadata
	include  metav1.IncludeObjectPolicy // of tables
	stream   bool
}

func (f format) contentType() string {
	if f.stream && f.encoding == protobufEncoding {
		return mediaTypes[f.encoding] + ";stream=watch"
	}
	return mediaTypes[f.encoding]
}

// negotiate chooses the format of the answer from what the request accepts; what the client lists first wins unless it says otherwise.
func negotiate(r *http.Request, stream bool) (format, error) {
	accept := r.Header.Get("Accept")
	if accept == "" {
		return format{stream: stream}, nil
	}
	var best *format
	bestQuality := 0.0
	for clause := range strings.SplitSeq(accept, ",") {
		mediaType, params, err := mime.ParseMediaType(strings.TrimSpace(clause))
		if err != nil {
			continue
		}
		f, ok := formatOf(mediaType, params, stream)
		quality, err := strconv.ParseFloat(cmp.Or(params["q"], "1"), 64)
		if ok && err == nil && quality > bestQuality {
			best, bestQuality = &f, quality
		}
	}
	if best == nil {
		return format{}, errNotAcceptable(accept)
	}
	best.include = metav1.IncludeObjectPolicy(cmp.Or(r.URL.Query().Get("includeObject"), string(metav1.IncludeMetadata)))
	return *best, nil
}

func formatOf(mediaType string, params map[string]string, stream bool) (format, bool) {
	f := format{stream: stream, version: params["v"]}
	switch i := slices.Index(mediaTypes[:], mediaType); {
	case i >= 0:
		f.encoding = encoding(i)
	case mediaType != "*/*" && mediaType != "application/*":
		return format{}, false
	}
	shape, known := shapes[params["as"]]
	f.shape = shape
	switch {
	case !known, shape == tabular && f.encoding == protobufEncoding, stream && f.encoding == yamlEncoding:
		return format{}, false
	case shape != whole && (params["g"] != metav1.GroupName || f.version != "v1" && f.version != "v1beta1"):
		return format{}, false
	}
	return f, true
}
