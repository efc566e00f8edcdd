package report

import (
	"fmt"
	"math"
	"strings"
)

// Reproduction is a table of the paper with the figures found here beside the paper's.
type Reproduction struct {
	Title  string
	About  string   // what it was measured on
	Labels []string // headings of the columns that name a row
	Paper  bool     // whether the paper's figures are shown
	Errors []string // names of the errors that a row has, one or two; top-1 and top-5 if nil
	Rows   []ReproducedRow
	Notes  []string // shown below

	// Figures, where set, is shown in the place of the table of errors: what was measured is
	// no error, and Quantity says what it is and Interval what is either side of it. The plot
	// shows the rows all the same.
	Figures            *Table
	Quantity, Interval string
}

// about is what the plot shows and what its whiskers are.
func (r Reproduction) about() (alt, quantity, interval string) {
	if r.Figures == nil {
		return "Top-1 and top-5 error of every row", "Error", "95 % interval"
	}
	return r.Quantity + " of every row", r.Quantity, r.Interval
}

// ReproducedRow is a row. Errors are fractions; NaN is a figure that there is not.
type ReproducedRow struct {
	Labels     []string
	Top1, Top5 Measured // or the errors that Errors names
	// P is that of a test of the first error against the first row's; shown where the
	// paper's figures are not.
	P float64
	// Top5Test is the paper's error on the test set, whose labels nobody has.
	Top5Test float64
}

// Measured is an error found here, its confidence interval, and what the paper has.
type Measured struct {
	Error, Low, High float64
	Paper            float64
}

// NotMeasured returns a Measured without any figure.
func NotMeasured() Measured {
	nan := math.NaN()
	return Measured{nan, nan, nan, nan}
}

// names are the errors that a row has.
func (r Reproduction) names() []string {
	if r.Errors == nil {
		return []string{"top-1", "top-5"}
	}
	return r.Errors
}

// measured are a row's figures, one for each name.
func (r Reproduction) measured(row ReproducedRow) []Measured {
	return []Measured{row.Top1, row.Top5}[:len(r.names())]
}

// hasTest tells whether any row has the paper's error on the test set.
func (r Reproduction) hasTest() bool {
	for _, row := range r.Rows {
		if r.Paper && !math.IsNaN(row.Top5Test) {
			return true
		}
	}
	return false
}

// hasP tells whether any row has a p that is shown.
func (r Reproduction) hasP() bool {
	for _, row := range r.Rows {
		if !r.Paper && !math.IsNaN(row.P) {
			return true
		}
	}
	return false
}

// Table lists the rows: of each error what was found and, where Paper is set, what the
// paper has and the difference in points.
func (r Reproduction) Table() *Table {
	if r.Figures != nil {
		return r.Figures
	}
	var columns []Column
	for _, l := range r.Labels {
		columns = append(columns, Column{Title: l})
	}
	for i, k := range r.names() {
		columns = append(columns, Column{Title: k + " error", Align: Right})
		if r.Paper {
			columns = append(columns, Column{Title: "paper", Align: Right}, Column{Title: "difference", Align: Right})
		} else {
			columns = append(columns, Column{Title: "95 % interval", Align: Right})
			if i == 0 && r.hasP() {
				columns = append(columns, Column{Title: "p", Align: Right})
			}
		}
	}
	if r.hasTest() {
		columns = append(columns, Column{Title: "paper's top-5 on test", Align: Right})
	}
	t := NewTable(columns...)
	for _, row := range r.Rows {
		cells := append([]string(nil), row.Labels...)
		for i, m := range r.measured(row) {
			cells = append(cells, percentOrDash(m.Error))
			if r.Paper {
				cells = append(cells, percentOrDash(m.Paper), points(m.Error-m.Paper))
			} else {
				cells = append(cells, rangeOrDash(m))
				if i == 0 && r.hasP() {
					cells = append(cells, probability(row.P))
				}
			}
		}
		if r.hasTest() {
			cells = append(cells, percentOrDash(row.Top5Test))
		}
		t.Row(cells...)
	}
	return t
}

// Text returns title, table and notes as text.
func (r Reproduction) Text() string {
	text := r.Title + "\n" + r.About + "\n\n" + r.Table().String()
	if len(r.Notes) > 0 {
		text += "\n" + strings.Join(r.Notes, "\n") + "\n"
	}
	return text
}

// Markdown returns title, table, plot and notes as Markdown. The plot is the file that a
// relative link names, see [Reproduction.WriteSVG]; empty: no plot.
func (r Reproduction) Markdown(plot string) string {
	text := "## " + markdownEscape.Replace(r.Title) + "\n\n" + markdownEscape.Replace(r.About) + "\n\n" + r.Table().Markdown()
	if plot != "" {
		alt, _, _ := r.about()
		text += "\n![" + markdownEscape.Replace(alt) + "](<" + strings.NewReplacer("<", "%3C", ">", "%3E", "\n", "%0A").Replace(plot) + ">)\n"
	}
	if len(r.Notes) > 0 {
		text += "\n```\n" + strings.Join(r.Notes, "\n") + "\n```\n"
	}
	return text
}

func percentOrDash(fraction float64) string {
	if math.IsNaN(fraction) {
		return "–"
	}
	return Percent(fraction)
}

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

// points formats a difference of fractions in points of per cent, with its sign.
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
