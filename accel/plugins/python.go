package plugins

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// pythonFolders returns the folders in which python3 and python on PATH look for packages: those
// of a virtual environment if one is active.
func pythonFolders() ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var folders []string
	answered := false
	for _, name := range []string{"python3", "python"} {
		program, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, program, "-c", `import sys; print("\n".join(sys.path))`).Output()
		if err != nil {
			continue
		}
		answered = true
		for _, folder := range strings.Split(strings.ReplaceAll(string(out), "\r", ""), "\n") {
			// The first is empty: the folder where python runs.
			if filepath.IsAbs(folder) && !slices.Contains(folders, folder) {
				folders = append(folders, folder)
			}
		}
	}
	if !answered {
		return nil, errNoPython
	}
	return folders, nil
}

// newestFirst returns the files of a pattern below a folder; of xla_cuda12 and xla_cuda13 the
// latter first.
func newestFirst(folder, pattern string) ([]string, error) {
	names, err := fs.Glob(os.DirFS(folder), pattern)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(names, func(a, b string) int {
		a, b = path.Dir(a), path.Dir(b)
		if len(a) != len(b) { // so that 9 is before 10
			return len(b) - len(a)
		}
		return strings.Compare(b, a)
	})
	for i, name := range names {
		names[i] = filepath.Join(folder, filepath.FromSlash(name))
	}
	return names, nil
}
