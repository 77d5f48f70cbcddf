package volume

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/plan"
)

// file is one file of a volume.
type file struct {
	data []byte
	mode int32
}

// files are a volume's files by their path in it.
type files map[string]file

// defaultMode is a file's mode where the volume doesn't say.
const defaultMode = 0o644

// Pod is what the contents of a pod's volumes depend on.
type Pod struct {
	*corev1.Pod
	Node    plan.Node
	Objects plan.Objects
}

// render returns the files of a volume whose contents come from the cluster; ok is false for every other volume.
func (p Pod) render(v *corev1.Volume) (out files, ok bool, err error) {
	out = files{}
	switch {
	case v.ConfigMap != nil:
		s := v.ConfigMap
		return out, true, p.addConfigMap(out, s.Name, s.Items, mode(s.DefaultMode), s.Optional)
	case v.Secret != nil:
		s := v.Secret
		return out, true, p.addSecret(out, s.SecretName, s.Items, mode(s.DefaultMode), s.Optional)
	case v.DownwardAPI != nil:
		return out, true, p.addFields(out, v.DownwardAPI.Items, mode(v.DownwardAPI.DefaultMode))
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			if err := p.addProjection(out, &v.Projected.Sources[i], mode(v.Projected.DefaultMode)); err != nil {
				return nil, true, err
			}
		}
		return out, true, nil
	}
	return nil, false, nil
}

func mode(m *int32) int32 {
	if m == nil {
		return defaultMode
	}
	return *m
}

func (p Pod) addProjection(out files, s *corev1.VolumeProjection, mode int32) error {
	switch {
	case s.ConfigMap != nil:
		return p.addConfigMap(out, s.ConfigMap.Name, s.ConfigMap.Items, mode, s.ConfigMap.Optional)
	case s.Secret != nil:
		return p.addSecret(out, s.Secret.Name, s.Secret.Items, mode, s.Secret.Optional)
	case s.DownwardAPI != nil:
		return p.addFields(out, s.DownwardAPI.Items, mode)
	case s.ServiceAccountToken != nil:
		return fmt.Errorf("service account tokens aren't issued by this cluster yet; set automountServiceAccountToken: false")
	}
	return fmt.Errorf("a projected source is of a kind that this node doesn't know")
}

func (p Pod) addConfigMap(out files, name string, items []corev1.KeyToPath, mode int32, optional *bool) error {
	cm, found := p.Objects.ConfigMaps[name]
	if !found {
		return absent("configmap", name, optional)
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for key, value := range cm.Data {
		data[key] = []byte(value)
	}
	for key, value := range cm.BinaryData {
		data[key] = value
	}
	return out.add("configmap", name, data, items, mode, optional)
}

func (p Pod) addSecret(out files, name string, items []corev1.KeyToPath, mode int32, optional *bool) error {
	secret, found := p.Objects.Secrets[name]
	if !found {
		return absent("secret", name, optional)
	}
	return out.add("secret", name, secret.Data, items, mode, optional)
}

func absent(kind, name string, optional *bool) error {
	if optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("%s %q not found", kind, name)
}

// add adds all keys of an object, or the listed ones.
func (f files) add(kind, name string, data map[string][]byte, items []corev1.KeyToPath, mode int32, optional *bool) error {
	if items == nil {
		for key, value := range data {
			f[key] = file{value, mode}
		}
		return nil
	}
	for _, item := range items {
		value, found := data[item.Key]
		if !found {
			if optional != nil && *optional {
				continue
			}
			return fmt.Errorf("%s references non-existent config key: %s (in %s)", kind, item.Key, name)
		}
		if err := f.set(item.Path, value, mode, item.Mode); err != nil {
			return err
		}
	}
	return nil
}

// set sets one file, unless its path leads out of the volume.
func (f files) set(name string, data []byte, mode int32, own *int32) error {
	clean := path.Clean(name)
	if path.IsAbs(clean) || clean == "." || clean == ".." || strings.HasPrefix(clean, "..") {
		return fmt.Errorf("the path %q isn't one inside the volume", name)
	}
	if own != nil {
		mode = *own
	}
	f[clean] = file{data, mode}
	return nil
}

func (p Pod) addFields(out files, items []corev1.DownwardAPIVolumeFile, mode int32) error {
	for _, item := range items {
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = plan.Field(p.Pod, item.FieldRef.FieldPath, p.Node, nil)
		case item.ResourceFieldRef != nil:
			value, err = plan.ResourceField(p.Pod, item.ResourceFieldRef.ContainerName, item.ResourceFieldRef, p.Node)
		}
		if err != nil {
			return err
		}
		if err := out.set(item.Path, []byte(value), mode, item.Mode); err != nil {
			return err
		}
	}
	return nil
}
