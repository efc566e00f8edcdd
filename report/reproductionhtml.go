package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

//go:embed reproduction.html.tmpl
var reproductionPage string

var reproductionTemplate = template.Must(template.New("reproduction").Parse(reproductionPage))

// WriteHTML writes the table and its plot as one self-contained HTML page.
func (r Reproduction) WriteHTML(w io.Writer) error {
	t := r.Table()
	page := htmlPage{Title: r.Title, About: r.About, Notes: r.Notes, Plot: r.plot()}
	for _, c := range t.columns {
		page.Columns = append(page.Columns, htmlCell{c.Title, c.Align == Right})
	}
	for _, row := range t.rows {
		var cells []htmlCell
		for i, text := range row {
			cells = append(cells, htmlCell{text, t.columns[i].Align == Right})
		}
		page.Cells = append(page.Cells, cells)
	}
	if err := reproductionTemplate.Execute(w, page); err != nil {
		return fmt.Errorf("report: reproduction: %w", err)
	}
	return nil
}

// WriteSVG writes the plot alone. If there is nothing to draw, WriteSVG writes nothing and
// ok is false.
func (r Reproduction) WriteSVG(w io.Writer) (ok bool, err error) {
	p := r.plot()
	if p == nil {
		return false, nil
	}
	if err := reproductionTemplate.ExecuteTemplate(w, "svg", p); err != nil {
		return false, fmt.Errorf("report: reproduction: %w", err)
	}
	return true, nil
}

type htmlPage struct {
	Title, About string
	Columns      []htmlCell
	Cells        [][]htmlCell
	Plot         *htmlPlot // nil if there is nothing to draw
	Notes        []string
}

type htmlCell struct {
	Text  string
	Right bool
}

// htmlPlot is the geometry of the plot, in pixels.
type htmlPlot struct {
	Width, Height       int
	Top, Bottom, LabelX int
	TickY               int
	Ticks               []htmlTick
	Rows                []htmlRow
	Paper               bool
	Errors              []string // names
	Alt                 string   // description of the plot
	Quantity, Interval  string
	// With the key below the plot.
	FullHeight, KeyX, KeyY int
}

type htmlTick struct {
	X    float64
	Text string
}

type htmlRow struct {
	Label string
	TextY int
	Marks []htmlMark
}

// htmlMark is a dot: an error found here, with its interval, or the paper's.
type htmlMark struct {
	Class     string // one or five; chooses the colour
	X, Y      float64
	Whisker   bool
	Low, High float64
	Theirs    bool // the paper's
	Title     string
}

// Lengths of the plot, in pixels.
const (
	plotWidth     = 900
	plotRow       = 30
	plotMargin    = 14
	plotTickSpace = 26
	plotCharacter = 6.6 // mean advance of a character
)

// plot lays out a row of dots for each row of the table; nil if there is nothing to draw.
func (r Reproduction) plot() *htmlPlot {
	most, label := r.extent()
	if most == 0 {
		return nil
	}
	step := tickStep(most)
	end := math.Min(1, math.Ceil(most/step)*step)
	left := plotMargin + int(plotCharacter*float64(label)) + 10
	x := func(v float64) float64 {
		return math.Round(10*(float64(left)+v/end*float64(plotWidth-left-plotMargin))) / 10
	}
	p := &htmlPlot{Width: plotWidth, Top: plotMargin, LabelX: left - 10, Paper: r.Paper, Errors: r.names()}
	p.Alt, p.Quantity, p.Interval = r.captions()
	p.Bottom = p.Top + plotRow*len(r.Rows)
	p.Height, p.TickY = p.Bottom+plotTickSpace, p.Bottom+18
	p.FullHeight, p.KeyX, p.KeyY = p.Height+plotTickSpace, left+plotMargin, p.Height+plotMargin-4
	for i := 0; float64(i)*step <= end+1e-9; i++ {
		p.Ticks = append(p.Ticks, htmlTick{x(float64(i) * step), fmt.Sprintf("%.0f", 100*float64(i)*step)})
	}
	for i, row := range r.Rows {
		y := float64(p.Top + plotRow*i + plotRow/2)
		p.Rows = append(p.Rows, htmlRow{Label: rowName(row.Labels), TextY: int(y) + 4, Marks: r.marks(row, y, end, x)})
	}
	return p
}

// extent returns the greatest value to draw, and the number of characters of the longest
// name of a row.
func (r Reproduction) extent() (most float64, label int) {
	for _, row := range r.Rows {
		for _, m := range r.measured(row) {
			if !math.IsNaN(m.Error) && !math.IsNaN(m.High) {
				most = math.Max(most, m.High)
			}
			if r.Paper && !math.IsNaN(m.Paper) {
				most = math.Max(most, m.Paper)
			}
		}
		label = max(label, utf8.RuneCountInString(rowName(row.Labels)))
	}
	return most, label
}

// tickStep returns a distance of ticks that divides an axis into about ten parts at most.
func tickStep(most float64) float64 {
	step := 0.01
	for _, s := range []float64{0.01, 0.02, 0.05, 0.1, 0.2} {
		if step = s; most/s <= 10 {
			break
		}
	}
	return step
}

// marks returns the dots of a row at height y, given the end of the axis and the position
// of a value on it.
func (r Reproduction) marks(row ReproducedRow, y, end float64, x func(float64) float64) []htmlMark {
	var marks []htmlMark
	for i, m := range r.measured(row) {
		class, name := [2]string{"one", "five"}[i], r.names()[i]
		if r.Paper && !math.IsNaN(m.Paper) {
			marks = append(marks, htmlMark{Class: class, X: x(m.Paper), Y: y, Theirs: true, Title: name + ", paper: " + Percent(m.Paper)})
		}
		if !math.IsNaN(m.Error) {
			marks = append(marks, htmlMark{
				Class: class, X: x(m.Error), Y: y, Whisker: true, Low: x(m.Low), High: x(math.Min(m.High, end)),
				Title: fmt.Sprintf("%s: %s (%s)", name, Percent(m.Error), rangeOrDash(m)),
			})
		}
	}
	return marks
}

// rowName joins the labels of a row.
func rowName(labels []string) string {
	named := slices.DeleteFunc(slices.Clone(labels), func(l string) bool { return l == "" })
	return strings.Join(named, " · ")
}
