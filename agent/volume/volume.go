package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/plan"
)

// Sync makes the pod's volumes show what the cluster has now. The error names the first volume that can't be.
func Sync(p Pod) error {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if err := p.sync(v); err != nil {
			return fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", v.Name, err)
		}
	}
	return nil
}

func (p Pod) sync(v *corev1.Volume) error {
	dir := plan.VolumeDir(p.Node.PodDir(string(p.UID)), v.Name)
	contents, rendered, err := p.render(v)
	if err != nil {
		return err
	}
	var group *int64
	if p.Spec.SecurityContext != nil {
		group = p.Spec.SecurityContext.FSGroup
	}
	switch {
	case v.HostPath != nil:
		return hostPath(v.HostPath)
	case v.EmptyDir != nil:
		return emptyDir(dir, v.EmptyDir, group)
	case !rendered:
		return errors.New("volumes of this type aren't supported by this node (supported: emptyDir, hostPath, configMap, secret, downwardAPI, projected)")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if v.Secret != nil || v.Projected != nil {
		if err := mountMemory(dir, ""); err != nil {
			return err
		}
	}
	return write(dir, contents, group)
}

// emptyDir makes a directory that everybody may write to, as the kubelet does.
func emptyDir(dir string, v *corev1.EmptyDirVolumeSource, group *int64) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if v.Medium == corev1.StorageMediumMemory {
		size := ""
		if v.SizeLimit != nil && !v.SizeLimit.IsZero() {
			size = fmt.Sprintf("size=%d", v.SizeLimit.Value())
		}
		if err := mountMemory(dir, size); err != nil {
			return err
		}
	}
	mode := os.FileMode(0o777)
	if group != nil {
		mode |= os.ModeSetgid
		if err := os.Chown(dir, -1, int(*group)); err != nil {
			return err
		}
	}
	return os.Chmod(dir, mode)
}

// mountMemory mounts a file system in memory on dir unless one is there.
func mountMemory(dir, options string) error {
	mounted, err := isMount(dir)
	if err != nil || mounted {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mounting memory on %s (this takes root): %w", dir, err)
	}
	return os.Chmod(dir, 0o777)
}

// isMount says whether dir is on another file system than its parent.
func isMount(dir string) (bool, error) {
	var own, parent unix.Stat_t
	if err := errors.Join(unix.Lstat(dir, &own), unix.Lstat(filepath.Dir(dir), &parent)); err != nil {
		return false, err
	}
	return own.Dev != parent.Dev, nil
}

// hostPath checks that what is at the path is of the type that the pod wants, and creates it where the type says so.
func hostPath(v *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if v.Type != nil {
		kind = *v.Type
	}
	info, err := os.Stat(v.Path)
	switch {
	case kind == corev1.HostPathUnset:
		// Docker refuses a mount whose source isn't there, where the kubelet's runtimes make a directory.
		if errors.Is(err, fs.ErrNotExist) {
			return os.MkdirAll(v.Path, 0o755)
		}
		return err
	case errors.Is(err, fs.ErrNotExist) && kind == corev1.HostPathDirectoryOrCreate:
		return os.MkdirAll(v.Path, 0o755)
	case errors.Is(err, fs.ErrNotExist) && kind == corev1.HostPathFileOrCreate:
		return os.WriteFile(v.Path, nil, 0o644)
	case err != nil:
		return fmt.Errorf("hostPath type check failed: %w", err)
	}
	if !isKind(info.Mode(), kind) {
		return fmt.Errorf("hostPath type check failed: %s is not of type %s", v.Path, kind)
	}
	return nil
}

func isKind(m os.FileMode, kind corev1.HostPathType) bool {
	switch kind {
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		return m.IsDir()
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		return m.IsRegular()
	case corev1.HostPathSocket:
		return m&os.ModeSocket != 0
	case corev1.HostPathCharDev:
		return m&os.ModeCharDevice != 0
	case corev1.HostPathBlockDev:
		return m&os.ModeDevice != 0 && m&os.ModeCharDevice == 0
	}
	return false
}

// Resolve returns the path to mount for m. A subPath that isn't there becomes a directory.
func Resolve(m plan.Mount) (string, error) {
	if m.SubPath == "" {
		return m.Source, nil
	}
	root, err := os.OpenRoot(m.Source)
	if err != nil {
		return "", fmt.Errorf("subPath %q: %w", m.SubPath, err)
	}
	defer func() { _ = root.Close() }()
	f, err := root.Open(m.SubPath)
	if errors.Is(err, fs.ErrNotExist) && !m.ReadOnly {
		if err = root.MkdirAll(m.SubPath, 0o777); err == nil {
			f, err = root.Open(m.SubPath)
		}
	}
	if err != nil {
		return "", fmt.Errorf("subPath %q of %s: %w", m.SubPath, m.Source, err)
	}
	defer func() { _ = f.Close() }()
	// The path of the opened file has no links left in it that could be turned elsewhere between here and the mount by accident.
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return "", fmt.Errorf("subPath %q of %s: %w", m.SubPath, m.Source, err)
	}
	return path, nil
}

// Remove removes all files of a pod; podDir is its directory.
func Remove(podDir string) error {
	volumes, err := os.ReadDir(filepath.Join(podDir, "volumes"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, v := range volumes {
		dir := plan.VolumeDir(podDir, v.Name())
		mounted, err := isMount(dir)
		if err != nil {
			return err
		}
		if mounted {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmounting %s: %w", dir, err)
			}
		}
	}
	if err := os.RemoveAll(podDir); err != nil {
		return fmt.Errorf("removing the files of a pod: %w", err)
	}
	return nil
}
