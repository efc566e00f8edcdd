package preprocess

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func readTestFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "decode", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestDecodeRefusesOtherData(t *testing.T) {
	for _, c := range []struct{ found, data string }{
		{"empty", ""},
		{"text", "this is no photograph\n"},
		{"text", strings.Repeat("a longer text, cut in the middle of a letter: é", 100)},
		{"HTML", "<!DOCTYPE html><html><body>404 not found</body></html>"},
		{"SVG", "<svg xmlns='http://www.w3.org/2000/svg'/>"},
		{"Git LFS pointer", "version https://git-lfs.github.com/spec/v1\n"},
		{"zeros", strings.Repeat("\x00", 1000)},
		{"PDF", "%PDF-1.7\n"},
		{"JPEG XL", "\xff\x0a\x00"},
		{"JPEG 2000", "\x00\x00\x00\x0cjP  \r\n\x87\n\x00"},
		{"AVIF", "\x00\x00\x00\x18ftypavif\x00\x00\x00\x00"},
		{"SVG", "<?xml version='1.0'?>\n<!-- drawn --><svg/>"},
		{"camera raw (CR2)", "II*\x00\x10\x00\x00\x00CR\x02\x00\x00"},
		{"camera raw (CR3)", "\x00\x00\x00\x18ftypcrx \x00"},
		{"Windows icon", "\x00\x00\x01\x00\x01"},
		{"BigTIFF", "II+\x00\x08\x00"},
		{"PAM", "P7\nWIDTH 1\n"},
		{"DICOM", strings.Repeat("\x00", 128) + "DICM\x02\x00"},
		{"HEIC", "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00"},
		{"HEIC", "\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic"},
		{"AVIF", "\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1avif"},
		{"zip archive", "PK\x03\x04\x00"},
		{"NumPy array", "\x93NUMPY\x01\x00v\x00"},
		{"unknown data", "\x00\x01\x02\x03"},
	} {
		t.Run(c.found, func(t *testing.T) {
			_, err := Decode([]byte(c.data), DecodeOptions{})
			var format *FormatError
			if !errors.As(err, &format) || format.Found != c.found {
				t.Fatalf("error %v, want a FormatError that found %s", err, c.found)
			}
			want := "preprocess: image: " + c.found + ", want JPEG, PNG, GIF, WebP, BMP, TIFF or PNM"
			if advice := adviceFor(c.found); advice != "" {
				want += ": " + advice
			}
			if err.Error() != want {
				t.Errorf("error %q, want %q", err, want)
			}
		})
	}
}

// A truncated file is an error, unless only what follows the pixels is missing:
// GIF's trailer or WebP's metadata.
func TestDecodeRefusesTruncatedFiles(t *testing.T) {
	for name, spare := range map[string]int{
		"420.jpg": 0, "progressive.jpg": 0, "grey.jpg": 0, "cmyk.jpg": 0,
		"rgb.png": 0, "p.png": 0, "rgb16.png": 0,
		"p.gif": 3, "rgb.bmp": 2, "p.bmp": 3, "lossless.webp": 1, "lossy.webp": 1, "lossy-alpha.webp": 1,
	} {
		t.Run(name, func(t *testing.T) {
			data := readTestFile(t, name)
			for _, n := range cuts(len(data) - spare) {
				im, err := Decode(data[:n], DecodeOptions{Orient: Upright})
				if err == nil {
					t.Fatalf("%d of %d bytes: an image of %d×%d, want an error", n, len(data), im.W, im.H)
				}
				if im != nil {
					t.Fatalf("%d of %d bytes: an image and the error %v", n, len(data), err)
				}
				if !strings.HasPrefix(err.Error(), "preprocess: ") {
					t.Fatalf("%d of %d bytes: error %q, want the package's name first", n, len(data), err)
				}
			}
		})
	}
}

func cuts(size int) []int {
	var at []int
	for n := 0; n < size; n += 1 + n/16 {
		at = append(at, n)
	}
	return append(at, size-1)
}

// Damage may go unnoticed, but a damaged file gives an error or an image of the
// header's size, never a panic.
func TestDecodeSurvivesDamage(t *testing.T) {
	files, err := filepath.Glob("testdata/decode/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		for i := range 12 {
			damaged := bytes.Clone(data)
			at := (2*i + 1) * len(data) / 24
			for j := at; j < min(at+8, len(data)); j++ {
				damaged[j] ^= 0xa5
			}
			im, err := Decode(damaged, DecodeOptions{Orient: Upright, MaxPixels: 1 << 20})
			if err != nil {
				failed++
			} else if im.validate() != nil {
				t.Errorf("%s, byte %d: %v", file, at, im.validate())
			}
		}
		if filepath.Ext(file) == ".png" && failed == 0 {
			t.Errorf("%s: no damage was noticed, want its check sums to fail", file)
		}
	}
}

func TestDecodeRefusesBombsByHeader(t *testing.T) {
	const side = 60000
	patch := func(name string, at int, order binary.AppendByteOrder) []byte {
		data := readTestFile(t, name)
		return slices.Concat(data[:at], order.AppendUint32(order.AppendUint32(nil, side), side), data[at+8:])
	}
	pngBomb := patch("rgb.png", 16, binary.BigEndian)
	pngBomb = pngBomb[:33]
	binary.BigEndian.PutUint32(pngBomb[29:], crcPNG(pngBomb[12:29]))
	gifBomb := readTestFile(t, "p.gif")
	binary.LittleEndian.PutUint16(gifBomb[6:], side)
	binary.LittleEndian.PutUint16(gifBomb[8:], side)
	jpegBomb := readTestFile(t, "420.jpg")
	frame := bytes.Index(jpegBomb, []byte{0xff, 0xc0})
	binary.BigEndian.PutUint16(jpegBomb[frame+5:], side)
	binary.BigEndian.PutUint16(jpegBomb[frame+7:], side)
	for _, c := range []struct {
		format string
		data   []byte
	}{
		{"PNG", pngBomb}, {"BMP", patch("rgb.bmp", 18, binary.LittleEndian)}, {"GIF", gifBomb}, {"JPEG", jpegBomb},
	} {
		_, err := Decode(c.data, DecodeOptions{})
		want := fmt.Sprintf("preprocess: %s image of %d×%d pixels, want at most %d in all", c.format, side, side, DefaultMaxPixels)
		if err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", c.format, err, want)
		}
		var size *SizeError
		if !errors.As(err, &size) || size.W != side || size.H != side {
			t.Errorf("%s: error %v, want a SizeError", c.format, err)
		}
	}

	webp := readTestFile(t, "lossy.webp") // 37×29
	if _, err := Decode(webp, DecodeOptions{MaxPixels: 37*29 - 1}); err == nil {
		t.Error("a WebP one pixel over the limit: no error")
	}
	if _, err := Decode(webp, DecodeOptions{MaxPixels: 37 * 29}); err != nil {
		t.Errorf("a WebP of exactly the limit: %v", err)
	}
}

func crcPNG(b []byte) uint32 {
	crc := ^uint32(0)
	for _, v := range b {
		crc ^= uint32(v)
		for range 8 {
			crc = crc>>1 ^ 0xedb88320&-(crc&1)
		}
	}
	return ^crc
}

func TestDecodeExtremeSizes(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {1, 20000}, {20000, 1}} {
		m := image.NewGray(image.Rect(0, 0, size[0], size[1]))
		m.Pix[len(m.Pix)-1] = 77
		var b bytes.Buffer
		if err := png.Encode(&b, m); err != nil {
			t.Fatal(err)
		}
		im, err := Decode(b.Bytes(), DecodeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if im.W != size[0] || im.H != size[1] || im.Pix[len(im.Pix)-1] != 77 {
			t.Errorf("%d×%d, last level %d, want %v and 77", im.W, im.H, im.Pix[len(im.Pix)-1], size)
		}
	}
}

// The EXIF of a JPEG begins at byte 6 with a TIFF header. Broken EXIF is ignored.
func TestBrokenEXIFIsIgnored(t *testing.T) {
	upright := readImage(t, "decode/orientation1.jpg", DecodeOptions{})
	data := readTestFile(t, "orientation6.jpg")
	at := bytes.Index(data, []byte("Exif\x00\x00"))
	if at < 0 {
		t.Fatal("no EXIF in the test file")
	}
	for i := range 26 {
		broken := bytes.Clone(data)
		for j := i; j < 26; j++ {
			broken[at+6+j] = 0xff
		}
		im, err := Decode(broken, DecodeOptions{Orient: Upright})
		if err != nil {
			t.Fatalf("broken from byte %d: %v", i, err)
		}
		if i < 18 && (im.W != upright.W || im.H != upright.H) {
			t.Errorf("broken from byte %d: %d×%d, want it as stored, %d×%d", i, im.W, im.H, upright.W, upright.H)
		}
	}
	if im := readImage(t, "decode/orientation6.jpg", DecodeOptions{}); im.W != upright.W {
		t.Error("turned without being asked")
	}
}

func TestGIFKeepsTransparentColour(t *testing.T) {
	pal := color.Palette{color.RGBA{1, 2, 3, 255}, color.RGBA{}, color.RGBA{200, 100, 50, 255}}
	frame := image.NewPaletted(image.Rect(1, 0, 3, 2), pal)
	copy(frame.Pix, []uint8{0, 2, 1, 2})
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, &gif.GIF{
		Image: []*image.Paletted{frame}, Delay: []int{0},
		Config: image.Config{ColorModel: pal, Width: 4, Height: 2},
	}); err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()
	// The encoder wrote the transparent colour as black; give it another.
	copy(data[13+3:], []uint8{90, 91, 92})
	im, err := Decode(data, DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := []uint8{
		90, 91, 92, 1, 2, 3, 200, 100, 50, 90, 91, 92,
		90, 91, 92, 90, 91, 92, 200, 100, 50, 90, 91, 92,
	}
	if !bytes.Equal(im.Pix, want) {
		t.Errorf("pixels %v, want %v", im.Pix, want)
	}
}

func TestConvertHonoursSubImages(t *testing.T) {
	r := image.Rect(3, 2, 10, 9)
	full := image.Rect(0, 0, 16, 12)
	for _, m := range []interface {
		image.Image
		SubImage(image.Rectangle) image.Image
	}{
		image.NewGray(full), image.NewNRGBA(full), image.NewRGBA64(full), image.NewCMYK(full),
		image.NewPaletted(full, color.Palette{color.Black, color.White}),
		image.NewYCbCr(full, image.YCbCrSubsampleRatio444),
	} {
		switch p := m.(type) {
		case *image.Gray:
			fill(p.Pix)
		case *image.NRGBA:
			fill(p.Pix)
		case *image.RGBA64:
			fill(p.Pix)
		case *image.CMYK:
			fill(p.Pix)
		case *image.Paletted:
			fill(p.Pix)
			for i := range p.Pix {
				p.Pix[i] &= 1
			}
		case *image.YCbCr:
			fill(p.Y)
			fill(p.Cb)
			fill(p.Cr)
		}
		whole, err := convert(m, jfif)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Crop(whole, r.Min.X, r.Min.Y, r.Max.X, r.Max.Y)
		if err != nil {
			t.Fatal(err)
		}
		got, err := convert(m.SubImage(r), jfif)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Pix, want.Pix) {
			t.Errorf("%T: a sub-image differs from the same region of the image", m)
		}
	}
	if _, err := convert(image.NewAlpha(full), jfif); err == nil {
		t.Error("an alpha mask: no error")
	}
	if _, err := convert(image.NewGray(image.Rectangle{}), jfif); err == nil {
		t.Error("an empty image: no error")
	}
}

func fill(p []uint8) {
	for i := range p {
		p[i] = uint8(i*i*31 + i*7)
	}
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	files = slices.DeleteFunc(files, func(file string) bool { return strings.HasSuffix(file, ".want.png") })
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Add([]byte("GIF89a"))
	f.Add([]byte("text"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 18
		im, err := Decode(data, DecodeOptions{Orient: Upright, MaxPixels: limit})
		if (im == nil) == (err == nil) {
			t.Fatalf("image %v and error %v, want one of them", im, err)
		}
		if err == nil && (im.validate() != nil || im.W*im.H > limit) {
			t.Fatalf("%d×%d pixels in %d bytes, want at most %d pixels", im.W, im.H, len(im.Pix), limit)
		}
	})
}
