package vggtest

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// Colours of the pictures below.
var (
	Red  = color.RGBA{255, 0, 0, 255}
	Blue = color.RGBA{0, 0, 255, 255}
)

// A Pattern gives the colour of every pixel; it is asked row by row.
type Pattern func(x, y int) color.RGBA

// PNG returns a picture of w×h pixels as a file.
func PNG(w, h int, at Pattern) []byte {
	im := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			im.SetRGBA(x, y, at(x, y))
		}
	}
	var b bytes.Buffer
	if err := encoder.Encode(&b, im); err != nil {
		panic("png: " + err.Error()) // of a side below 1
	}
	return b.Bytes()
}

// A buffer has a compressor, which is far larger than most of the pictures.
var encoder = png.Encoder{BufferPool: new(buffers)}

type buffers struct{ sync.Pool }

func (p *buffers) Get() *png.EncoderBuffer {
	b, _ := p.Pool.Get().(*png.EncoderBuffer)
	return b
}

func (p *buffers) Put(b *png.EncoderBuffer) { p.Pool.Put(b) }

// Plain is one colour.
func Plain(c color.RGBA) Pattern { return func(int, int) color.RGBA { return c } }

// Halves is c on the left of x = at, d on its right.
func Halves(at int, c, d color.RGBA) Pattern {
	return func(x, _ int) color.RGBA {
		if x < at {
			return c
		}
		return d
	}
}

// Noise is a random colour for each pixel, another one for each seed.
func Noise(seed uint64) Pattern {
	rng := rand.New(rand.NewPCG(seed, 0))
	return func(int, int) color.RGBA {
		v := rng.Uint32()
		return color.RGBA{uint8(v), uint8(v >> 8), uint8(v >> 16), 255}
	}
}

// WriteFiles writes files below a folder; their names have slashes.
func WriteFiles(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// Turned returns a JPEG file with an EXIF block that says its orientation, 1 to 8.
func Turned(jpeg []byte, orientation byte) []byte {
	const head, segment = 2, "\xff\xe1\x00\x22Exif\x00\x00" // the start of the image, then APP1 of 34 bytes
	tiff := "II*\x00\x08\x00\x00\x00" +                     // little-endian; the first directory is at byte 8
		"\x01\x00" + "\x12\x01\x03\x00\x01\x00\x00\x00" + string([]byte{orientation}) + "\x00\x00\x00" + // one entry
		"\x00\x00\x00\x00" // no other directory
	return slices.Concat(jpeg[:head], []byte(segment+tiff), jpeg[head:])
}
