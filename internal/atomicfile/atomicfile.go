// Package atomicfile replaces files: whoever opens one, at any moment and after any crash,
// finds the earlier file or the new one, and either is whole.
//
// The new content goes to a temporary file beside the old one, which is synced and then
// renamed. The name of a temporary file is a dot, the name of the file, a dot, eight
// hexadecimal digits and ".tmp"; the digits count those who write the file at the same time.
// A process that is killed leaves its temporary file behind; the next process that writes the
// same file removes it. A writer holds a lock on its temporary file for as long as it lives,
// so that nobody removes the file of a living one.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Write replaces the file at path by what write writes. Where there is none, it makes one.
// On an error, also of write itself, the earlier file stays and the temporary file is
// removed. One error comes with the new file in place: that the directory can't be synced.
//
// A symbolic link at path is followed. The new file has the permissions of the earlier one.
// What is there already must be a regular file.
//
// Errors of the file system are [*fs.PathError] and name path.
func Write(path string, write func(io.Writer) error) error {
	return replace(osSystem{}, path, write)
}

// WriteOrStream is [Write] for paths that a user chose. It writes straight to what can't be
// replaced: a pipe, a device, and a name for an open file such as /dev/stdout.
func WriteOrStream(path string, write func(io.Writer) error) error {
	if !IsStream(path) {
		return Write(path, write)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	err = write(f)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// IsStream reports whether path is a pipe, a device or a name for an open file, which can't
// be replaced.
func IsStream(path string) bool {
	if openFileName.MatchString(filepath.ToSlash(path)) {
		return true
	}
	info, err := os.Stat(path)
	return err == nil && !info.Mode().IsRegular() && !info.IsDir()
}

// openFileName matches the names that stand for files that a process has open.
var openFileName = regexp.MustCompile(`^/dev/(stdout|stderr|fd/\d+)$|^/proc/(self|\d+)/fd/\d+$`)

// WriteNamed is [Write] for code that must open its file by name. The file of that name is
// there already, and empty.
func WriteNamed(path string, write func(name string) error) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := write(f.temporary); err != nil {
		return f.mapped(err)
	}
	return f.Commit()
}

// Scratch gives use the name of an empty file beside path and removes it afterwards. The file
// of a process that was killed is removed by the next process that calls Scratch or [Write]
// with the same path.
func Scratch(path string, use func(name string) error) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	return f.mapped(use(f.temporary))
}

func replace(sys system, path string, write func(io.Writer) error) error {
	f, err := create(sys, path)
	if err != nil {
		return err
	}
	defer f.Abort() // also where write panics
	if err := write(f); err != nil {
		return err
	}
	return f.Commit()
}

// File is the new content of a file, while it is being written.
type File struct {
	sys       system
	path      string // as errors name it
	target    string // path, its symbolic links resolved
	temporary string
	mode      fs.FileMode // of the earlier file; 0: there is none
	f         file
	lock      io.Closer // nil where files can't be locked
	ended     bool
}

// Create begins to replace the file at path, as [Write] does. Either [File.Commit] or
// [File.Abort] must end it.
func Create(path string) (*File, error) { return create(osSystem{}, path) }

func create(sys system, path string) (*File, error) {
	f := &File{sys: sys, path: path, target: path}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		f.target = target
	}
	if info, err := os.Stat(f.target); err == nil {
		if !info.Mode().IsRegular() {
			return nil, f.failed(fmt.Errorf("%s, want a file", Kind(info.Mode())))
		}
		f.mode = info.Mode().Perm()
	}
	dir, base := filepath.Split(f.target)
	for number := 0; ; {
		f.temporary = filepath.Join(dir, temporaryName(base, number))
		opened, err := sys.create(f.temporary)
		if errors.Is(err, fs.ErrExist) && number < mostWriters {
			if !removeIfAbandoned(f.temporary) {
				number++
			}
			continue
		}
		if err != nil {
			return nil, f.failed(err)
		}
		lock, err := hold(opened, f.temporary)
		if err != nil { // another process took it for abandoned before it was locked
			opened.Close()
			continue
		}
		f.f, f.lock = opened, lock
		for removeIfAbandoned(filepath.Join(dir, temporaryName(base, number+1))) {
			number++
		}
		return f, nil
	}
}

// mostWriters is the most processes that can write a file at the same time.
const mostWriters = 1000

// Temporary returns the name of the file that holds the new content until [File.Commit].
func (f *File) Temporary() string { return f.temporary }

// Write implements [io.Writer].
func (f *File) Write(p []byte) (int, error) {
	n, err := f.f.Write(p)
	return n, f.mapped(err)
}

// Commit puts the new content in place of the earlier file. On an error the earlier file
// stays and the temporary file is removed, except if the directory can't be synced: then
// the new file is in place.
func (f *File) Commit() error {
	defer f.Abort()
	if f.mode != 0 {
		if err := os.Chmod(f.temporary, f.mode); err != nil {
			return f.failed(err)
		}
	}
	if err := f.f.Sync(); err != nil {
		return f.failed(err)
	}
	err := f.f.Close()
	f.f = nil
	if err != nil {
		return f.failed(err)
	}
	if err := f.sys.rename(f.temporary, f.target); err != nil {
		return f.failed(err)
	}
	f.end()
	if err := f.sys.syncDir(filepath.Dir(f.target)); err != nil {
		return f.failed(err)
	}
	return nil
}

// Abort removes the temporary file and leaves the earlier file as it is. After Commit it
// does nothing.
func (f *File) Abort() {
	if f.ended {
		return
	}
	if f.f != nil {
		f.f.Close()
	}
	f.sys.remove(f.temporary)
	f.end()
}

// end lets go of the temporary file, which is renamed or removed.
func (f *File) end() {
	f.ended = true
	if f.lock != nil {
		f.lock.Close()
	}
}

// failed returns err as one about the file that is to be replaced.
func (f *File) failed(err error) error {
	op := "write"
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		op, err = e.Op, e.Err
	} else if e, ok := errors.AsType[*os.LinkError](err); ok {
		op, err = e.Op, e.Err
	}
	return &fs.PathError{Op: op, Path: f.path, Err: err}
}

// mapped replaces the name of the temporary file in an error.
func (f *File) mapped(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok && e.Path == f.temporary {
		return f.failed(e)
	}
	return err
}

// Rename renames a file and makes the new name last through a power failure.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return osSystem{}.syncDir(filepath.Dir(to))
}

// Clean removes from a directory the temporary files of processes that no longer live.
func Clean(dir string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	names, _ := d.Readdirnames(-1) // those that could be read
	d.Close()
	for _, name := range names {
		if IsTemporary(name) {
			removeIfAbandoned(filepath.Join(dir, name))
		}
	}
}

// IsTemporary reports whether name, without a directory, is one of a temporary file.
func IsTemporary(name string) bool { return temporary.MatchString(name) }

var temporary = regexp.MustCompile(`^\..+\.[0-9a-f]{8}\.tmp$`)

// temporaryName returns the name for a temporary file of the file named base.
func temporaryName(base string, number int) string {
	const most = 200 // of the 255 bytes that file systems allow
	if len(base) > most {
		base = strings.ToValidUTF8(base[:most], "")
	}
	return fmt.Sprintf(".%s.%08x.tmp", base, number)
}

// errLost is of a temporary file that another process has removed or is about to.
var errLost = errors.New("the temporary file was removed")

// Kind names what isn't a regular file by its mode: "a directory", "a named pipe".
func Kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a regular file"
}
