package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The layout inside a volume: each version of the files is a directory of its own, dataLink leads to the current one, and the names
// that containers use are links through dataLink. Replacing dataLink is the one step that changes everything at once.
const (
	dataLink   = "..data"
	nextLink   = "..next"
	versionDir = "..version-"
)

// write makes dir show exactly the files.
func write(dir string, want files, group *int64) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	current, err := root.Readlink(dataLink)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if current != "" && shows(root, current, want) {
		return link(root, want)
	}
	version, err := os.MkdirTemp(dir, versionDir)
	if err != nil {
		return err
	}
	name := filepath.Base(version)
	if err := os.Chmod(version, 0o755); err != nil {
		return err
	}
	for path, f := range want {
		if err := writeFile(root, filepath.Join(name, path), f, group); err != nil {
			return err
		}
	}
	if err := root.Remove(nextLink); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := root.Symlink(name, nextLink); err != nil {
		return err
	}
	if err := root.Rename(nextLink, dataLink); err != nil {
		return err
	}
	return link(root, want)
}

func writeFile(root *os.Root, name string, f file, group *int64) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	mode := os.FileMode(f.mode) & os.ModePerm
	if group != nil {
		mode |= 0o040 | mode&0o200>>3
	}
	if err := root.WriteFile(name, f.data, mode); err != nil {
		return err
	}
	if group != nil {
		if err := root.Chown(name, -1, int(*group)); err != nil {
			return err
		}
	}
	return root.Chmod(name, mode) // WriteFile's mode passed through the umask
}

// shows says whether the version holds the files, all of them, and no others.
func shows(root *os.Root, version string, want files) bool {
	found := 0
	err := fs.WalkDir(root.FS(), version, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(version, name)
		if err != nil {
			return err
		}
		data, err := root.ReadFile(name)
		if err != nil {
			return err
		}
		if f, wanted := want[rel]; !wanted || !bytes.Equal(f.data, data) {
			return fmt.Errorf("%s differs", rel)
		}
		found++
		return nil
	})
	return err == nil && found == len(want)
}

// link makes the names that containers use lead to the current version, and removes those and the versions that are no longer wanted.
func link(root *os.Root, want files) error {
	names := map[string]bool{}
	for path := range want {
		first, _, _ := strings.Cut(path, "/")
		names[first] = true
	}
	current, err := root.Readlink(dataLink)
	if err != nil {
		return err
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		switch {
		case names[name]:
			delete(names, name)
		case name == dataLink || name == current:
		default:
			if err := root.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	for name := range names {
		if err := root.Symlink(filepath.Join(dataLink, name), name); err != nil {
			return err
		}
	}
	return nil
}
