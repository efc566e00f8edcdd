package cli

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg/dataset/sample"
)

// somePhoto is one of the built-in photographs, for command lines that can be pasted where
// there is no other picture.
const somePhoto = sampleName + "/val/sunflower/image_0041.jpg"

// builtIn returns the built-in photographs that a path names which no file has: sample, a folder
// below it, a photograph, or a glob of these. It returns nil for other paths.
func builtIn(name string) ([]picture, error) {
	inside, ok := strings.CutPrefix(path.Clean(filepath.ToSlash(name)), sampleName)
	if !ok || inside != "" && inside[0] != '/' {
		return nil, nil
	}
	files, err := sample.Files()
	if err != nil {
		return nil, err
	}
	inside = strings.TrimPrefix(inside, "/")
	if inside == "" {
		inside = "."
	}
	found := []string{inside}
	if strings.ContainsAny(inside, "*?[") {
		if found, err = fs.Glob(files, inside); err != nil {
			return nil, err
		}
	}
	var all []picture
	for _, root := range found {
		err := fs.WalkDir(files, root, func(at string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path.Ext(at) != ".jpg" {
				return err
			}
			data, err := fs.ReadFile(files, at)
			all = append(all, picture{name: path.Join(sampleName, at), data: data})
			return err
		})
		if err != nil || len(all) == 0 {
			return nil, fmt.Errorf("%s: no built-in photograph, want one such as %s, or a folder or a glob of them", name, somePhoto)
		}
	}
	return all, nil
}
