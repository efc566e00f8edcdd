// Package remote reads files that lie on a server: by HTTP, or in an object store by the
// protocol of S3. Files are read in part, by range requests.
//
// What fails in a way that passes is tried again: broken connections, answers that are cut
// short, a server that is too busy. A file that changes while it is open is an error. Parts
// that were read are kept on disk, within a bound ([Options]).
package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options chooses how files are read.
type Options struct {
	CacheDir   string                  // where parts are kept; "": nowhere
	CacheBytes int64                   // most bytes of them; 0: none
	OnRemark   func(text string)       // hears what a user should know; nil: nobody
	Getenv     func(key string) string // nil: os.Getenv
}

// FS has the files of some addresses, called by host and path, and those beside them. It is
// safe for concurrent use.
type FS struct {
	ctx       context.Context // of Open and Stat
	o         Options
	patience  patience
	transport *http.Transport
	web       *webWay
	store     *storeWay // nil: no s3 address
	cache     *cache    // nil: none
	names     []string

	mu      sync.Mutex
	objects map[string]*object
	refused map[string]bool // files beside the given ones to which access is refused
}

// object is one file.
type object struct {
	url   *url.URL
	name  string
	way   way
	given bool // its address was given; else it is beside one that was

	once sync.Mutex // of head
	head head
}

// head describes a file as it was when it was first asked for.
type head struct {
	size     int64 // 0: not asked for yet
	tag      string
	modified time.Time
	begin    []byte // the first bytes
}

// beginBytes is the length of head.begin: the first header of a tar file.
const beginBytes = 512

// match returns the ETag that later parts must have; weak ones can't be asked for.
func (h head) match() string {
	if strings.HasPrefix(h.tag, "W/") {
		return ""
	}
	return h.tag
}

func (o *object) address() string { return Plain(o.url.String()) }

// New returns the files at addresses. ctx ends [FS.Open] and [FS.Stat]; [FS.ReadRange] has its
// own. Nothing is asked for yet.
func New(ctx context.Context, addresses []string, o Options) (*FS, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	f := &FS{ctx: ctx, o: o, patience: defaultPatience, transport: newTransport(), objects: map[string]*object{}, refused: map[string]bool{}}
	f.web = &webWay{&http.Client{Transport: f.transport}}
	for _, a := range addresses {
		u, name, err := parse(a)
		if err != nil {
			return nil, err
		}
		if f.objects[name] != nil {
			return nil, fmt.Errorf("%s: named twice", Plain(a))
		}
		made := &object{url: u, name: name, way: f.web, given: true}
		if u.Scheme == "s3" {
			if f.store == nil {
				if f.store, err = newStoreWay(f.transport, o.Getenv); err != nil {
					return nil, err
				}
			}
			made.way = f.store
		}
		f.objects[name] = made
		f.names = append(f.names, name)
	}
	if o.CacheDir != "" && o.CacheBytes > 0 {
		f.cache = openCache(o.CacheDir, o.CacheBytes, f.remark)
	}
	return f, nil
}

func (f *FS) remark(text string) {
	if f.o.OnRemark != nil {
		f.o.OnRemark(text)
	}
}

// Names returns the names of the files whose addresses were given, in their order.
func (f *FS) Names() []string { return slices.Clone(f.names) }

// Address returns a file's address without its query.
func (f *FS) Address(name string) string {
	if o, err := f.object(name); err == nil {
		return o.address()
	}
	return name
}

// object returns the file of a name: one that was given, or one beside it.
func (f *FS) object(name string) (*object, error) {
	missing := &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := f.objects[name]; o != nil {
		return o, nil
	}
	for _, given := range f.names {
		o := f.objects[given]
		if path.Dir(given) != path.Dir(name) {
			continue
		}
		if signed(o.url) {
			return nil, missing
		}
		made := &object{url: beside(o.url, path.Base(name)), name: name, way: o.way}
		f.objects[name] = made
		return made, nil
	}
	return nil, missing
}

// look asks for a file's head once.
func (f *FS) look(ctx context.Context, o *object) (head, error) {
	o.once.Lock()
	defer o.once.Unlock()
	if o.head.size > 0 {
		return o.head, nil
	}
	var h head
	err := f.retry(ctx, func(ctx context.Context, alive func()) (bool, error) {
		a, err := o.way.get(ctx, o, 0, beginBytes-1, "")
		if err != nil {
			return false, err
		}
		defer a.body.Close()
		alive()
		if err := o.checkPart(a, 0, head{}); err != nil {
			return false, err
		}
		_, h.size, _ = contentRange(a.header.Get("Content-Range"))
		h.tag = a.header.Get("ETag")
		h.modified, _ = http.ParseTime(a.header.Get("Last-Modified"))
		h.begin = make([]byte, min(beginBytes, h.size))
		if _, err := io.ReadFull(a.body, h.begin); err != nil {
			return false, o.connectionError(errShort)
		}
		return true, nil
	})
	if failed, ok := errors.AsType[*failure](err); ok && failed.Status == http.StatusRequestedRangeNotSatisfiable {
		failed.Problem = "an empty file, want a tar file"
	}
	if err != nil {
		return head{}, err
	}
	o.head = h
	if f.cache != nil && o.given {
		f.cache.use(o)
	}
	return h, nil
}

// besideError returns the error of a file beside those that were given. Object stores answer
// 403 for what isn't there to whom may not list the names, which is said.
func (f *FS) besideError(o *object, err error) error {
	failed, ok := errors.AsType[*failure](err)
	if !ok || o.given {
		return err
	}
	switch failed.Status {
	case http.StatusForbidden, http.StatusUnauthorized:
		if failed.expired {
			return err
		}
		f.mu.Lock()
		f.refused[o.name] = true
		f.mu.Unlock()
		fallthrough
	case http.StatusNotFound, http.StatusGone, http.StatusRequestedRangeNotSatisfiable:
		return &fs.PathError{Op: "open", Path: o.name, Err: fs.ErrNotExist}
	}
	return err
}

// Refused returns the names of the files that count as missing since access to them is refused.
func (f *FS) Refused() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for n := range f.refused {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Prime asks for the heads of files, many at once.
func (f *FS) Prime(ctx context.Context, names []string, at func(i int) error) error {
	return each(ctx, len(names), func(ctx context.Context, i int) error {
		o, err := f.object(names[i])
		if err != nil {
			return err
		}
		if _, err := f.look(ctx, o); err != nil {
			return err
		}
		return at(i)
	})
}

// each calls do with 0 to n-1, many at once. It returns the error of the least number that has
// one.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	const many = 32
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		next int
		at   = n
		fail error
	)
	for range min(many, n) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= n || ctx.Err() != nil {
					return
				}
				if err := do(ctx, i); err != nil {
					mu.Lock()
					if i < at && (fail == nil || ctx.Err() == nil) {
						at, fail = i, err
					}
					mu.Unlock()
					cancel()
				}
			}
		})
	}
	wg.Wait()
	if fail == nil {
		return context.Cause(ctx)
	}
	return fail
}

// ReadRange reads the bytes of a file from off on into p.
func (f *FS) ReadRange(ctx context.Context, name string, p []byte, off int64) error {
	o, err := f.object(name)
	if err != nil {
		return err
	}
	h, err := f.look(ctx, o)
	switch {
	case err != nil:
		return f.besideError(o, err)
	case off < 0 || off+int64(len(p)) > h.size:
		return fmt.Errorf("%s: bytes %d to %d of %d: %w", o.address(), off, off+int64(len(p)), h.size, io.ErrUnexpectedEOF)
	case len(p) == 0:
		return nil
	}
	keep := f.cache != nil && o.given
	if keep && f.cache.read(o, p, off) {
		return nil
	}
	if err := f.fetch(ctx, o, p, off); err != nil {
		return err
	}
	if keep {
		f.cache.write(o, p, off)
	}
	return nil
}

// ReadPart is [FS.ReadRange] of a part that isn't kept.
func (f *FS) ReadPart(ctx context.Context, name string, p []byte, off int64) error {
	o, err := f.object(name)
	if err == nil {
		_, err = f.look(ctx, o)
	}
	if err != nil {
		return err
	}
	return f.fetch(ctx, o, p, off)
}

// Forget drops a part that is kept, and turned out to be damaged.
func (f *FS) Forget(name string, off int64) {
	if o, err := f.object(name); err == nil && f.cache != nil && o.given {
		f.cache.forget(o, off)
	}
}

// Rest closes the connections that nobody uses.
func (f *FS) Rest() { f.transport.CloseIdleConnections() }

// maxBeside is the most bytes of a file beside those that were given.
const maxBeside = 1 << 30

// Open implements [fs.FS]. A file whose address was given is an [io.ReaderAt] of its parts; one
// beside it is read whole.
func (f *FS) Open(name string) (fs.File, error) {
	o, err := f.object(name)
	if err != nil {
		return nil, err
	}
	if !o.given {
		data, header, err := f.fetchAll(f.ctx, o, maxBeside)
		if err != nil {
			return nil, f.besideError(o, err)
		}
		modified, _ := http.ParseTime(header.Get("Last-Modified"))
		return &smallFile{bytes.NewReader(data), info{path.Base(name), int64(len(data)), modified}}, nil
	}
	h, err := f.look(f.ctx, o)
	if err != nil {
		return nil, err
	}
	return &file{SectionReader: io.NewSectionReader(&part{f, o, h.begin}, 0, h.size), info: info{path.Base(name), h.size, h.modified}}, nil
}

// Stat implements [fs.StatFS].
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	o, err := f.object(name)
	if err != nil {
		return nil, err
	}
	h, err := f.look(f.ctx, o)
	if err != nil {
		return nil, f.besideError(o, err)
	}
	return info{path.Base(name), h.size, h.modified}, nil
}

// smallFile is a file that is in memory.
type smallFile struct {
	*bytes.Reader
	info info
}

func (s *smallFile) Stat() (fs.FileInfo, error) { return s.info, nil }
func (s *smallFile) Close() error               { return nil }

// file is a file that is read in parts.
type file struct {
	*io.SectionReader
	info info
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

// part reads a file at any place. It keeps nothing but its beginning.
type part struct {
	fs    *FS
	o     *object
	begin []byte
}

// ReadAt implements [io.ReaderAt].
func (r *part) ReadAt(p []byte, off int64) (int, error) {
	if off >= 0 && off+int64(len(p)) <= int64(len(r.begin)) {
		return copy(p, r.begin[off:]), nil
	}
	if err := r.fs.fetch(r.fs.ctx, r.o, p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// info describes a file.
type info struct {
	name string
	size int64
	date time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return 0o444 }
func (i info) ModTime() time.Time { return i.date }
func (i info) IsDir() bool        { return false }
func (i info) Sys() any           { return nil }
