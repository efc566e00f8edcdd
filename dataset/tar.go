package dataset

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/verydeep/vgg/internal/wholefile"
)

// tarExts are the ends of the names of tar files, plain and compressed.
var tarExts = []string{shardExt, ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.lzma", ".tar.lz4"}

// isTar reports whether a file has the name of a tar file.
func isTar(name string) bool { return tarExt(name) != "" }

// tarExt returns the end of a name that says that the file is a tar file, "" if none does.
func tarExt(name string) string {
	lower := strings.ToLower(name)
	for _, ext := range tarExts {
		if strings.HasSuffix(lower, ext) {
			return name[len(name)-len(ext):]
		}
	}
	return ""
}

// maxUnpacked is the most bytes of compressed tar files that are held unpacked in memory.
const maxUnpacked = 1 << 30

// packing is a compression of tar files.
type packing struct {
	name    string
	magic   string
	command string // that unpacks the file
	reader  func(io.Reader) (io.Reader, error)
}

var packings = []packing{
	{"gzip", "\x1f\x8b", "tar -xzf", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{"bzip2", "BZh", "tar -xjf", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{"Zstandard", "\x28\xb5\x2f\xfd", "tar --zstd -xf", func(r io.Reader) (io.Reader, error) {
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	}},
	{"xz", "\xfd7zXZ\x00", "tar -xJf", nil},
	{"LZMA", "\x5d\x00\x00", "tar --lzma -xf", nil},
	{"LZ4", "\x04\x22\x4d\x18", "lz4 -dc FILE | tar -x", nil},
}

// packingOf returns the compression of a file by its first bytes, nil if it has none.
func packingOf(head []byte) *packing {
	for i := range packings {
		if bytes.HasPrefix(head, []byte(packings[i].magic)) {
			return &packings[i]
		}
	}
	return nil
}

// unpack says how a user unpacks a file.
func (p *packing) unpack(file string) string {
	base := filepath.Base(file)
	dir := strings.TrimSuffix(base, tarExt(base))
	if p.name == "LZ4" {
		return fmt.Sprintf("mkdir %s && lz4 -dc %s | tar -x -C %s", dir, base, dir)
	}
	return fmt.Sprintf("mkdir %s && %s %s -C %s", dir, p.command, base, dir)
}

// tarFile is a tar file that is read at any place: the file itself, or in memory what a
// compressed one unpacks to.
type tarFile struct {
	io.ReaderAt
	size     int64
	unpacked bool // in memory
}

// close closes the file. What is in memory needs none.
func (t *tarFile) close() {
	if c, ok := t.ReaderAt.(io.Closer); ok {
		c.Close()
	}
}

// openTar opens a tar file, which stays open. A compressed one is unpacked into memory, as it
// can't be read at any place otherwise; s.unpacked counts its bytes.
func openTar(s *search, fsys fs.FS, file string) (*tarFile, error) {
	f, err := fsys.Open(file)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = wholefile.Regular(info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	head := make([]byte, 8)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		f.Close()
		return nil, err
	}
	if p := packingOf(head[:n]); p != nil {
		defer f.Close()
		return s.unpack(p, file, io.MultiReader(bytes.NewReader(head[:n]), f))
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		f.Close()
		return nil, errors.New("an archive within an archive can't be read, want it unpacked")
	}
	return &tarFile{ReaderAt: at, size: info.Size()}, nil
}

// unpack reads a compressed tar file into memory.
func (s *search) unpack(p *packing, file string, from io.Reader) (*tarFile, error) {
	if p.reader == nil {
		return nil, fmt.Errorf("compressed by %s, want it unpacked: %s", p.name, p.unpack(file))
	}
	r, err := p.reader(from)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, unexpectedEnd(err))
	}
	if z, ok := r.(*zstd.Decoder); ok {
		defer z.Close()
	}
	left := maxUnpacked - s.unpacked
	data, err := wholefile.ReadAll(s.ctx, r, 0, left)
	if _, ok := errors.AsType[*wholefile.SizeError](err); ok {
		return nil, fmt.Errorf("more than %d bytes of compressed archives, which are held in memory; want it unpacked: %s", int64(maxUnpacked), p.unpack(file))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, unexpectedEnd(err))
	}
	s.unpacked += int64(len(data))
	return &tarFile{ReaderAt: bytes.NewReader(data), size: int64(len(data)), unpacked: true}, nil
}

// tarEntry is an entry of a tar file.
type tarEntry struct {
	*tar.Header
	offset int64 // of its data
}

// entries gives take every entry of a tar file. Sizes are checked against that of the file.
func (t *tarFile) entries(s *search, take func(tarEntry, io.Reader) error) error {
	section := io.NewSectionReader(t, 0, t.size)
	r := tar.NewReader(section)
	for {
		if err := s.err(); err != nil {
			return err
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("tar file: %w", err)
		}
		offset, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg && (h.Size < 0 || h.Size > t.size-offset) {
			return fmt.Errorf("%s: %d bytes, of which the archive has %d: it is cut off", h.Name, h.Size, t.size-offset)
		}
		if err := take(tarEntry{h, offset}, r); err != nil {
			return err
		}
	}
}

// maxNested is how deep tar files lie in each other, as ILSVRC's training images do.
const maxNested = 2

// tarTree returns the files of a tar file. Tar files in it are folders of their names.
func tarTree(s *search, t *tarFile) (fs.FS, error) {
	files := newArchiveFS()
	links := map[string]string{}
	if err := t.grow(s, files, links, "", 0); err != nil {
		return nil, err
	}
	for name, target := range links {
		if e := files.files[target]; e != nil && files.files[name] == nil {
			linked := *e
			linked.name = name
			if err := files.add(&linked, true); err != nil {
				return nil, err
			}
		}
	}
	files.finish()
	return files, nil
}

// grow adds the entries of a tar file to files, below a folder.
func (t *tarFile) grow(s *search, files *archiveFS, links map[string]string, dir string, depth int) error {
	return t.entries(s, func(h tarEntry, _ io.Reader) error {
		name, ok := entryPath(path.Join(dir, path.Clean("/"+strings.ReplaceAll(h.Name, `\`, "/"))))
		if !ok {
			return nil
		}
		section := func() *io.SectionReader { return io.NewSectionReader(t, h.offset, h.Size) }
		switch h.Typeflag {
		case tar.TypeDir:
			files.addFolder(name)
			return nil
		case tar.TypeLink:
			links[name], _ = entryPath(path.Join(dir, h.Linkname))
			return nil
		case tar.TypeSymlink:
			links[name], _ = entryPath(path.Join(path.Dir(name), h.Linkname))
			return nil
		case tar.TypeReg:
		case tar.TypeGNUSparse:
			return sparse(h.Name)
		default:
			return nil
		}
		for key := range h.PAXRecords {
			if strings.HasPrefix(key, "GNU.sparse.") {
				return sparse(h.Name)
			}
		}
		if strings.EqualFold(path.Ext(name), shardExt) && depth < maxNested {
			inner := &tarFile{ReaderAt: section(), size: h.Size, unpacked: t.unpacked}
			if err := inner.grow(s, files, links, strings.TrimSuffix(name, path.Ext(name)), depth+1); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		}
		return files.add(&archiveEntry{name: name, size: h.Size, date: h.ModTime, open: func() (io.ReadCloser, error) {
			return io.NopCloser(section()), nil
		}}, true)
	})
}

func sparse(name string) error {
	return fmt.Errorf("%s: a sparse file, want the archive made without --sparse", name)
}
