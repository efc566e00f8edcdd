package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/preprocess"
)

// errAddress is of an address in the place of a file.
var errAddress = errors.New("an address, want image files or folders on this machine; of servers, sets of tar shards are read, with :: between several addresses")

// OpenFiles returns images without labels: files, and the images at any depth below
// folders, recognised by their extension. They have one class, without a name. Their names
// are the paths as given. Each image is there once, in the order of the paths; those of a
// folder are sorted.
//
// It is an error if a path doesn't exist, if there is no image, and if ctx is done.
func OpenFiles(ctx context.Context, paths ...string) (*Dataset, error) {
	s := &search{ctx: ctx}
	d := &Dataset{Classes: []string{""}, fsys: diskFS{}}
	if len(paths) > 0 {
		d.Name = paths[0]
	}
	if len(paths) > 1 {
		d.Name = fmt.Sprintf("%s and %d more", paths[0], len(paths)-1)
	}
	seen := map[string]bool{}
	unread := map[string]*preprocess.FormatError{}
	add := func(name string) {
		if name = path.Clean(filepath.ToSlash(name)); !seen[name] {
			seen[name] = true
			d.Samples = append(d.Samples, Sample{Name: name})
		}
	}
	for _, p := range paths {
		if remote.IsAddress(p) {
			return nil, fmt.Errorf("dataset: %s: %w", remote.Plain(p), errAddress)
		}
		info, err := os.Stat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, &missingError{p}
		case err != nil:
			return nil, fmt.Errorf("dataset: %w", err)
		case !info.IsDir():
			add(p)
			continue
		}
		before := len(s.source.Special)
		files, err := s.images(wholefile.Dir(p), ".")
		if err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", p, err)
		}
		for i, f := range s.source.Special[before:] {
			s.source.Special[before+i] = filepath.Join(p, filepath.FromSlash(f))
		}
		for f, format := range s.unreadable {
			unread[filepath.Join(p, filepath.FromSlash(f))] = format
		}
		s.unreadable = nil
		for _, f := range files {
			add(filepath.Join(p, filepath.FromSlash(f)))
		}
	}
	s.unreadable = unread
	if d.Len() == 0 {
		special := ""
		if len(s.source.Special) > 0 {
			special = "; no regular files: " + some(s.source.Special)
		}
		return nil, fmt.Errorf("dataset: %s: no images, want %s files%s%s", strings.Join(paths, ", "), imageKinds, special, s.afterError())
	}
	if s.source.Unread = s.describeUnread(); len(s.source.Special)+len(s.source.Unread) > 0 {
		d.source = &s.source
	}
	return d, nil
}

// diskFS opens paths of the operating system, relative or absolute, written with slashes.
type diskFS struct{}

// Open implements [fs.FS]. It opens regular files.
func (diskFS) Open(name string) (fs.File, error) { return wholefile.Open(filepath.FromSlash(name)) }

// Stat implements [fs.StatFS].
func (diskFS) Stat(name string) (fs.FileInfo, error) { return os.Stat(filepath.FromSlash(name)) }

// Join returns the samples of parts as one dataset, part after part. The parts must have
// the same classes. Names stay as they are if all parts lie in one file system and no name
// is in two of them; otherwise the number of the part and a slash precede them.
func Join(name string, parts ...*Dataset) (*Dataset, error) {
	if len(parts) == 0 {
		return nil, errors.New("dataset: nothing to join, want at least one part")
	}
	if slices.Contains(parts, nil) {
		return nil, errNil
	}
	out := *parts[0]
	out.Name, out.Samples, out.part, out.partial = name, nil, "", false
	joined := make(joinedFS, len(parts))
	seen := map[string]bool{}
	same := true
	for i, p := range parts {
		if !slices.Equal(out.Classes, p.Classes) {
			return nil, fmt.Errorf("dataset: %s and %s: want the same classes in both", parts[0].Name, p.Name)
		}
		if out.MultiLabel != p.MultiLabel {
			return nil, fmt.Errorf("dataset: %s and %s: several labels an image in one alone, want the same in both", parts[0].Name, p.Name)
		}
		joined[i] = p.fsys
		same = same && sameFS(parts[0].fsys, p.fsys)
		for _, s := range p.Samples {
			same = same && !seen[s.Name]
			seen[s.Name] = true
		}
	}
	for i, p := range parts {
		for _, s := range p.Samples {
			if !same {
				s.Name = fmt.Sprintf("%d/%s", i, s.Name)
			}
			out.Samples = append(out.Samples, s)
		}
	}
	if !same {
		out.fsys, out.root = joined, nil
	}
	return &out, nil
}

// sameFS reports whether two file systems are known to be the same.
func sameFS(a, b fs.FS) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && reflect.TypeOf(a).Comparable() && a == b
}

// joinedFS has the files of part i below a folder that is named i.
type joinedFS []fs.FS

// Open implements [fs.FS].
func (j joinedFS) Open(name string) (fs.File, error) {
	if i, rest := j.find(name); i >= 0 {
		return j[i].Open(rest)
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
