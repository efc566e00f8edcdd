package preprocess

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// formatCase is an image file and the pixels that PIL, or OpenCV for 16-bit grey levels,
// finds in it.
type formatCase struct {
	File, SHA256, Want string
	PIL                string // hash of PIL's pixels, where they are others
	W, H               int
	Orient, Grey16     bool
	Grey               int // greatest grey level of more than 8 bits
}

func formatCases(t *testing.T) (read []formatCase, refused []struct{ File, Found string }) {
	t.Helper()
	var all struct {
		Read    []formatCase
		Refused []struct{ File, Found string }
	}
	readJSON(t, "formats.json", &all)
	if len(all.Read) < 70 || len(all.Refused) < 12 {
		t.Fatalf("%d files to read and %d to refuse, want at least 70 and 12", len(all.Read), len(all.Refused))
	}
	return all.Read, all.Refused
}

func TestFormatsEqualPIL(t *testing.T) {
	read, _ := formatCases(t)
	for _, c := range read {
		t.Run(c.File, func(t *testing.T) {
			var o DecodeOptions
			if c.Orient {
				o.Orient = Upright
			}
			got := readImage(t, "formats/"+c.File, o)
			if got.W != c.W || got.H != c.H {
				t.Fatalf("%d×%d pixels, want %d×%d", got.W, got.H, c.W, c.H)
			}
			if c.Want != "" {
				const mostAllowed, meanAllowed = 4, 0.5 // another inverse DCT, before CMYK multiplies
				if most, mean := difference(t, got, readImage(t, "formats/"+c.Want, DecodeOptions{})); most > mostAllowed || mean > meanAllowed {
					t.Errorf("differs from PIL by up to %d grey levels, %.4f on average, want at most %d and %.1f", most, mean, mostAllowed, meanAllowed)
				}
				return
			}
			sum := sha256.Sum256(got.Pix)
			if hash := hex.EncodeToString(sum[:]); hash != c.SHA256 {
				t.Errorf("other pixels than PIL's: %v …", got.Pix[:12])
			}
			data, err := os.ReadFile(filepath.Join("testdata", "formats", c.File))
			if err != nil {
				t.Fatal(err)
			}
			h, err := ReadHeader(data)
			if grey := c.Grey16 || c.Grey > 255; err != nil || h.Grey16 != grey {
				t.Errorf("header: 16-bit grey levels %v, %v, want %v", h.Grey16, err, grey)
			}
			if c.Grey16 && c.PIL == c.SHA256 {
				t.Error("PIL has the same pixels as OpenCV, want a file that shows how they differ")
			}
		})
	}
}

func TestFormatsRefused(t *testing.T) {
	_, refused := formatCases(t)
	for _, c := range refused {
		data, err := os.ReadFile(filepath.Join("testdata", "formats", c.File))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Decode(data, DecodeOptions{})
		if err == nil || !strings.Contains(err.Error(), c.Found) || !strings.Contains(err.Error(), " IN") {
			t.Errorf("%s: error %v, want %s and how it is converted", c.File, err, c.Found)
		}
	}
}

// Kinds of JPEG that aren't read, by their frame's marker.
func TestJPEGKindsRefused(t *testing.T) {
	for kind, change := range map[string]func(frame []byte){
		"lossless":              func(f []byte) { f[1] = 0xc3 },
		"arithmetic-coded":      func(f []byte) { f[1] = 0xc9 },
		"hierarchical":          func(f []byte) { f[1] = 0xc5 },
		"12 bits a channel":     func(f []byte) { f[4] = 12 },
		"subsampling ratio":     func(f []byte) { f[11] = 0x43 },
		"want at least 1×1":     func(f []byte) { f[7], f[8] = 0, 0 },
		"want JPEG, PNG":        nil,
		"short Huffman data":    func(f []byte) {},
		"malformed|unsupported": func(f []byte) { f[1] = 0xfe },
	} {
		data := readTestFile(t, "444.jpg")
		at := bytes.Index(data, []byte{0xff, 0xc0})
		switch kind {
		case "want JPEG, PNG":
			data[3] = 0xf7 // JPEG-LS
		case "short Huffman data":
			data = data[:len(data)/2]
		default:
			change(data[at:])
		}
		_, err := Decode(data, DecodeOptions{})
		found := false
		for _, k := range strings.Split(kind, "|") {
			found = found || err != nil && strings.Contains(err.Error(), k)
		}
		if !found && kind != "malformed|unsupported" || err == nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// progressive returns a progressive JPEG of side×side grey pixels with so many scans, of which
// all but the first refine nothing.
func progressive(side, scans int) []byte {
	data := []byte{0xff, 0xd8}
	segment := func(marker byte, body ...byte) {
		data = append(data, 0xff, marker)
		data = binary.BigEndian.AppendUint16(data, uint16(2+len(body)))
		data = append(data, body...)
	}
	segment(0xdb, slices.Concat([]byte{0}, bytes.Repeat([]byte{1}, 64))...)
	segment(0xc2, 8, byte(side>>8), byte(side), byte(side>>8), byte(side), 1, 1, 0x11, 0)
	code := func(class, value byte) { // one code word: 0
		segment(0xc4, slices.Concat([]byte{class, 1}, make([]byte, 15), []byte{value})...)
	}
	code(0x00, 0)
	code(0x10, 0xe0) // 2^14 blocks and as many as the 14 bits after it say
	blocks := (side / 8) * (side / 8)
	segment(0xda, 1, 1, 0, 0, 0, 0)
	data = append(data, make([]byte, (blocks+7)/8)...)
	for range scans - 1 {
		segment(0xda, 1, 1, 0, 1, 63, 0)
		bits := ""
		for left := blocks; left > 0; left -= 1<<15 - 1 {
			bits += "0" + strings.Repeat("1", 14)
		}
		for ; bits != ""; bits = bits[min(8, len(bits)):] {
			b, _ := strconv.ParseUint((bits + "11111111")[:8], 2, 8)
			if data = append(data, byte(b)); b == 0xff {
				data = append(data, 0)
			}
		}
	}
	return append(data, 0xff, 0xd9)
}

// A progressive JPEG with thousands of scans takes minutes to decode, of few bytes.
func TestJPEGScans(t *testing.T) {
	if im, err := Decode(progressive(64, maxScans), DecodeOptions{}); err != nil || im.W != 64 {
		t.Errorf("%d scans: %v", maxScans, err)
	}
	start := time.Now()
	_, err := Decode(progressive(8000, 5000), DecodeOptions{})
	if err == nil || !strings.Contains(err.Error(), "5000 scans, want at most 500") {
		t.Errorf("5000 scans: %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("refused after %v", took)
	}
}

// Decoding ends with the cause of its context, and soon.
func TestDecodeIsCancelled(t *testing.T) {
	cause := errors.New("signal")
	slow := progressive(4000, maxScans)
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	start := time.Now()
	if _, err := DecodeContext(ctx, slow, DecodeOptions{}); !errors.Is(err, cause) {
		t.Errorf("error %v, want the cause", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("cancelled after %v", took)
	}
	for _, name := range []string{"decode/420.jpg", "decode/rgb.png", "decode/p.gif", "decode/lossy.webp", "decode/rgb.bmp", "formats/tiles.tif", "formats/p6.ppm", "formats/p3-3.ppm"} {
		data, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeContext(ctx, data, DecodeOptions{}); !errors.Is(err, cause) {
			t.Errorf("%s: error %v, want the cause", name, err)
		}
	}
}

// What the header says of the memory holds for every file that the tests have.
func TestHeaderDecodeBytes(t *testing.T) {
	files := 0
	for _, folder := range []string{"decode", "formats"} {
		entries, err := os.ReadDir(filepath.Join("testdata", folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			data, err := os.ReadFile(filepath.Join("testdata", folder, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			h, err := ReadHeader(data)
			if err != nil {
				continue
			}
			files++
			if least := int64(rgb * h.W * h.H); h.DecodeBytes < least || h.DecodeBytes > 40*least+1<<16 {
				t.Errorf("%s: %d×%d pixels take %d bytes", e.Name(), h.W, h.H, h.DecodeBytes)
			}
		}
	}
	if files < 100 {
		t.Errorf("%d files with a header", files)
	}
	var before, after runtime.MemStats
	for name, data := range map[string][]byte{"progressive": progressive(4000, 3)} {
		h, err := ReadHeader(data)
		if err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&before)
		if _, err := Decode(data, DecodeOptions{}); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if taken := int64(after.TotalAlloc - before.TotalAlloc); taken > h.DecodeBytes+1<<20 || taken < h.DecodeBytes/3 {
			t.Errorf("%s: took %d bytes, said to be %d", name, taken, h.DecodeBytes)
		}
	}
	if got := pixelBytes(math.MaxInt32, math.MaxInt32, 8); got != math.MaxInt64 {
		t.Errorf("a size beyond memory: %d bytes", got)
	}
}

// Headers that claim more than the limit are refused before memory is taken, in the formats
// that TestDecodeRefusesBombsByHeader doesn't have.
func TestBombsByHeader(t *testing.T) {
	little := binary.LittleEndian
	tiffBomb, err := os.ReadFile("testdata/formats/rgb.tif")
	if err != nil {
		t.Fatal(err)
	}
	ifd := int(little.Uint32(tiffBomb[4:]))
	for i := range int(little.Uint16(tiffBomb[ifd:])) {
		entry := tiffBomb[ifd+2+12*i:]
		if tag := little.Uint16(entry); tag == tagImageWidth || tag == tagImageLength {
			little.PutUint16(entry[2:], 4)
			little.PutUint32(entry[8:], 60000)
		}
	}
	canvas, err := os.ReadFile("testdata/formats/canvas-lossless.webp")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(canvas, []byte("VP8X")) + 12
	copy(canvas[at:], "\x5f\xea\x00\x5f\xea\x00") // 59999 twice
	for format, data := range map[string][]byte{
		"TIFF": tiffBomb, "WebP": canvas, "PNM": []byte("P6 60000 60000 255\n"),
	} {
		_, err := Decode(data, DecodeOptions{})
		want := fmt.Sprintf("preprocess: %s image of 60000×60000 pixels, want at most %d in all", format, DefaultMaxPixels)
		if err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", format, err, want)
		}
	}
	// Of a raster that isn't there no memory is taken either.
	for _, text := range []string{"P6 13000 13000 255\n", "P1 13000 13000\n", "P2 13000 13000 9\n1 ", "P4 13000 13000\n", "P5 13000 13000 65535\n"} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decode([]byte(text), DecodeOptions{})
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), "unexpected EOF") || after.TotalAlloc-before.TotalAlloc > 1<<20 {
			t.Errorf("%q: %v, %d bytes", text, err, after.TotalAlloc-before.TotalAlloc)
		}
	}
}

func TestPNMErrors(t *testing.T) {
	for text, want := range map[string]string{
		"P6\n3 0\n255\n":       "height 0, want 1 or more",
		"P6\n3 x\n255\n":       `'x', want a number`,
		"P6\n3 3\n70000\n":     "greatest level: more than 65535",
		"P3\n1 1\n9\n1 2 10\n": "row 0: more than 9",
		"P1\n2 1\n0 2\n":       "'2', want 0 or 1",
		"P5\n1 1\n255":         "unexpected EOF",
		"P5\n1 1\n255x":        "'x' after the numbers",
		"P2 # never ends":      "unexpected EOF",
	} {
		if _, err := Decode([]byte(text), DecodeOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// Bitmaps that aren't read are named.
func TestUnreadBMP(t *testing.T) {
	rgb := readTestFile(t, "rgb.bmp")
	core := append([]byte("BM\x3e\x00\x00\x00\x00\x00\x00\x00\x1a\x00\x00\x00\x0c\x00\x00\x00\x02\x00\x01\x00\x01\x00\x18\x00"), make([]byte, 36)...)
	patched := func(at int, v byte) []byte {
		b := bytes.Clone(rgb)
		b[at] = v
		return b
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"OS/2":    {core, "an OS/2 bitmap, with a header of 12 bytes, want an uncompressed bitmap"},
		"16 bits": {patched(28, 16), "16 bits a pixel, want an uncompressed bitmap"},
		"RLE":     {patched(30, 1), "24 bits a pixel in compression 1, want an uncompressed bitmap"},
	} {
		if _, err := Decode(c.data, DecodeOptions{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
