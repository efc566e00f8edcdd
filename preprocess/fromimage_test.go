package preprocess

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"slices"
	"testing"
)

// ownKind is a kind of picture that package image doesn't have.
type ownKind struct{ *image.NRGBA }

// TestFromImage: a picture that is converted has the pixels of its file.
func TestFromImage(t *testing.T) {
	src := image.NewNRGBA(image.Rect(3, 5, 12, 16))
	for y := 5; y < 16; y++ {
		for x := 3; x < 12; x++ {
			src.Set(x, y, color.NRGBA{uint8(20 * x), uint8(13 * y), uint8(7 * x * y), 255})
		}
	}
	rgba := image.NewRGBA(src.Bounds())
	for y := 5; y < 16; y++ {
		for x := 3; x < 12; x++ {
			rgba.Set(x, y, src.At(x, y))
		}
	}
	var asPNG, asJPEG bytes.Buffer
	if err := png.Encode(&asPNG, src); err != nil {
		t.Fatal(err)
	}
	if err := jpeg.Encode(&asJPEG, src, nil); err != nil {
		t.Fatal(err)
	}
	photo, err := jpeg.Decode(bytes.NewReader(asJPEG.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		m    image.Image
		file []byte
	}{
		"NRGBA": {src, asPNG.Bytes()}, "RGBA": {rgba, asPNG.Bytes()}, "a kind of one's own": {ownKind{src}, asPNG.Bytes()}, "YCbCr": {photo, asJPEG.Bytes()},
	} {
		want, err := Decode(c.file, DecodeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := FromImage(c.m)
		if err != nil || got.W != want.W || got.H != want.H || !slices.Equal(got.Pix, want.Pix) {
			t.Errorf("%s: other pixels than of the file (%v)", name, err)
		}
	}
	// The colour that is stored under a transparent pixel shows.
	half := image.NewRGBA(image.Rect(0, 0, 1, 1))
	half.Set(0, 0, color.NRGBA{200, 100, 50, 128})
	if got, err := FromImage(half); err != nil || got.Pix[0] < 198 || got.Pix[0] > 200 {
		t.Errorf("half transparent: %v, %v, want about 200 of red", got, err)
	}
	for _, bad := range []image.Image{nil, image.NewGray(image.Rect(0, 0, 0, 5))} {
		if _, err := FromImage(bad); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}
