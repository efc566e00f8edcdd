package dataset

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"path"
	"time"

	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
)

// Picture is a sample of a dataset that is in memory. Exactly one of Image,
// Encoded and Load is set.
type Picture struct {
	// Image is a decoded picture, the way up that it is: it has no EXIF data. It must not change
	// while the dataset is used.
	Image image.Image
	// Encoded is an image file that preprocess.Decode reads. It is decoded
	// whenever it is used, and must not change either.
	Encoded []byte
	// Load makes the picture whenever it is used: it reads a database, draws, or
	// decodes a format of the caller's own. It must return the same pixels each
	// time. Several goroutines call it at once. An error makes the image bad.
	Load func() (image.Image, error)

	Label int // index into the classes
	// Labels, unless nil, are all the classes that the picture shows, perhaps none; Label
	// is then not used. All pictures of a dataset have such a list, or none has.
	Labels []int
	Name   string // slash-separated path, used in errors; "": its number, such as 000042.bmp
	Boxes  []Box  // bounding boxes of objects, if there are any
}

// FromPictures returns a dataset of pictures in memory, in their order. It does
// what an opened dataset does: it can be split, surveyed, trained and evaluated on,
// and written as shards. name is used in errors and reports.
//
// The fingerprint by which a resumed run recognises its images covers the contents:
// the encoded bytes, or the pixels. To compute it, Load is called once for every
// picture that has one.
//
// It is an error if a label is not the index of a class, if only some pictures have a
// list of Labels, if a name is given twice
// or is not a path that [fs.FS] takes, and if not exactly one of Image, Encoded and
// Load is set.
func FromPictures(name string, classes []string, pictures []Picture) (*Dataset, error) {
	m := &memoryFS{pictures: make(map[string]*Picture, len(pictures))}
	samples := make([]Sample, len(pictures))
	for i := range pictures {
		p := pictures[i]
		if p.Name == "" {
			p.Name = fmt.Sprintf("%06d%s", i, p.extension())
		}
		set := 0
		for _, is := range []bool{p.Image != nil, p.Encoded != nil, p.Load != nil} {
			if is {
				set++
			}
		}
		if set != 1 {
			return nil, fmt.Errorf("dataset: %s: %s: %d of Image, Encoded and Load set, want one", name, p.Name, set)
		}
		if m.pictures[p.Name] != nil {
			return nil, fmt.Errorf("dataset: %s: %s: the name is given twice", name, p.Name)
		}
		m.pictures[p.Name] = &p
		samples[i] = Sample{Name: p.Name, Label: p.Label, Labels: p.Labels, Boxes: p.Boxes}
		if p.Labels != nil {
			samples[i].Label = 0
		}
	}
	return New(name, m, classes, samples)
}

// extension returns the extension of the picture's file.
func (p *Picture) extension() string {
	for _, format := range []struct{ magic, extension string }{{"\xff\xd8", ".jpg"}, {"\x89PNG", ".png"}, {"GIF8", ".gif"}, {"RIFF", ".webp"}} {
		if bytes.HasPrefix(p.Encoded, []byte(format.magic)) {
			return format.extension
		}
	}
	return ".bmp"
}

// memoryFS has pictures as the files of an [fs.FS]: encoded ones as they are, others as
// BMP, which loses nothing.
type memoryFS struct{ pictures map[string]*Picture }

func (m *memoryFS) find(op, name string) (*Picture, error) {
	p, ok := m.pictures[name]
	if !ok {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return p, nil
}

// decode decodes a picture, or converts it.
func (m *memoryFS) decode(ctx context.Context, name string, o DecodeOptions, room *resources.Room) (Decoded, error) {
	p, err := m.find("open", name)
	if err != nil {
		return Decoded{}, err
	}
	if p.Encoded != nil {
		return decodeFile(ctx, p.Encoded, o, room)
	}
	im, err := p.pixels()
	if err == nil && o.MaxPixels > 0 && im.H > o.MaxPixels/im.W {
		return Decoded{}, &preprocess.SizeError{What: "image of", W: im.W, H: im.H, Limit: o.MaxPixels}
	}
	return Decoded{Image: im}, err
}

// pixels converts a picture that isn't encoded.
func (p *Picture) pixels() (*preprocess.Image, error) {
	m := p.Image
	if p.Load != nil {
		var err error
		if m, err = p.Load(); err != nil {
			return nil, err
		}
		if m == nil {
			return nil, errors.New("no picture and no error from Load")
		}
	}
	return preprocess.FromImage(m)
}

// ReadFile implements [fs.ReadFileFS].
func (m *memoryFS) ReadFile(name string) ([]byte, error) {
	p, err := m.find("open", name)
	if err != nil {
		return nil, err
	}
	if p.Encoded != nil {
		return bytes.Clone(p.Encoded), nil
	}
	im, err := p.pixels()
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return encodeBMP(im), nil
}

// Open implements [fs.FS].
func (m *memoryFS) Open(name string) (fs.File, error) {
	data, err := m.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return &memoryFile{bytes.NewReader(data), newMemoryInfo(name, data)}, nil
}

// Stat implements [fs.StatFS].
func (m *memoryFS) Stat(name string) (fs.FileInfo, error) {
	data, err := m.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return newMemoryInfo(name, data), nil
}

type memoryFile struct {
	*bytes.Reader
	info memoryInfo
}

func (f *memoryFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *memoryFile) Close() error               { return nil }

// memoryInfo describes a picture by its contents, as it has no date.
type memoryInfo struct {
	name string
	size int64
	sum  contentHash
}

// contentHash is the SHA-256 of a file, which a fingerprint includes where it is known.
type contentHash [sha256.Size]byte

func newMemoryInfo(name string, data []byte) memoryInfo {
	return memoryInfo{path.Base(name), int64(len(data)), sha256.Sum256(data)}
}

func (i memoryInfo) Name() string       { return i.name }
func (i memoryInfo) Size() int64        { return i.size }
func (i memoryInfo) Mode() fs.FileMode  { return 0o444 }
func (i memoryInfo) ModTime() time.Time { return time.Time{} }
func (i memoryInfo) IsDir() bool        { return false }
func (i memoryInfo) Sys() any           { return i.sum }

// encodeBMP writes an image as an uncompressed bitmap of 24 bits a pixel: rows from
// bottom to top, each padded to a multiple of four bytes, pixels as blue, green, red.
func encodeBMP(im *preprocess.Image) []byte {
	const fileHeader, infoHeader = 14, 40
	stride := (3*im.W + 3) &^ 3
	b := make([]byte, 0, fileHeader+infoHeader+stride*im.H)
	le := binary.LittleEndian
	b = append(b, 'B', 'M')
	b = le.AppendUint32(b, uint32(cap(b)))
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, fileHeader+infoHeader)
	b = le.AppendUint32(b, infoHeader)
	b = le.AppendUint32(b, uint32(im.W))
	b = le.AppendUint32(b, uint32(im.H))
	b = le.AppendUint16(b, 1)  // planes
	b = le.AppendUint16(b, 24) // bits a pixel
	b = append(b, make([]byte, infoHeader-16)...)
	for y := im.H - 1; y >= 0; y-- {
		row := im.Pix[3*y*im.W : 3*(y+1)*im.W]
		for x := 0; x < len(row); x += 3 {
			b = append(b, row[x+2], row[x+1], row[x])
		}
		b = append(b, make([]byte, stride-len(row))...)
	}
	return b
}
