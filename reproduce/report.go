package reproduce

import (
	"fmt"
	"math"
	"strings"

	"github.com/verydeep/vgg/report"
)

// Report returns the table for people: the paper's figures beside the result's if the
// classes are ILSVRC's, else confidence intervals. Missing weights are not noted: the
// caller knows where it looked for them.
func (r *Result) Report() report.Reproduction {
	out := report.Reproduction{
		Title: r.Title, Labels: r.Labels, Paper: r.ImageNet,
		About: fmt.Sprintf("%s images of %s.", report.Count(int64(r.Images)), r.Data),
	}
	switch r.Measure {
	case GTClass:
		out.Errors = []string{"GT-class"}
	case Top5Localisation:
		out.Errors = []string{"GT-class", "top-5 localisation"}
	}
	compared := false
	for _, row := range r.Rows {
		if row.Others && !r.ImageNet {
			continue // other groups' results on ILSVRC say nothing about this set
		}
		line := row.report(r.Measure)
		compared = compared || !math.IsNaN(line.P)
		out.Rows = append(out.Rows, line)
	}
	if compared && !r.ImageNet {
		out.Notes = append(out.Notes, "p: McNemar's test of a row's top-1 error against the first row's, image by image.")
	}
	if n := len(r.Unreadable); n > 0 {
		out.Notes = append(out.Notes, fmt.Sprintf("%d images could not be read and count in no row:", n))
		for _, b := range r.Unreadable {
			out.Notes = append(out.Notes, fmt.Sprintf("  %s: %v", b.Name, b.Err))
		}
	}
	return out
}

// report returns the row's figures as fractions, NaN where there is none.
func (row Row) report(m Measure) report.ReproducedRow {
	line := report.ReproducedRow{Labels: row.Labels, Top1: report.NotMeasured(), Top5: report.NotMeasured(), Top5Test: math.NaN(), P: math.NaN()}
	if e := row.Result; e != nil {
		line.Top1 = measured(e.Top1Error, e.Top1Range)
		line.Top5 = measured(e.Top5Error, e.Top5Range)
		if e.P != nil {
			line.P = *e.P
		}
	}
	if b := row.Boxes; b != nil {
		line.Top1 = measured(b.GTClassError, b.GTClassRange)
		if b.Top5Error != nil {
			line.Top5 = measured(*b.Top5Error, *b.Top5Range)
		}
	}
	if p := row.Paper; p != nil {
		line.Top1.Paper, line.Top5.Paper, line.Top5Test = fraction(p.Top1), fraction(p.Top5), fraction(p.Top5Test)
		if m != Top1Top5 {
			line.Top1.Paper = fraction(p.GTClass)
		}
	}
	return line
}

// measured returns an error with its confidence interval and no figure of the paper's.
func measured(e float64, interval [2]float64) report.Measured {
	return report.Measured{Error: e, Low: interval[0], High: interval[1], Paper: math.NaN()}
}

// fraction returns one of the paper's figures, which are in per cent, as a fraction; NaN
// for nil.
func fraction(percent *float64) float64 {
	if percent == nil {
		return math.NaN()
	}
	return *percent / 100
}

// Report returns the table for people, the paper's figures beside the result's. p is the
// plan of the result and data the folder of sets. Missing weights are not noted.
func (r *TransferResult) Report(p TransferPlan, data string) report.Reproduction {
	out := report.Reproduction{
		Title: r.Title, About: fmt.Sprintf("Linear SVMs on descriptors of the sets in %s.", data), Labels: []string{"Set", "Descriptors"}, Paper: true,
		Errors: []string{"found here"}, Figures: r.table(), Quantity: "Mean AP or mean class recall", Interval: "deviation over splits",
		Notes: r.notes(p, data),
	}
	for i, set := range r.Sets {
		for _, row := range r.Rows {
			line := report.ReproducedRow{Labels: []string{set.Name, row.Label}, Top1: report.NotMeasured(), Top5: report.NotMeasured(), P: math.NaN(), Top5Test: math.NaN()}
			if f := row.Found[i]; f != nil {
				line.Top1 = measured(f.Mean, [2]float64{f.Mean, f.Mean})
				if f.Deviation != nil {
					line.Top1.Low, line.Top1.High = f.Mean-*f.Deviation, f.Mean+*f.Deviation
				}
			}
			if p := row.Paper[i]; p.Mean > 0 {
				line.Top1.Paper = p.Mean / 100
			}
			if !math.IsNaN(line.Top1.Paper) || !math.IsNaN(line.Top1.Error) {
				out.Rows = append(out.Rows, line)
			}
		}
	}
	return out
}

// table has two columns for each set: the result and the paper's figure.
func (r *TransferResult) table() *report.Table {
	columns := []report.Column{{Title: ""}}
	for _, s := range r.Sets {
		columns = append(columns, report.Column{Title: s.Name, Align: report.Right}, report.Column{Title: "paper", Align: report.Right})
	}
	t := report.NewTable(columns...)
	for _, row := range r.Rows {
		cells := []string{row.Label}
		for i := range r.Sets {
			cells = append(cells, row.Found[i].text(), row.Paper[i].text())
		}
		t.Row(cells...)
	}
	return t
}

// text writes the mean in per cent, with its deviation; a dash for nil.
func (m *TransferMean) text() string {
	switch {
	case m == nil:
		return "–"
	case m.Deviation == nil:
		return report.Percent(m.Mean)
	}
	return report.PlusMinus(m.Mean, *m.Deviation)
}

// text writes the mean, with its deviation; a dash for 0.
func (m PaperMean) text() string {
	switch {
	case m.Mean == 0:
		return "–"
	case m.Deviation == 0:
		return fmt.Sprintf("%.1f %%", m.Mean)
	}
	return fmt.Sprintf("%.1f ± %.1f %%", m.Mean, m.Deviation)
}

// notes says what was measured on each set, and which sets are missing.
func (r *TransferResult) notes(p TransferPlan, data string) []string {
	var notes []string
	for i, s := range r.Sets {
		set := p.Sets[i]
		if s.Folder == "" {
			notes = append(notes, fmt.Sprintf("No %s in %s, want one of the folders %s.", s.Name, data, strings.Join(set.Folders, ", ")))
			continue
		}
		how := "its own parts"
		if set.Splits.Count > 0 {
			how = set.protocol().String()
		}
		scales := "stacked"
		if set.Average {
			scales = "averaged"
		}
		notes = append(notes, fmt.Sprintf("%s: %s of %s images in %s; Q %s, %s; %s.", s.Name, s.Measure, report.Count(int64(s.Images)), s.Folder, joinScales(set.Scales, ", "), scales, how))
	}
	return notes
}
