package dataset

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// archiveFS is the file system of an archive's entries. Several goroutines may use it at once.
type archiveFS struct {
	files   map[string]*archiveEntry
	folders map[string][]fs.DirEntry // entries sorted by name
}

// archiveEntry is a file of an archive.
type archiveEntry struct {
	name string // its path
	size int64
	date time.Time
	open func() (io.ReadCloser, error) // nil of a folder
}

func newArchiveFS() *archiveFS {
	return &archiveFS{files: map[string]*archiveEntry{}, folders: map[string][]fs.DirEntry{".": nil}}
}

// entryPath returns the path of an entry below the root of its archive. Nothing is written by
// it, so that names that lead out of the folder do no harm: they are read as paths below it.
// ok is false for what is no path, and for what every reader passes over.
func entryPath(name string) (string, bool) {
	name = strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(name, `\`, "/")), "/")
	if name == "" || !fs.ValidPath(name) || slices.ContainsFunc(strings.Split(name, "/"), hidden) {
		return "", false
	}
	return name, true
}

// add adds an entry; replace says that a later one of the same name counts.
func (a *archiveFS) add(e *archiveEntry, replace bool) error {
	if _, ok := a.folders[e.name]; ok {
		return fmt.Errorf("%s is a file and a folder", e.name)
	}
	if old := a.files[e.name]; old != nil {
		if !replace {
			return fmt.Errorf("%s is in the archive twice, want an archive made anew", e.name)
		}
		*old = *e
		return nil
	}
	for dir := path.Dir(e.name); dir != "."; dir = path.Dir(dir) {
		if a.files[dir] != nil {
			return fmt.Errorf("%s is a file and a folder", dir)
		}
	}
	a.files[e.name] = e
	a.addFolder(path.Dir(e.name))
	dir := path.Dir(e.name)
	a.folders[dir] = append(a.folders[dir], fs.FileInfoToDirEntry(e))
	return nil
}

// addFolder adds a folder and those round it.
func (a *archiveFS) addFolder(dir string) {
	if _, ok := a.folders[dir]; ok || a.files[dir] != nil {
		return
	}
	a.folders[dir] = nil
	outer := path.Dir(dir)
	a.addFolder(outer)
	a.folders[outer] = append(a.folders[outer], fs.FileInfoToDirEntry(&archiveEntry{name: dir}))
}

// finish sorts the folders.
func (a *archiveFS) finish() {
	for _, entries := range a.folders {
		slices.SortFunc(entries, func(x, y fs.DirEntry) int { return strings.Compare(x.Name(), y.Name()) })
	}
}

// Open implements [fs.FS].
func (a *archiveFS) Open(name string) (fs.File, error) {
	fail := func(err error) (fs.File, error) { return nil, &fs.PathError{Op: "open", Path: name, Err: err} }
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	if entries, ok := a.folders[name]; ok {
		return &archiveFolder{&archiveEntry{name: name}, entries}, nil
	}
	e := a.files[name]
	if e == nil {
		return fail(fs.ErrNotExist)
	}
	r, err := e.open()
	if err != nil {
		return fail(err)
	}
	return &archiveFile{r, e}, nil
}

// Stat implements [fs.StatFS].
func (a *archiveFS) Stat(name string) (fs.FileInfo, error) {
	if _, ok := a.folders[name]; ok {
		return &archiveEntry{name: name}, nil
	}
	if e := a.files[name]; e != nil {
		return e, nil
	}
	return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
}

// ReadDir implements [fs.ReadDirFS].
func (a *archiveFS) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, ok := a.folders[name]
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	return slices.Clone(entries), nil
}

// The methods of [fs.FileInfo].

func (e *archiveEntry) Name() string       { return path.Base(e.name) }
func (e *archiveEntry) Size() int64        { return e.size }
func (e *archiveEntry) ModTime() time.Time { return e.date }
func (e *archiveEntry) IsDir() bool        { return e.open == nil }
func (e *archiveEntry) Sys() any           { return nil }

func (e *archiveEntry) Mode() fs.FileMode {
	if e.IsDir() {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

// archiveFile is an open file.
type archiveFile struct {
	io.ReadCloser
	info *archiveEntry
}

func (f *archiveFile) Stat() (fs.FileInfo, error) { return f.info, nil }

// archiveFolder is an open folder.
type archiveFolder struct {
	info *archiveEntry
	left []fs.DirEntry
}

func (f *archiveFolder) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *archiveFolder) Close() error               { return nil }

func (f *archiveFolder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.info.name, Err: errors.New("a folder")}
}

// ReadDir implements [fs.ReadDirFile].
func (f *archiveFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(f.left) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(f.left) {
		n = len(f.left)
	}
	out := slices.Clone(f.left[:n])
	f.left = f.left[n:]
	return out, nil
}
