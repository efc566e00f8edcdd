package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// outside returns an error if the output at path, of flag, would lie below the folder of
// images, where a later run would meet it among them. data may be a file or a word.
func outside(flag, path, data string) error {
	if path == "" || data == "" || data == sampleName {
		return nil
	}
	if info, err := os.Stat(data); err != nil || !info.IsDir() {
		return nil
	}
	folder, err := realPath(data)
	if err != nil {
		return nil // opening it tells
	}
	file, err := realPath(path)
	if err != nil {
		return nil
	}
	rel, err := filepath.Rel(folder, file)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return nil
	}
	return fmt.Errorf("%s %s: below the images' folder %s, where a later run would find it among them; want a place outside", flag, path, data)
}

// realPath returns the absolute path without symbolic links of what may not be there yet.
func realPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	missing := ""
	for dir := path; ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, missing), nil
		}
		if dir == filepath.Dir(dir) {
			return path, nil
		}
		missing = filepath.Join(filepath.Base(dir), missing)
	}
}
