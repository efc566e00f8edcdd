package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

// reproduced is a table with every kind of row.
func reproduced(paper bool) Reproduction {
	nan := math.NaN()
	none := Measured{nan, nan, nan, nan}
	return Reproduction{
		Title: "Table 6: fusion", About: "50,000 images of ILSVRC/val.", Labels: []string{"networks", "Q"}, Paper: paper,
		Rows: []ReproducedRow{
			{[]string{"D & E, dense", "256,384,512"}, Measured{0.2412, 0.2375, 0.2450, 0.240}, Measured{0.0710, 0.0688, 0.0733, 0.071}, nan, 0.070},
			{[]string{"D, <multi>|crop", "256_384"}, Measured{0.2391, 0.2354, 0.2429, 0.246}, Measured{0.0722, 0.07, 0.0745, 0.075}, 0.0312, nan},
			{[]string{"E", "384"}, none, Measured{nan, nan, nan, 0.08}, nan, nan},
			{[]string{"アヤメ", ""}, Measured{0.5, 0.4, 0.6, nan}, Measured{0.25, 0.2, 0.3, nan}, 2e-9, nan},
		},
		Notes: []string{"No weights E-384 in w. To train it:", "  vgg train --data <DIR>"},
	}
}

func TestReproductionGolden(t *testing.T) {
	golden(t, "reproduction.txt", reproduced(true).Text())
	golden(t, "reproduction-other.txt", reproduced(false).Text())
	golden(t, "reproduction.md", reproduced(true).Markdown("table 6.svg"))
	var plot bytes.Buffer
	if ok, err := reproduced(true).WriteSVG(&plot); !ok || err != nil {
		t.Fatal(ok, err)
	}
	golden(t, "reproduction.svg", plot.String())
	var page bytes.Buffer
	if err := reproduced(true).WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	golden(t, "reproduction.html", page.String())
	for _, raw := range []string{"<multi>", "<DIR>"} {
		if strings.Contains(page.String(), raw) {
			t.Errorf("%s stands unescaped in the page", raw)
		}
	}
}

// The drawing is well-formed, and no dot lies outside it.
func TestReproductionPlot(t *testing.T) {
	p := reproduced(true).plot()
	marks := 0
	for _, row := range p.Rows {
		for _, m := range row.Marks {
			marks++
			if m.X < float64(p.LabelX) || m.X > float64(p.Width) || m.Whisker && (m.Low > m.X || m.High < m.X || m.High > float64(p.Width)) {
				t.Errorf("mark %+v in a plot %d wide from %d on", m, p.Width, p.LabelX)
			}
		}
	}
	if marks != 4+4+1+2 {
		t.Errorf("%d marks, want those of 6 errors found and 5 of the paper's", marks)
	}
	var page bytes.Buffer
	if err := reproduced(false).WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	text := page.String()
	svg := text[strings.Index(text, "<svg"):strings.Index(text, "</svg>")] + "</svg>"
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
	}
	if (Reproduction{Labels: []string{"x"}, Rows: []ReproducedRow{reproduced(true).Rows[2]}}).plot() != nil {
		t.Error("a plot of nothing")
	}
	if ok, err := (Reproduction{}).WriteSVG(io.Discard); ok || err != nil {
		t.Errorf("a plot of nothing: %v, %v", ok, err)
	}
}
