package report

import (
	"bytes"
	"image"
	"image/png"
	"strings"
	"testing"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot/vg"
)

func TestFitText(t *testing.T) {
	style := textStyle(textSize, xfont.WeightNormal, greyColor)
	for _, s := range []string{"", "short", "Class score maps by a network: windows of 224×224 pixels", strings.Repeat("a-name-without-a-space-", 20)} {
		for _, width := range []vg.Length{pixels(60), pixels(200), pixels(5000)} {
			for _, line := range append(wrapped(style, s, width), shortened(style, s, width)) {
				if style.Width(line) > width {
					t.Errorf("%q is %v wide, want at most %v", line, style.Width(line), width)
				}
			}
			if fits := style.Width(s) <= width; fits != (shortened(style, s, width) == s) {
				t.Errorf("%q of width %v in %v became %q", s, style.Width(s), width, shortened(style, s, width))
			}
		}
	}
	words := "one two three four five six seven"
	if got := strings.Join(wrapped(style, words, pixels(60)), " "); got != words {
		t.Errorf("%q wrapped lost words: %q", words, got)
	}
	if got := shortened(style, "folder/with-a-long-name-1.jpg", pixels(100)); !strings.HasPrefix(got, "fold") || !strings.HasSuffix(got, "1.jpg") {
		t.Errorf("shortened to %q: want both ends", got)
	}
}

// TestTextsStayInPictures: texts that are longer than a picture is wide leave its margin white.
func TestTextsStayInPictures(t *testing.T) {
	long := strings.Repeat("long words of a title ", 20)
	pix := bytes.Repeat([]uint8{200, 100, 50}, 60*40)
	heat := Heat{W: 60, H: 40, First: 5, Step: 10, Rows: 1, Cols: 1, Values: []float32{0.5}, Caption: long}
	h := Heatmap{Title: long, Subtitle: long, W: 60, H: 40, Pix: pix, Columns: []string{long}, Rows: []HeatRow{{Name: long, Share: "50 %", Heats: []Heat{heat}}}}
	b := BoxSheet{Title: long, Subtitle: long, Rows: []BoxRow{{Heading: long, Images: []BoxImage{{W: 60, H: 40, Pix: pix, Caption: long}}}}}
	for name, encode := range map[string]func(*bytes.Buffer) error{
		"heat map": func(w *bytes.Buffer) error { return h.EncodePNG(w) },
		"boxes":    func(w *bytes.Buffer) error { return b.EncodePNG(w) },
	} {
		var out bytes.Buffer
		if err := encode(&out); err != nil {
			t.Fatal(err)
		}
		im, err := png.Decode(&out)
		if err != nil {
			t.Fatal(err)
		}
		r := im.Bounds()
		margin := image.Rect(r.Max.X-8, r.Min.Y, r.Max.X, r.Max.Y)
		var inked []image.Point
		for y := margin.Min.Y; y < margin.Max.Y; y++ {
			for x := margin.Min.X; x < margin.Max.X; x++ {
				if red, green, blue, _ := im.At(x, y).RGBA(); min(red, green, blue) < 0xff00 {
					inked = append(inked, image.Pt(x, y))
				}
			}
		}
		if len(inked) > 0 {
			t.Errorf("%s: %d pixels of the right margin have ink, the first at %v", name, len(inked), inked[0])
		}
	}
}
