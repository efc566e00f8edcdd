package weights

import (
	"archive/zip"
	"bytes"
	"cmp"
	"io"
	"slices"
	"strings"
	"sync"
)

// isZip reports whether a file that begins with head is a zip file.
func isZip(head []byte) bool { return bytes.HasPrefix(head, []byte("PK\x03\x04")) }

// zipHolds reports whether a zip file has a member of the kind that is looks for. A file
// that lacks its directory is truncated; then the name of its first member counts.
func zipHolds(head []byte, r io.ReaderAt, size int64, is func(name string) bool) bool {
	const nameAt = 30
	if !isZip(head) {
		return false
	}
	z, err := zip.NewReader(r, size)
	if err != nil {
		if len(head) < nameAt {
			return false
		}
		n := int(head[26]) | int(head[27])<<8
		return is(string(head[nameAt:min(nameAt+n, len(head))]))
	}
	return slices.ContainsFunc(z.File, func(f *zip.File) bool { return is(f.Name) })
}

// member is a file in a zip file. Its content, compressed or not, is bytes [begin, end) of
// the zip file.
type member struct {
	*zip.File
	begin, end int64
}

// zipMembers reads the directory of a zip file, and its comment. It is an error if members
// overlap or end past the file's end, so that only compression can make the content larger
// than the file.
func zipMembers(r io.ReaderAt, size int64) (members map[string]member, comment string, err error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		if err == zip.ErrFormat {
			return nil, "", malformed("", "truncated or damaged: want a zip file's directory at its end")
		}
		return nil, "", malformed("", "%s", err)
	}
	members = make(map[string]member, len(z.File))
	all := make([]member, 0, len(z.File))
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		at, err := f.DataOffset()
		switch {
		case err != nil:
			return nil, "", malformed("", "member %s: %v", display(f.Name), err)
		case leavesFolder(f.Name):
			return nil, "", malformed("", "member %s is a path out of the file", display(f.Name))
		case f.Flags&1 != 0:
			return nil, "", malformed("", "member %s is encrypted", display(f.Name))
		case f.Method != zip.Store && f.Method != zip.Deflate:
			return nil, "", malformed("", "member %s: compression method %d, want stored or deflated", display(f.Name), f.Method)
		case at < 0 || at > size || f.CompressedSize64 > uint64(size-at):
			return nil, "", malformed("", "member %s: %d bytes from %d on, but the file has %d", display(f.Name), f.CompressedSize64, at, size)
		case f.Method == zip.Store && f.CompressedSize64 != f.UncompressedSize64:
			return nil, "", malformed("", "member %s: stored, but of %d and %d bytes", display(f.Name), f.CompressedSize64, f.UncompressedSize64)
		}
		if _, ok := members[f.Name]; ok {
			return nil, "", malformed("", "member %s: name given twice", display(f.Name))
		}
		m := member{f, at, at + int64(f.CompressedSize64)}
		members[f.Name] = m
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	for i := range all {
		if i > 0 && all[i].begin < all[i-1].end {
			return nil, "", malformed("", "member %s begins at %d, inside %s, which ends at %d",
				display(all[i].Name), all[i].begin, display(all[i-1].Name), all[i-1].end)
		}
	}
	return members, z.Comment, nil
}

// leavesFolder reports whether a member's name is a path out of the folder that a zip file
// is unpacked into.
func leavesFolder(name string) bool {
	return strings.HasPrefix(name, "/") || slices.Contains(strings.Split(strings.ReplaceAll(name, `\`, "/"), "/"), "..")
}

// inflater reads a compressed member at any offset. Reading forwards continues where the
// last read ended, reading backwards starts again. It keeps no decompressed data.
type inflater struct {
	*zip.File

	mu sync.Mutex
	r  io.ReadCloser // nil before the first read and after the last byte
	at int64
}

func (f *inflater) ReadAt(b []byte, at int64) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.r != nil && at < f.at {
		f.close()
	}
	if f.r == nil {
		if f.r, err = f.Open(); err != nil {
			return 0, err
		}
		f.at = 0
	}
	skipped, err := io.CopyN(io.Discard, f.r, at-f.at)
	f.at += skipped
	if err == nil {
		n, err = io.ReadFull(f.r, b)
		f.at += int64(n)
	}
	if err == nil && f.at == int64(f.UncompressedSize64) {
		// The read that reaches the end checks the checksum.
		if _, err = f.r.Read(make([]byte, 1)); err == io.EOF {
			err = nil
		} else if err != nil {
			n = 0 // io.ReaderAt's callers ignore the error of a full read
		}
		f.close()
	} else if err != nil {
		f.close()
	}
	return n, err
}

func (f *inflater) close() {
	f.r.Close()
	f.r = nil
}
