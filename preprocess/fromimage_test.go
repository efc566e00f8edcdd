package preprocess

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	_ "image/gif"
	_ "image/jpeg"
	_ "image/png"

	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/webp"

	"pgregory.net/rapid"
)

// anyImage hides the kind of an image, so that only its At can be called.
type anyImage struct{ image.Image }

// drawPicture draws a picture of any kind that package image has, with bounds anywhere.
func drawPicture(t *rapid.T) image.Image {
	x, y := rapid.IntRange(-3, 3).Draw(t, "x"), rapid.IntRange(-3, 3).Draw(t, "y")
	r := image.Rect(x, y, x+rapid.IntRange(1, 6).Draw(t, "w"), y+rapid.IntRange(1, 6).Draw(t, "h"))
	ratio := rapid.SampledFrom([]image.YCbCrSubsampleRatio{
		image.YCbCrSubsampleRatio444, image.YCbCrSubsampleRatio422, image.YCbCrSubsampleRatio420,
		image.YCbCrSubsampleRatio440, image.YCbCrSubsampleRatio411, image.YCbCrSubsampleRatio410,
	}).Draw(t, "ratio")
	random := func(planes ...[]uint8) {
		for _, p := range planes {
			copy(p, rapid.SliceOfN(rapid.Byte(), len(p), len(p)).Draw(t, "bytes"))
		}
	}
	var m interface {
		image.Image
		SubImage(image.Rectangle) image.Image
	}
	kind := rapid.IntRange(0, 9).Draw(t, "kind")
	if kind >= 8 { // package image makes too little chroma of bounds that begin below 0
		r = r.Add(image.Pt(3, 3))
	}
	switch kind {
	case 0:
		p := image.NewNRGBA(r)
		random(p.Pix)
		m = p
	case 1: // of any alpha, each channel at most that
		p := image.NewRGBA(r)
		random(p.Pix)
		for q := range slices.Chunk(p.Pix, 4) {
			if rapid.Bool().Draw(t, "opaque") {
				q[3] = 0xff
			}
			q[0], q[1], q[2] = min(q[0], q[3]), min(q[1], q[3]), min(q[2], q[3])
		}
		m = p
	case 2:
		p := image.NewNRGBA64(r)
		random(p.Pix)
		m = p
	case 3:
		p := image.NewRGBA64(r)
		draw.Draw(p, r, image.NewUniform(color.NRGBA64{1 << 15, 300, 40000, 50000}), r.Min, draw.Src)
		m = p
	case 4:
		p := image.NewGray(r)
		random(p.Pix)
		m = p
	case 5:
		p := image.NewGray16(r)
		random(p.Pix)
		m = p
	case 6:
		p := image.NewCMYK(r)
		random(p.Pix)
		m = p
	case 7:
		palette := color.Palette{color.RGBA{1, 2, 3, 255}, color.NRGBA{4, 5, 6, 0}, color.Gray{7}, color.RGBA{20, 10, 0, 77}, color.NRGBA64{65280, 256, 3, 9}}
		p := image.NewPaletted(r, palette)
		random(p.Pix)
		for i := range p.Pix {
			p.Pix[i] %= uint8(len(palette))
		}
		m = p
	case 8:
		p := image.NewYCbCr(r, ratio)
		random(p.Y, p.Cb, p.Cr)
		m = p
	case 9:
		p := image.NewNYCbCrA(r, ratio)
		random(p.Y, p.Cb, p.Cr, p.A)
		m = p
	}
	if rapid.Bool().Draw(t, "part") {
		if part := m.SubImage(image.Rect(r.Min.X+1, r.Min.Y+1, r.Max.X, r.Max.Y)); !part.Bounds().Empty() {
			return part
		}
	}
	return m
}

// The loops over bytes give the colours that At gives.
func TestFromImageEqualsAt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawPicture(t)
		want, err := FromImage(anyImage{m})
		if err != nil {
			t.Fatal(err)
		}
		got, err := FromImage(m)
		if err != nil {
			t.Fatal(err)
		}
		if b := m.Bounds(); got.W != b.Dx() || got.H != b.Dy() || !bytes.Equal(got.Pix, want.Pix) {
			t.Fatalf("%T: %v, by its At %v", m, got, want)
		}
	})
}

// The colour of a pixel, whatever its model: alpha is dropped, not composited.
func TestFromImageColours(t *testing.T) {
	for _, c := range []struct {
		colour color.Color
		want   [3]uint8
	}{
		{color.RGBA{10, 20, 30, 255}, [3]uint8{10, 20, 30}},
		{color.RGBA{10, 20, 30, 100}, [3]uint8{25, 51, 76}}, // 10/100 of 255 …
		{color.RGBA{10, 20, 30, 0}, [3]uint8{}},
		{color.RGBA{200, 0, 0, 100}, [3]uint8{255, 0, 0}}, // breaks its contract
		{color.NRGBA{10, 20, 30, 0}, [3]uint8{10, 20, 30}},
		{color.NRGBA64{0x12ff, 0x3400, 0x5601, 1}, [3]uint8{0x12, 0x34, 0x56}},
		{color.RGBA64{0x4000, 0x2000, 0, 0x8000}, [3]uint8{127, 63, 0}},
		{color.Gray{77}, [3]uint8{77, 77, 77}},
		{color.Gray16{0x80ff}, [3]uint8{0x80, 0x80, 0x80}},
		{color.NYCbCrA{YCbCr: color.YCbCr{Y: 100, Cb: 128, Cr: 128}}, [3]uint8{100, 100, 100}},
		{color.CMYK{0, 255, 255, 0}, [3]uint8{255, 0, 0}},
		{color.Alpha{9}, [3]uint8{255, 255, 255}},
		{nil, [3]uint8{}},
	} {
		im, err := FromImage(anyImage{pixel{c.colour}})
		if err != nil || !slices.Equal(im.Pix, c.want[:]) {
			t.Errorf("%#v: %v, %v; want %v", c.colour, im, err, c.want)
		}
	}
}

// pixel is a picture of one pixel.
type pixel struct{ colour color.Color }

func (p pixel) ColorModel() color.Model { return color.NRGBAModel }
func (p pixel) Bounds() image.Rectangle { return image.Rect(-1, -1, 0, 0) }
func (p pixel) At(int, int) color.Color { return p.colour }

func TestFromImageErrors(t *testing.T) {
	r := image.Rect(0, 0, 4, 3)
	cut := image.NewNRGBA(r)
	cut.Pix = cut.Pix[:len(cut.Pix)-1]
	overlapping := image.NewGray(r)
	overlapping.Stride = 3
	wide := image.NewGray(r)
	wide.Stride = math.MaxInt / 2
	luma, chroma := image.NewYCbCr(r, image.YCbCrSubsampleRatio420), image.NewYCbCr(r, image.YCbCrSubsampleRatio420)
	luma.Y = luma.Y[1:]
	chroma.Cr = chroma.Cr[1:]
	for name, c := range map[string]struct {
		m    image.Image
		want string
	}{
		"nil":            {nil, "preprocess: image: nil, want a picture"},
		"nil RGBA":       {(*image.RGBA)(nil), "preprocess: image: nil, want a picture"},
		"nil Image":      {(*Image)(nil), "preprocess: image: nil, want a picture"},
		"empty":          {image.NewRGBA(image.Rectangle{}), "preprocess: image: 0×0 pixels, want at least 1×1"},
		"no row":         {image.NewGray(image.Rect(0, 0, 5, 0)), "preprocess: image: 5×0 pixels, want at least 1×1"},
		"empty Image":    {&Image{}, "preprocess: image: 0×0 pixels in 0 bytes, want at least 1×1 and 3 bytes a pixel"},
		"backwards":      {anyImage{&image.Gray{Rect: image.Rectangle{Min: image.Pt(2, 2)}}}, "preprocess: image: -2×-2 pixels, want at least 1×1"},
		"cut":            {cut, "preprocess: image: 47 bytes in rows of 16 for 4×3 pixels of 4 bytes"},
		"overlapping":    {overlapping, "preprocess: image: 12 bytes in rows of 3 for 4×3 pixels of 1 bytes"},
		"wide rows":      {wide, ""},
		"cut luma":       {luma, "preprocess: image: 11 bytes of luma, 4 and 4 of chroma for 4×3 pixels"},
		"cut chroma":     {chroma, "preprocess: image: 12 bytes of luma, 4 and 3 of chroma for 4×3 pixels"},
		"without an end": {image.NewUniform(color.White), "preprocess: image of 2000000000×2000000000 pixels, want at most 178956970 in all"},
	} {
		im, err := FromImage(c.m)
		if err == nil || c.want != "" && err.Error() != c.want {
			t.Errorf("%s: %v, %v; want %s", name, im, err, c.want)
		}
	}
	_, err := FromImage(image.NewUniform(color.White))
	if size, ok := errors.AsType[*SizeError](err); !ok || size.Limit != DefaultMaxPixels {
		t.Errorf("without an end: %#v", err)
	}
}

// An Image can be used as an image.Image, and FromImage returns it unchanged.
func TestImageIsAnImage(t *testing.T) {
	im := noise(5, 3, 7)
	if same, err := FromImage(im); same != im || err != nil {
		t.Errorf("FromImage of an Image: %p, %v; want %p itself", same, err, im)
	}
	copied := image.NewRGBA(im.Bounds())
	draw.Draw(copied, copied.Bounds(), im, image.Point{}, draw.Src)
	for _, m := range []image.Image{anyImage{im}, copied} {
		if got, err := FromImage(m); err != nil || !reflect.DeepEqual(got, im) {
			t.Errorf("%T: %v, %v; want %v", m, got, err, im)
		}
	}
	if im.ColorModel() != color.RGBAModel {
		t.Error("another colour model than RGBA")
	}
	for _, p := range []image.Point{{-1, 0}, {0, -1}, {5, 0}, {0, 3}} {
		if c := im.At(p.X, p.Y); c != (color.RGBA{}) {
			t.Errorf("%v outside the image: %v", p, c)
		}
	}
}

// For the files whose pixels Decode takes from package image, image.Decode and FromImage
// give the same.
func TestFromImageEqualsDecode(t *testing.T) {
	files, err := filepath.Glob("testdata/decode/*")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int)
	for _, file := range files {
		name := filepath.Base(file)
		kind := filepath.Ext(name)
		switch name {
		case "grey.jpg":
		case "frame.gif", "frame-transparent.gif", "transparent.gif":
			continue // Decode has the transparent colour and the screen
		default:
			if kind == ".jpg" || kind == ".webp" && name != "lossless.webp" {
				continue // Decode interpolates the chroma
			}
		}
		seen[kind]++
		data := readTestFile(t, name)
		m, _, err := image.Decode(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := FromImage(m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := readImage(t, "decode/"+name, DecodeOptions{})
		if !reflect.DeepEqual(got, want) {
			most, mean := difference(t, got, want)
			t.Errorf("%s (%T): differs by up to %d grey levels, %.4f on average, want the same bits", name, m, most, mean)
		}
	}
	for kind, least := range map[string]int{".png": 10, ".bmp": 4, ".gif": 1, ".webp": 1, ".jpg": 1} {
		if seen[kind] < least {
			t.Errorf("%d files of %s, want at least %d", seen[kind], kind, least)
		}
	}
}
