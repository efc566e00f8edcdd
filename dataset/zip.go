package dataset

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// zipEncrypted is the flag of an entry that only a password opens.
const zipEncrypted = 1

// zipMethods are the names of the methods of compression that package zip lacks.
var zipMethods = map[uint16]string{
	1: "Shrink", 6: "Implode", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 20: "Zstandard", 93: "Zstandard", 95: "xz", 98: "PPMd", 99: "encrypted by AES",
}

// openZip returns the files of an archive, which stays open.
func openZip(name string, fsys fs.FS, file string) (fs.FS, error) {
	fail := func(err error) (fs.FS, error) { return nil, fmt.Errorf("dataset: %s: ZIP file: %w", name, err) }
	f, err := fsys.Open(file)
	if err != nil {
		return fail(err)
	}
	at, ok := f.(io.ReaderAt)
	info, err := f.Stat()
	if err == nil && !ok {
		err = errors.New("the file system can't read it at any place, as an io.ReaderAt can")
	}
	var files fs.FS
	if err == nil {
		files, err = readZip(at, info.Size())
	}
	if err != nil {
		f.Close()
		return fail(err)
	}
	return files, nil
}

// readZip reads the directory of an archive. It is an error if an entry can't be read at all.
func readZip(at io.ReaderAt, size int64) (fs.FS, error) {
	z, err := zip.NewReader(at, size)
	if errors.Is(err, zip.ErrFormat) {
		return nil, fmt.Errorf("%w: it is cut off, one part of several, or no ZIP file, want it whole", err)
	}
	if err != nil {
		return nil, err
	}
	files := newArchiveFS()
	var locked, unknown []string
	for _, f := range z.File {
		name, ok := entryPath(zipName(f))
		if !ok {
			continue
		}
		if strings.HasSuffix(f.Name, "/") || strings.HasSuffix(f.Name, `\`) || f.FileInfo().IsDir() {
			files.addFolder(name)
			continue
		}
		switch method := zipMethods[f.Method]; {
		case f.Flags&zipEncrypted != 0:
			locked = append(locked, name)
		case f.Method == zip.Store || f.Method == zip.Deflate:
		case method == "":
			unknown = append(unknown, fmt.Sprintf("%s (method %d)", name, f.Method))
		default:
			unknown = append(unknown, fmt.Sprintf("%s (%s)", name, method))
		}
		e := &archiveEntry{name: name, size: int64(min(f.UncompressedSize64, 1<<62)), date: f.Modified, open: f.Open}
		if err := files.add(e, false); err != nil {
			return nil, err
		}
	}
	if len(locked) > 0 {
		return nil, fmt.Errorf("%d entries are encrypted (%s), want it unpacked: unzip it with its password first", len(locked), some(locked))
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%d entries are compressed in a way that can't be read here: %s, want it unpacked first, as by 7z x", len(unknown), some(unknown))
	}
	files.finish()
	return files, nil
}

// zipName returns an entry's name as text: UTF-8 if it says so or is valid, as Macs write it
// without saying so, and else the code page 437 of the format's definition.
func zipName(f *zip.File) string {
	if !f.NonUTF8 || utf8.ValidString(f.Name) {
		return f.Name
	}
	name, err := charmap.CodePage437.NewDecoder().String(f.Name)
	if err != nil {
		return strings.ToValidUTF8(f.Name, "\ufffd")
	}
	return name
}
