package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Reproduction is a table of the paper with the errors found here beside the paper's.
type Reproduction struct {
	Title  string
	About  string   // data that it was measured on
	Labels []string // headings of the columns that name a row
	Paper  bool     // show the paper's figures
	Errors []string // names of a row's errors, one or two; nil: top-1 and top-5
	Rows   []ReproducedRow
	Notes  []string // lines below the table

	// Figures, where set, replaces the table of errors; the plot still shows the rows. Then
	// Quantity names what was measured, and Interval what the whiskers are.
	Figures            *Table
	Quantity, Interval string
}

// captions returns the description of the plot, the name of its axis and that of its
// whiskers.
func (r Reproduction) captions() (alt, quantity, interval string) {
	if r.Figures == nil {
		return "Top-1 and top-5 error of every row", "Error", "95 % interval"
	}
	return r.Quantity + " of every row", r.Quantity, r.Interval
}

// ReproducedRow is a row. Errors are fractions; NaN stands for a missing figure.
type ReproducedRow struct {
	Labels     []string
	Top1, Top5 Measured // or the errors that Errors names
	// P is the p of a test of the first error against the first row's. It is shown in
	// tables without the paper's figures.
	P float64
	// Top5Test is the paper's error on the test set, whose labels are not public.
	Top5Test float64
}

// Measured is an error found here with its confidence interval, and the paper's.
type Measured struct {
	Error, Low, High float64
	Paper            float64
}

// NotMeasured returns a Measured without any figure.
func NotMeasured() Measured {
	nan := math.NaN()
	return Measured{nan, nan, nan, nan}
}

// names returns the names of a row's errors.
func (r Reproduction) names() []string {
	if r.Errors == nil {
		return []string{"top-1", "top-5"}
	}
	return r.Errors
}

// measured returns a row's errors, one for each name.
func (r Reproduction) measured(row ReproducedRow) []Measured {
	return []Measured{row.Top1, row.Top5}[:len(r.names())]
}

// hasTest reports whether some row shows the paper's error on the test set.
func (r Reproduction) hasTest() bool {
	for _, row := range r.Rows {
		if r.Paper && !math.IsNaN(row.Top5Test) {
			return true
		}
	}
	return false
}

// hasP reports whether some row shows a p.
func (r Reproduction) hasP() bool {
	for _, row := range r.Rows {
		if !r.Paper && !math.IsNaN(row.P) {
			return true
		}
	}
	return false
}

// Table returns the rows as a table: each error and, if Paper is set, the paper's and the
// difference in percentage points, else the confidence interval.
func (r Reproduction) Table() *Table {
	if r.Figures != nil {
		return r.Figures
	}
	t := NewTable(r.columns()...)
	for _, row := range r.Rows {
		t.Row(r.cells(row)...)
	}
	return t
}

// columns returns the columns of the table of errors.
func (r Reproduction) columns() []Column {
	var columns []Column
	for _, l := range r.Labels {
		columns = append(columns, Column{Title: l})
	}
	right := func(titles ...string) {
		for _, title := range titles {
			columns = append(columns, Column{Title: title, Align: Right})
		}
	}
	for i, name := range r.names() {
		right(name + " error")
		if r.Paper {
			right("paper", "difference")
			continue
		}
		right("95 % interval")
		if i == 0 && r.hasP() {
			right("p")
		}
	}
	if r.hasTest() {
		right("paper's top-5 on test")
	}
	return columns
}

// cells returns a row of the table of errors.
func (r Reproduction) cells(row ReproducedRow) []string {
	cells := slices.Clone(row.Labels)
	for i, m := range r.measured(row) {
		cells = append(cells, percentOrDash(m.Error))
		if r.Paper {
			cells = append(cells, percentOrDash(m.Paper), points(m.Error-m.Paper))
			continue
		}
		cells = append(cells, rangeOrDash(m))
		if i == 0 && r.hasP() {
			cells = append(cells, probability(row.P))
		}
	}
	if r.hasTest() {
		cells = append(cells, percentOrDash(row.Top5Test))
	}
	return cells
}

// Text returns title, table and notes as plain text.
func (r Reproduction) Text() string {
	text := r.Title + "\n" + r.About + "\n\n" + r.Table().String()
	if len(r.Notes) > 0 {
		text += "\n" + strings.Join(r.Notes, "\n") + "\n"
	}
	return text
}

// Markdown returns title, table, plot and notes as Markdown. plot is the relative link to
// the file of the plot, see [Reproduction.WriteSVG]; empty: no plot.
func (r Reproduction) Markdown(plot string) string {
	text := "## " + markdownEscape.Replace(r.Title) + "\n\n" + markdownEscape.Replace(r.About) + "\n\n" + r.Table().Markdown()
	if plot != "" {
		alt, _, _ := r.captions()
		text += "\n![" + markdownEscape.Replace(alt) + "](<" + strings.NewReplacer("<", "%3C", ">", "%3E", "\n", "%0A").Replace(plot) + ">)\n"
	}
	if len(r.Notes) > 0 {
		text += "\n```\n" + strings.Join(r.Notes, "\n") + "\n```\n"
	}
	return text
}

// percentOrDash formats a fraction as per cent, NaN as a dash.
func percentOrDash(fraction float64) string {
	if math.IsNaN(fraction) {
		return "–"
	}
	return Percent(fraction)
}

// rangeOrDash formats the confidence interval of an error, that of NaN as a dash.
func rangeOrDash(m Measured) string {
	if math.IsNaN(m.Error) {
		return "–"
	}
	return fmt.Sprintf("%.1f to %.1f", 100*m.Low, 100*m.High)
}

// probability formats a p.
func probability(p float64) string {
	switch {
	case math.IsNaN(p):
		return "–"
	case p < 0.0001:
		return "<0.0001"
	case p < 0.01:
		return fmt.Sprintf("%.4f", p)
	}
	return fmt.Sprintf("%.2f", p)
}

// points formats a difference of fractions in percentage points, with its sign.
func points(d float64) string {
	if math.IsNaN(d) {
		return "–"
	}
	text := fmt.Sprintf("%+.1f", 100*d)
	if text == "-0.0" {
		text = "+0.0"
	}
	return strings.Replace(text, "-", "−", 1)
}
