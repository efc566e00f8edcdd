package report

import (
	"bytes"
	"image/color"
	"image/png"
	"strings"
	"testing"
)

func greyPhoto(w, h int) BoxImage {
	b := BoxImage{W: w, H: h, Pix: make([]uint8, 3*w*h)}
	for i := range b.Pix {
		b.Pix[i] = 100
	}
	return b
}

// TestBoxesOnAPhotograph checks that lines are at the boxes, in the boxes' tones, on small and
// on large photographs, which are rescaled.
func TestBoxesOnAPhotograph(t *testing.T) {
	for _, c := range []struct{ w, h, pw, ph int }{{64, 32, 480, 240}, {800, 500, 800, 500}, {4000, 3000, 1600, 1200}} {
		b := greyPhoto(c.w, c.h)
		fw, fh := float64(c.w), float64(c.h)
		b.Boxes = []DrawnBox{{Box: [4]float64{fw / 4, fh / 4, fw * 3 / 4, fh * 3 / 4}, Tone: 1, Label: "tench 93.1 %"}}
		var buf bytes.Buffer
		if err := b.EncodePNG(&buf); err != nil {
			t.Fatal(err)
		}
		im, err := png.Decode(&buf)
		if err != nil {
			t.Fatal(err)
		}
		if s := im.Bounds(); s.Dx() != c.pw || s.Dy() != c.ph {
			t.Errorf("%d×%d drawn as %v, want %d×%d", c.w, c.h, s, c.pw, c.ph)
		}
		at := func(x, y float64) color.RGBA {
			r, g, b, _ := im.At(int(x*float64(c.pw)), int(y*float64(c.ph))).RGBA()
			return color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}
		}
		blue := boxTones[1]
		for _, p := range [][2]float64{{0.25, 0.5}, {0.75, 0.5}, {0.6, 0.75}} {
			if got := at(p[0], p[1]); got != blue {
				t.Errorf("%d×%d: colour %v at %v, want the box's %v", c.w, c.h, got, p, blue)
			}
		}
		for _, p := range [][2]float64{{0.5, 0.5}, {0.1, 0.9}, {0.9, 0.9}} {
			if got := at(p[0], p[1]); got != (color.RGBA{100, 100, 100, 255}) {
				t.Errorf("%d×%d: colour %v at %v, want the photograph's", c.w, c.h, got, p)
			}
		}
	}
}

func TestBoxSheet(t *testing.T) {
	b := greyPhoto(30, 60)
	b.Boxes, b.Caption = []DrawnBox{{Box: [4]float64{0, 0, 30, 60}, Truth: true}, {Box: [4]float64{-5, 0, 90, 9}, Thin: true, Tone: -7, Label: "beyond"}}, "a caption"
	s := BoxSheet{Title: "Title", Subtitle: "below", Rows: []BoxRow{{"first", []BoxImage{b, b, b}}, {"", []BoxImage{b}}}}
	var buf bytes.Buffer
	if err := s.EncodePNG(&buf); err != nil {
		t.Fatal(err)
	}
	im, err := png.Decode(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if size := im.Bounds(); size.Dx() != 14+3*214 || size.Dy() != 60+2*260 {
		t.Errorf("sheet of %v", size)
	}
	if err := (BoxSheet{}).EncodePNG(&buf); err == nil {
		t.Error("an empty sheet is drawn")
	}
	b.Pix = b.Pix[1:]
	if err := b.EncodePNG(&buf); err == nil || !strings.Contains(err.Error(), "30×60") {
		t.Errorf("a broken photograph: %v", err)
	}
}
