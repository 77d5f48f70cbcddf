package vm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// modules are the loadable parts of a kernel.
type modules struct {
	files   map[string]string // by name, with _ for -
	builtin map[string]bool
}

func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// readModules finds the modules below a directory: an installed or unpacked lib/modules/<version>.
func readModules(dir string) (modules, error) {
	m := modules{files: map[string]string{}, builtin: map[string]bool{}}
	list, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return m, fmt.Errorf("the kernel's modules: %w", err)
	}
	for line := range strings.Lines(string(list)) {
		m.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.Contains(entry.Name(), ".ko") {
			m.files[moduleName(path)] = path
		}
		return err
	})
	return m, err
}

// order gives the files of the named modules and of those that they need, each after what it needs.
func (m modules) order(names ...string) ([]string, error) {
	var files []string
	seen := map[string]bool{}
	var add func(name, by string) error
	add = func(name, by string) error {
		if name = moduleName(name); seen[name] || m.builtin[name] {
			return nil
		}
		seen[name] = true
		file := m.files[name]
		if file == "" {
			return fmt.Errorf("this kernel has no module %s (wanted by %s)", name, by)
		}
		needs, err := dependencies(file)
		if err != nil {
			return err
		}
		for _, need := range needs {
			if err := add(need, name); err != nil {
				return err
			}
		}
		files = append(files, file)
		return nil
	}
	for _, name := range names {
		if err := add(name, "the caller"); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// dependencies reads which modules a module says that it needs.
func dependencies(file string) ([]string, error) {
	if !strings.HasSuffix(file, ".ko") {
		return nil, fmt.Errorf("module %s is compressed, which isn't supported: unpack it", file)
	}
	f, err := elf.Open(file)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", file, err)
	}
	defer func() { _ = f.Close() }()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("module %s has no .modinfo section", file)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", file, err)
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := strings.CutPrefix(string(field), "depends="); ok {
			return slices.DeleteFunc(strings.Split(list, ","), func(s string) bool { return s == "" }), nil
		}
	}
	return nil, nil
}
