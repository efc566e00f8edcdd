package dataset

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// tableFiles finds the images that a table's values mean.
type tableFiles struct {
	*finder
	dir    string         // of the table
	byPath map[string]int // indices of names
	loose  bool           // folders in values that lead nowhere are those of another machine
}

// newTableFiles indexes the images below a layout's root. dir is the folder of the table.
func newTableFiles(names []string, dir string) *tableFiles {
	f := &tableFiles{finder: newFinder(names), dir: dir, byPath: make(map[string]int, len(names))}
	for i, n := range names {
		f.byPath[n] = i
	}
	return f
}

// of returns the files for a table of another folder: those below folders of the part, if there
// are such.
func (f *tableFiles) of(dir, part string) *tableFiles {
	out := *f
	out.dir = dir
	if part == "" {
		return &out
	}
	var names []string
	for _, n := range f.names {
		if p := pathPart(n); p >= 0 && partNames[p] == part {
			names = append(names, n)
		}
	}
	if len(names) == 0 || len(names) == len(f.names) {
		return &out
	}
	return newTableFiles(names, dir)
}

// partOfName returns the part that the name of a file or folder says, "" if it says none.
func partOfName(name string) string {
	part, _, _ := namedPart(strings.TrimSuffix(name, path.Ext(name)))
	if part < 0 {
		return ""
	}
	return partNames[part]
}

// Errors of values that should name an image.
var (
	errURL       = errors.New("an address, want the name of a file: fetch the images, and keep their names")
	errAmbiguous = errors.New("two images have this name")
)

// find returns the index of the image that a value means, -1 if none, or one of two with
// an error. A value is the path
// below the table's folder or the root; or as much of its end as there are folders, with
// any extension or none, and perhaps with folders of another machine before it.
func (f *tableFiles) find(value string) (int, error) {
	if value == "" || len(value) > 4096 {
		return -1, nil
	}
	if scheme, _, ok := strings.Cut(value, "://"); ok && len(scheme) > 1 && len(scheme) < 10 && !strings.ContainsAny(scheme, " /.") {
		return -1, fmt.Errorf("%q is %w", value, errURL)
	}
	name := plainPath(value)
	if i, ok := f.byPath[path.Join(f.dir, name)]; ok {
		return i, nil
	}
	if i, ok := f.byPath[name]; ok {
		return i, nil
	}
	i, rival := f.look(name)
	if i < 0 && f.loose {
		i, rival = f.look(path.Base(name))
	}
	if rival >= 0 {
		return i, fmt.Errorf("%q: %w: %s and %s", value, errAmbiguous, f.names[i], f.names[rival])
	}
	return i, nil
}

// plainPath writes a path with slashes, without drive, root and steps.
func plainPath(p string) string {
	p = strings.ReplaceAll(p, `\`, "/")
	if len(p) > 2 && p[1] == ':' && p[2] == '/' {
		p = p[2:]
	}
	return path.Clean(strings.TrimLeft(p, "/"))
}
