package volume

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/agent/plan"
)

func ptr[T any](v T) *T { return &v }

// newPod makes a pod with volumes on a node of its own; what was mounted is unmounted when the test ends.
func newPod(t *testing.T, volumes ...corev1.Volume) Pod {
	p := Pod{
		Pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "u", Labels: map[string]string{"a": "1", "b": `"2"`}},
			Spec:       corev1.PodSpec{Volumes: volumes, Containers: []corev1.Container{{Name: "c"}}},
		},
		Node: plan.Node{Name: "n", Dir: t.TempDir()},
		Objects: plan.Objects{
			ConfigMaps: map[string]*corev1.ConfigMap{"cm": {Data: map[string]string{"x": "1", "y": "2"}, BinaryData: map[string][]byte{"z": {0, 1}}}},
			Secrets:    map[string]*corev1.Secret{"s": {Data: map[string][]byte{"word": []byte("sesame")}}},
		},
	}
	t.Cleanup(func() { require.NoError(t, Remove(p.Node.PodDir("u"))) })
	return p
}

func (p Pod) dir(volume string) string { return plan.VolumeDir(p.Node.PodDir("u"), volume) }

func read(t *testing.T, elements ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elements...))
	require.NoError(t, err)
	return string(data)
}

func configMap(name string, items ...corev1.KeyToPath) corev1.Volume {
	return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items,
	}}}
}

func TestConfigMapChangesAsAWhole(t *testing.T) {
	p := newPod(t, configMap("cm"))
	require.NoError(t, Sync(p))
	dir := p.dir("v")
	require.Equal(t, "1", read(t, dir, "x"))
	require.Equal(t, "\x00\x01", read(t, dir, "z"))
	held, err := os.Readlink(filepath.Join(dir, "..data"))
	require.NoError(t, err)

	require.NoError(t, Sync(p))
	same, err := os.Readlink(filepath.Join(dir, "..data"))
	require.NoError(t, err)
	require.Equal(t, held, same, "nothing has changed")

	p.Objects.ConfigMaps["cm"] = &corev1.ConfigMap{Data: map[string]string{"x": "new", "w": "3"}}
	require.NoError(t, Sync(p))
	require.Equal(t, "new", read(t, dir, "x"))
	require.Equal(t, "3", read(t, dir, "w"))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 4, "x, w, the link and the version: %v", entries)
}

// TestKilledUpdate leaves behind what a kill in the middle of an update does.
func TestKilledUpdate(t *testing.T) {
	p := newPod(t, configMap("cm"))
	require.NoError(t, Sync(p))
	dir := p.dir("v")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "..version-dead", "half"), 0o755))
	require.NoError(t, os.Symlink("..version-dead", filepath.Join(dir, "..next")))
	p.Objects.ConfigMaps["cm"].Data["x"] = "new"
	require.NoError(t, Sync(p))
	require.Equal(t, "new", read(t, dir, "x"))
	require.NoDirExists(t, filepath.Join(dir, "..version-dead"))
}

func TestItemsModesAndOptional(t *testing.T) {
	p := newPod(t, configMap("cm", corev1.KeyToPath{Key: "x", Path: "deep/er/x", Mode: ptr(int32(0o400))}))
	require.NoError(t, Sync(p))
	info, err := os.Stat(filepath.Join(p.dir("v"), "deep/er/x"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o400), info.Mode())

	p.Spec.Volumes[0] = configMap("nosuch")
	require.ErrorContains(t, Sync(p), `MountVolume.SetUp failed for volume "v" : configmap "nosuch" not found`)
	p.Spec.Volumes[0].ConfigMap.Optional = ptr(true)
	require.NoError(t, Sync(p))
	require.NoFileExists(t, filepath.Join(p.dir("v"), "deep/er/x"))

	p.Spec.Volumes[0] = configMap("cm", corev1.KeyToPath{Key: "nosuch", Path: "a"})
	require.ErrorContains(t, Sync(p), "non-existent config key: nosuch")
	p.Spec.Volumes[0] = configMap("cm", corev1.KeyToPath{Key: "x", Path: "../../evil"})
	require.ErrorContains(t, Sync(p), "inside the volume")
}

func TestProjected(t *testing.T) {
	p := newPod(t, corev1.Volume{Name: "all", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}},
		{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
		}}},
	}}}})
	require.NoError(t, Sync(p))
	require.Equal(t, "1", read(t, p.dir("all"), "x"))
	require.Equal(t, "sesame", read(t, p.dir("all"), "word"))
	require.Equal(t, "a=\"1\"\nb=\"\\\"2\\\"\"", read(t, p.dir("all"), "labels"))
	mounted, err := isMount(p.dir("all"))
	require.NoError(t, err)
	require.True(t, mounted, "secrets belong in memory")
}

func TestEmptyDirKeepsItsFiles(t *testing.T) {
	p := newPod(t,
		corev1.Volume{Name: "disk", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		corev1.Volume{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory, SizeLimit: ptr(resource.MustParse("1Mi")),
		}}})
	p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr(int64(77))}
	require.NoError(t, Sync(p))
	for _, name := range []string{"disk", "memory"} {
		require.NoError(t, os.WriteFile(filepath.Join(p.dir(name), "f"), []byte("kept"), 0o644))
		info, err := os.Stat(p.dir(name))
		require.NoError(t, err)
		require.Equal(t, os.ModeDir|os.ModeSetgid|0o777, info.Mode())
	}
	require.NoError(t, Sync(p))
	require.Equal(t, "kept", read(t, p.dir("disk"), "f"))
	require.Equal(t, "kept", read(t, p.dir("memory"), "f"))
	require.Error(t, os.WriteFile(filepath.Join(p.dir("memory"), "big"), make([]byte, 2<<20), 0o644), "the size limit holds")
	require.NoError(t, Remove(p.Node.PodDir("u")))
	require.NoDirExists(t, p.Node.PodDir("u"))
}

func TestHostPathTypes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	for _, c := range []struct {
		path string
		kind corev1.HostPathType
		ok   bool
	}{
		{dir, corev1.HostPathDirectory, true},
		{file, corev1.HostPathDirectory, false},
		{file, corev1.HostPathFile, true},
		{dir + "/a", corev1.HostPathFile, false},
		{dir + "/a", corev1.HostPathFileOrCreate, true},
		{dir + "/b", corev1.HostPathDirectoryOrCreate, true},
		{"/dev/null", corev1.HostPathCharDev, true},
		{"/dev/null", corev1.HostPathBlockDev, false},
		{file, corev1.HostPathSocket, false},
	} {
		p := newPod(t, corev1.Volume{Name: "h", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: c.path, Type: &c.kind}}})
		if err := Sync(p); c.ok {
			require.NoError(t, err, "%s %s", c.kind, c.path)
		} else {
			require.ErrorContains(t, err, "hostPath type check failed", "%s %s", c.kind, c.path)
		}
	}
}

func TestSubPathStaysInside(t *testing.T) {
	dir := t.TempDir()
	inside, err := Resolve(plan.Mount{Source: dir, SubPath: "a/b"})
	require.NoError(t, err)
	require.DirExists(t, inside)
	require.NoError(t, os.Symlink("/etc", filepath.Join(dir, "evil")))
	_, err = Resolve(plan.Mount{Source: dir, SubPath: "evil"})
	require.Error(t, err)
	_, err = Resolve(plan.Mount{Source: dir, SubPath: "../x"})
	require.Error(t, err)
	require.NoError(t, os.Symlink("a", filepath.Join(dir, "link")))
	through, err := Resolve(plan.Mount{Source: dir, SubPath: "link/b"})
	require.NoError(t, err)
	require.Equal(t, inside, through)
}

func TestUnknownVolume(t *testing.T) {
	p := newPod(t, corev1.Volume{Name: "nfs", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "s", Path: "/"}}})
	require.ErrorContains(t, Sync(p), "aren't supported by this node")
}
