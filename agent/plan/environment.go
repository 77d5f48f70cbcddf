package plan

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// environment resolves a container's variables, as "NAME=value" in the order in which they are given and as a map. Services come
// first, then envFrom, then env; what comes later wins.
func environment(in Input, c *corev1.Container) ([]string, map[string]string, error) {
	e := env{values: map[string]string{}}
	serviceEnvironment(in, &e)
	for _, from := range c.EnvFrom {
		if err := e.addFrom(in, from); err != nil {
			return nil, nil, err
		}
	}
	for _, v := range c.Env {
		value := expand(v.Value, e.values)
		if v.ValueFrom != nil {
			resolved, found, err := valueFrom(in, c, v.ValueFrom)
			if err != nil {
				return nil, nil, err
			}
			if !found {
				continue
			}
			value = resolved
		}
		e.set(v.Name, value)
	}
	out := make([]string, 0, len(e.names))
	for _, name := range e.names {
		out = append(out, name+"="+e.values[name])
	}
	return out, e.values, nil
}

// env is an environment that remembers the order of its variables.
type env struct {
	names  []string
	values map[string]string
}

func (e *env) set(name, value string) {
	if _, known := e.values[name]; !known {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

// addFrom adds all of a config map or secret whose keys can be variable names.
func (e *env) addFrom(in Input, from corev1.EnvFromSource) error {
	add := func(key, value string) {
		if name := from.Prefix + key; len(validation.IsEnvVarName(name)) == 0 {
			e.set(name, value)
		}
	}
	switch {
	case from.ConfigMapRef != nil:
		cm, ok := in.Objects.ConfigMaps[from.ConfigMapRef.Name]
		if !ok {
			return missing("configmap", from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
		}
		for _, key := range sortedKeys(cm.Data) {
			add(key, cm.Data[key])
		}
	case from.SecretRef != nil:
		secret, ok := in.Objects.Secrets[from.SecretRef.Name]
		if !ok {
			return missing("secret", from.SecretRef.Name, from.SecretRef.Optional)
		}
		for _, key := range sortedKeys(secret.Data) {
			add(key, string(secret.Data[key]))
		}
	}
	return nil
}

// missing is the kubelet's word for an object that isn't there; nil if it needn't be.
func missing(kind, name string, optional *bool) error {
	if optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("%s %q not found", kind, name)
}

func missingKey(kind, namespace, name, key string, optional *bool) error {
	if optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("couldn't find key %s in %s %s/%s", key, kind, namespace, name)
}

// valueFrom resolves one variable; found is false when an optional source isn't there.
func valueFrom(in Input, c *corev1.Container, from *corev1.EnvVarSource) (value string, found bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = Field(in.Pod, from.FieldRef.FieldPath, in.Node, addresses(in))
		return value, err == nil, err
	case from.ResourceFieldRef != nil:
		value, err = ResourceField(in.Pod, c.Name, from.ResourceFieldRef, in.Node)
		return value, err == nil, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		cm, ok := in.Objects.ConfigMaps[ref.Name]
		if !ok {
			return "", false, missing("configmap", ref.Name, ref.Optional)
		}
		if value, ok = cm.Data[ref.Key]; !ok {
			return "", false, missingKey("ConfigMap", in.Pod.Namespace, ref.Name, ref.Key, ref.Optional)
		}
		return value, true, nil
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		secret, ok := in.Objects.Secrets[ref.Name]
		if !ok {
			return "", false, missing("secret", ref.Name, ref.Optional)
		}
		data, ok := secret.Data[ref.Key]
		if !ok {
			return "", false, missingKey("Secret", in.Pod.Namespace, ref.Name, ref.Key, ref.Optional)
		}
		return string(data), true, nil
	}
	return "", false, fmt.Errorf("a variable's valueFrom names no source that this node knows")
}

// addresses are the pod's addresses as far as they are known.
func addresses(in Input) []string {
	d := decider{in: in, pod: in.Pod}
	return d.podIPs()
}

// Field is the value of a pod's field, as fieldRef and the downward API name it.
func Field(pod *corev1.Pod, path string, node Node, podIPs []string) (string, error) {
	if name, key, ok := subscript(path); ok {
		switch name {
		case "metadata.annotations":
			return pod.Annotations[key], nil
		case "metadata.labels":
			return pod.Labels[key], nil
		}
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return keyValues(pod.Labels), nil
	case "metadata.annotations":
		return keyValues(pod.Annotations), nil
	case "spec.nodeName":
		return node.Name, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return node.IP, nil
	case "status.podIP", "status.podIPs":
		if len(podIPs) == 0 {
			return "", errNoIP
		}
		if path == "status.podIP" {
			return podIPs[0], nil
		}
		return strings.Join(podIPs, ","), nil
	}
	return "", fmt.Errorf("field %q of a pod can't be referred to", path)
}

// subscript splits metadata.labels['key'].
func subscript(path string) (name, key string, ok bool) {
	name, rest, ok := strings.Cut(path, "['")
	if !ok || !strings.HasSuffix(rest, "']") {
		return "", "", false
	}
	return name, strings.TrimSuffix(rest, "']"), true
}

// keyValues is a map as the downward API writes it: one key="value" per line, sorted.
func keyValues(m map[string]string) string {
	lines := make([]string, 0, len(m))
	for _, key := range sortedKeys(m) {
		lines = append(lines, key+"="+strconv.Quote(m[key]))
	}
	return strings.Join(lines, "\n")
}

// ResourceField is a container's request or limit, in units of the divisor, rounded up. A limit that isn't set is the node's.
func ResourceField(pod *corev1.Pod, container string, ref *corev1.ResourceFieldSelector, node Node) (string, error) {
	if ref.ContainerName != "" {
		container = ref.ContainerName
	}
	var c *corev1.Container
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == container {
				c = &list[i]
			}
		}
	}
	if c == nil {
		return "", fmt.Errorf("resourceFieldRef: the pod has no container %q", container)
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	var quantity resource.Quantity
	switch kind {
	case "requests":
		quantity = c.Resources.Requests[corev1.ResourceName(name)]
	case "limits":
		var set bool
		if quantity, set = c.Resources.Limits[corev1.ResourceName(name)]; !set {
			quantity = node.Allocatable[corev1.ResourceName(name)]
		}
	default:
		return "", fmt.Errorf("resourceFieldRef: %q is neither requests.* nor limits.*", ref.Resource)
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == string(corev1.ResourceCPU) {
		return strconv.FormatInt(int64(math.Ceil(float64(quantity.MilliValue())/float64(divisor.MilliValue()))), 10), nil
	}
	return strconv.FormatInt(int64(math.Ceil(float64(quantity.Value())/float64(divisor.Value()))), 10), nil
}

// serviceEnvironment adds the variables by which containers find the services that exist when they start, as Kubernetes' are: of the first address where there
// are two, and none of headless services and names of something outside.
func serviceEnvironment(in Input, e *env) {
	links := in.Pod.Spec.EnableServiceLinks == nil || *in.Pod.Spec.EnableServiceLinks
	for _, s := range in.Objects.Services {
		isAPI := s.Namespace == "default" && s.Name == "kubernetes"
		if s.Spec.ClusterIP == "" || s.Spec.ClusterIP == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 || !links && !isAPI {
			continue
		}
		prefix := strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
		e.set(prefix+"_SERVICE_HOST", s.Spec.ClusterIP)
		e.set(prefix+"_SERVICE_PORT", strconv.Itoa(int(s.Spec.Ports[0].Port)))
		for i, p := range s.Spec.Ports {
			port, protocol := strconv.Itoa(int(p.Port)), string(p.Protocol)
			if protocol == "" {
				protocol = string(corev1.ProtocolTCP)
			}
			if p.Name != "" {
				e.set(prefix+"_SERVICE_PORT_"+strings.ToUpper(strings.ReplaceAll(p.Name, "-", "_")), port)
			}
			url := strings.ToLower(protocol) + "://" + hostPort(s.Spec.ClusterIP, port)
			if i == 0 {
				e.set(prefix+"_PORT", url)
			}
			link := prefix + "_PORT_" + port + "_" + strings.ToUpper(protocol)
			e.set(link, url)
			e.set(link+"_PROTO", strings.ToLower(protocol))
			e.set(link+"_PORT", port)
			e.set(link+"_ADDR", s.Spec.ClusterIP)
		}
	}
}

// hostPort joins an address and a port as URLs have them: IPv6 in brackets.
func hostPort(address, port string) string {
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	return address + ":" + port
}

// expandAll expands each of a command's words.
func expandAll(words []string, values map[string]string) []string {
	if words == nil {
		return nil
	}
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = expand(w, values)
	}
	return out
}

// expand replaces $(NAME) by its value; $$ is a dollar sign, and a name that isn't known stays as it is written.
func expand(s string, values map[string]string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		if s[i+1] == '$' {
			b.WriteByte('$')
			i++
			continue
		}
		end := strings.IndexByte(s[i:], ')')
		if s[i+1] != '(' || end < 0 {
			b.WriteByte('$')
			continue
		}
		if value, known := values[s[i+2:i+end]]; known {
			b.WriteString(value)
		} else {
			b.WriteString(s[i : i+end+1])
		}
		i += end
	}
	return b.String()
}
