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

// WriteHTML writes the table and a plot of it as one HTML page that needs nothing else.
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

// WriteSVG writes the plot alone; ok is false, and nothing written, if there is nothing to
// draw.
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

// htmlPlot is the plot's geometry, in pixels.
type htmlPlot struct {
	Width, Height       int
	Top, Bottom, LabelX int
	TickY               int
	Ticks               []htmlTick
	Rows                []htmlRow
	Paper               bool
	Errors              []string // their names
	Alt                 string   // what the plot shows
	Quantity, Interval  string
	// With the key below it.
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

// htmlMark is a dot: what was found, with its interval, or what the paper has.
type htmlMark struct {
	Class     string // one or five, for the colour
	X, Y      float64
	Whisker   bool
	Low, High float64
	Theirs    bool
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

// plot lays out a row of dots for each row of the table.
func (r Reproduction) plot() *htmlPlot {
	most, label := 0.0, 0
	for _, row := range r.Rows {
		for _, m := range r.measured(row) {
			for _, v := range []float64{m.High, m.Paper} {
				if !math.IsNaN(v) && (v == m.High && !math.IsNaN(m.Error) || v == m.Paper && r.Paper) {
					most = math.Max(most, v)
				}
			}
		}
		label = max(label, utf8.RuneCountInString(rowName(row.Labels)))
	}
	if most == 0 {
		return nil
	}
	step := 0.01
	for _, s := range []float64{0.01, 0.02, 0.05, 0.1, 0.2} {
		if step = s; most/s <= 10 {
			break
		}
	}
	end := math.Min(1, math.Ceil(most/step)*step)
	left := plotMargin + int(plotCharacter*float64(label)) + 10
	at := func(v float64) float64 {
		return math.Round(10*(float64(left)+v/end*float64(plotWidth-left-plotMargin))) / 10
	}
	p := &htmlPlot{Width: plotWidth, Top: plotMargin, LabelX: left - 10, Paper: r.Paper, Errors: r.names()}
	p.Alt, p.Quantity, p.Interval = r.about()
	p.Bottom = p.Top + plotRow*len(r.Rows)
	p.Height, p.TickY = p.Bottom+plotTickSpace, p.Bottom+18
	p.FullHeight, p.KeyX, p.KeyY = p.Height+plotTickSpace, left+plotMargin, p.Height+plotMargin-4
	for i := 0; float64(i)*step <= end+1e-9; i++ {
		p.Ticks = append(p.Ticks, htmlTick{at(float64(i) * step), fmt.Sprintf("%.0f", 100*float64(i)*step)})
	}
	for i, row := range r.Rows {
		y := float64(p.Top + plotRow*i + plotRow/2)
		line := htmlRow{Label: rowName(row.Labels), TextY: int(y) + 4}
		for j, m := range r.measured(row) {
			class, name := [2]string{"one", "five"}[j], r.names()[j]
			if r.Paper && !math.IsNaN(m.Paper) {
				line.Marks = append(line.Marks, htmlMark{Class: class, X: at(m.Paper), Y: y, Theirs: true, Title: name + ", paper: " + Percent(m.Paper)})
			}
			if !math.IsNaN(m.Error) {
				line.Marks = append(line.Marks, htmlMark{
					Class: class, X: at(m.Error), Y: y, Whisker: true, Low: at(m.Low), High: at(math.Min(m.High, end)),
					Title: fmt.Sprintf("%s: %s (%s)", name, Percent(m.Error), rangeOrDash(m)),
				})
			}
		}
		p.Rows = append(p.Rows, line)
	}
	return p
}

// rowName is a row's labels as one.
func rowName(labels []string) string {
	named := slices.DeleteFunc(slices.Clone(labels), func(l string) bool { return l == "" })
	return strings.Join(named, " · ")
}
