package dataset

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/verydeep/vgg/progress"
)

// search is one reading of a collection's folders and lists: what [Open] and its like do.
// It ends when its context is done, and reports the number of images found.
type search struct {
	ctx      context.Context
	progress progress.Func
	columns  Columns
	found    int64
	notes    []string
}

// err is the context's cause once it is done.
func (s *search) err() error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return nil
}

// checkEvery is the number of folder entries between two looks at the context.
const checkEvery = 256

// listing holds the entries of a folder, each kind sorted by name.
type listing struct{ folders, images, files []string } // files are those that are no images

// list reads a folder, without those below it.
func (s *search) list(fsys fs.FS, dir string) (listing, error) {
	var l listing
	if err := s.err(); err != nil {
		return l, err
	}
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return l, err
	}
	for i, e := range entries {
		if i%checkEvery == 0 && s.err() != nil {
			return l, s.err()
		}
		name := e.Name()
		if hidden(name) {
			continue
		}
		isDir := e.IsDir()
		if e.Type()&fs.ModeSymlink != 0 {
			// A link to nothing counts as a file: as an image it is unreadable.
			info, err := fs.Stat(fsys, path.Join(dir, name))
			isDir = err == nil && info.IsDir()
		}
		switch {
		case isDir:
			l.folders = append(l.folders, name)
		case isImage(name):
			l.images = append(l.images, name)
		default:
			l.files = append(l.files, name)
		}
	}
	slices.Sort(l.folders)
	slices.Sort(l.images)
	slices.Sort(l.files)
	return l, nil
}

// images returns the paths of the images at any depth below dir, sorted.
func (s *search) images(fsys fs.FS, dir string) ([]string, error) {
	if err := s.err(); err != nil {
		return nil, err
	}
	var files []string
	entries := 0
	err := fs.WalkDir(fsys, dir, func(p string, e fs.DirEntry, err error) error {
		if entries++; entries%checkEvery == 0 && s.err() != nil {
			return s.err()
		}
		switch {
		case err != nil:
			return err
		case p != dir && hidden(e.Name()):
			if e.IsDir() {
				return fs.SkipDir
			}
		case !e.IsDir() && isImage(p):
			files = append(files, p)
		}
		return nil
	})
	slices.Sort(files)
	s.add(len(files))
	return files, err
}

// add counts images found.
func (s *search) add(n int) {
	s.found += int64(n)
	s.progress.Report(s.found, 0)
}

// note adds a sentence for the user.
func (s *search) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}
