package report

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"testing"
)

// A photograph of 60×40 under a map of 3×2 windows of side 20, ten apart.
func heat(values ...float32) Heat {
	return Heat{W: 60, H: 40, First: 10, Step: 10, Rows: 2, Cols: 3, Values: values, Framed: true}
}

func TestHeatAt(t *testing.T) {
	h := heat(0, 1, 0, 0, 0, 0.5)
	for _, c := range []struct{ x, y, want float64 }{
		{10, 10, 0}, {20, 10, 1}, {15, 10, 0.5}, {20, 15, 0.5}, {30, 20, 0.5}, {59, 39, 0.5}, {0, 0, 0},
	} {
		if got := h.at(c.x, c.y); got != c.want {
			t.Errorf("at (%v, %v): %v, want %v", c.x, c.y, got, c.want)
		}
	}
}

func TestHeatBest(t *testing.T) {
	for i, want := range []image.Rectangle{
		image.Rect(0, 0, 40, 40), image.Rect(20, 0, 60, 40), image.Rect(40, 0, 80, 40),
		image.Rect(0, 20, 40, 60), image.Rect(20, 20, 60, 60), image.Rect(40, 20, 80, 60),
	} {
		values := make([]float32, 6)
		values[i] = 0.3
		if got := heat(values...).best(120, 80); got != want {
			t.Errorf("window %d: %v, want %v", i, got, want)
		}
	}
}

// Without a probability the photograph is grey, with one it is coloured; the best window
// is framed.
func TestHeatmap(t *testing.T) {
	m := Heatmap{Title: "t", Subtitle: "s", W: 60, H: 40, Pix: bytes.Repeat([]uint8{200, 100, 50}, 60*40), Columns: []string{"Q"},
		Rows: []HeatRow{{Name: "n", Share: "1 %", Heats: []Heat{heat(0, 0, 0, 0, 0, 1)}}}}
	var b bytes.Buffer
	if err := m.EncodePNG(&b); err != nil {
		t.Fatal(err)
	}
	im, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(im.At(x, y)).(color.RGBA) }
	// The photograph is 260×173 of its units, at (12, 110); the map stands beside it.
	left, top := heatSharpness*(2*heatGap+heatPanel), heatSharpness*(heatHeader+heatName)
	if p := at(heatSharpness*heatGap+20, top+20); p != (color.RGBA{200, 100, 50, 255}) {
		t.Errorf("photograph %v", p)
	}
	if p := at(left+20, top+20); p.R != p.G || p.G != p.B || p.R < 120 || p.R > 130 {
		t.Errorf("without a probability %v, want its grey level", p)
	}
	if p := at(left+heatSharpness*200, top+heatSharpness*160); p.R < 200 || p.B > p.R-40 {
		t.Errorf("at 100 %%: %v, want bright yellow", p)
	}
	corner := heat(0, 0, 0, 0, 0, 1).best(heatSharpness*heatPanel, heatSharpness*173).Min
	if p := at(left+corner.X+1, top+corner.Y+1); p != (color.RGBA{255, 255, 255, 255}) {
		t.Errorf("frame %v at %v", p, corner)
	}
	if err := (Heatmap{W: 1, H: 1, Pix: make([]uint8, 3)}).EncodePNG(&b); err == nil {
		t.Error("no classes: no error")
	}
}
