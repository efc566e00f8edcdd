package cli

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/transfer"
)

// transfer reproduces a table of the paper's appendix B.
func (c *reproduceCommand) transfer(e *environment, t transfer.Table) error {
	if info, err := os.Stat(c.Weights); err != nil || !info.IsDir() {
		return fmt.Errorf("--weights %s: no such folder", c.Weights)
	}
	if info, err := os.Stat(c.Data); err != nil || !info.IsDir() {
		return fmt.Errorf("--data %s: no such folder", c.Data)
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	results := c.Results
	if results == "" {
		results = filepath.Join(c.Weights, "results")
	}
	open := &opener{fc: c.FCWeights, threads: threads, flags: &modelFlags{fileFlags: c.fileFlags}, env: e, headless: true}
	o := transfer.ReproduceOptions{
		Data: c.Data, Results: results, Train: transfer.DefaultTraining(),
		Extract: transfer.Options{Batch: c.Batch, Ranks: c.Ranks, Memory: int64(c.Memory)},
		Find: func(name string) (transfer.Net, bool, error) {
			file, err := findWeights(c.Weights, name)
			if err != nil || file == "" {
				return transfer.Net{}, false, err
			}
			n, err := open.net(file, eval.Setting{}, true)
			return transfer.Net{Weights: file, SHA256: n.SHA256, FCWeights: n.FCWeights, Open: n.Open}, true, err
		},
	}
	var bar *progressBar
	what := ""
	stop := func() {
		if bar != nil {
			bar.close()
			bar = nil
		}
	}
	defer stop()
	o.OnStage = func(stage string) {
		stop()
		what = stage
		fmt.Fprintf(e.stderr, "%s\n", stage)
	}
	o.Extract.OnImage = func(done, total int) {
		if bar == nil {
			bar = newProgress(e.stderr, total, "images")
		}
		bar.set(done, what)
	}
	r, err := transfer.Reproduce(e.ctx, t, o)
	stop()
	if err != nil {
		if e.ctx.Err() != nil {
			return fmt.Errorf("interrupted; the same command goes on with %s", results)
		}
		return err
	}
	if err := c.write(e, c.transferReport(t, r), r); err != nil {
		return err
	}
	bad, total := 0, 0
	for _, s := range r.Sets {
		bad, total = bad+s.Unreadable, total+s.Images
	}
	return unreadable(bad, total)
}

// transferReport is the table for people.
func (c *reproduceCommand) transferReport(t transfer.Table, r *transfer.Reproduction) report.Reproduction {
	out := report.Reproduction{
		Title: r.Title, About: fmt.Sprintf("Linear SVMs on descriptors of the sets in %s.", c.Data), Labels: []string{"Set", "Descriptors"}, Paper: true,
		Errors: []string{"found here"}, Figures: transferTable(r), Quantity: "Mean AP or mean class recall", Interval: "deviation over splits",
		Notes: c.transferNotes(t, r),
	}
	for i, set := range r.Sets {
		for _, row := range r.Rows {
			line := report.ReproducedRow{Labels: []string{set.Name, row.Label}, Top1: none(), Top5: none(), P: math.NaN(), Top5Test: math.NaN()}
			if p := row.Paper[i]; p.Mean > 0 {
				line.Top1.Paper = p.Mean / 100
			}
			if f := row.Found[i]; f != nil {
				line.Top1.Error, line.Top1.Low, line.Top1.High = f.Mean, f.Mean, f.Mean
				if f.Deviation != nil {
					line.Top1.Low, line.Top1.High = f.Mean-*f.Deviation, f.Mean+*f.Deviation
				}
			}
			if !math.IsNaN(line.Top1.Paper) || !math.IsNaN(line.Top1.Error) {
				out.Rows = append(out.Rows, line)
			}
		}
	}
	return out
}

// transferTable has two columns for each set: what was found, and the paper's.
func transferTable(r *transfer.Reproduction) *report.Table {
	columns := []report.Column{{Title: ""}}
	for _, s := range r.Sets {
		columns = append(columns, right(s.Name), right("paper"))
	}
	t := report.NewTable(columns...)
	for _, row := range r.Rows {
		cells := []string{row.Label}
		for i := range r.Sets {
			found, paper := "–", "–"
			if f := row.Found[i]; f != nil {
				found = report.Percent(f.Mean)
				if f.Deviation != nil {
					found = plusMinus(f.Mean, *f.Deviation)
				}
			}
			if p := row.Paper[i]; p.Mean > 0 {
				paper = fmt.Sprintf("%.1f %%", p.Mean)
				if p.Deviation > 0 {
					paper = fmt.Sprintf("%.1f ± %.1f %%", p.Mean, p.Deviation)
				}
			}
			cells = append(cells, found, paper)
		}
		t.Row(cells...)
	}
	return t
}

// transferNotes says what was measured and what is missing.
func (c *reproduceCommand) transferNotes(t transfer.Table, r *transfer.Reproduction) []string {
	var notes []string
	for i, s := range r.Sets {
		if s.Folder == "" {
			notes = append(notes, fmt.Sprintf("No %s in %s, want one of the folders %s.", s.Name, c.Data, strings.Join(t.Sets[i].Folders, ", ")))
			continue
		}
		how := "its own parts"
		if p := t.Sets[i].Protocol; p.Splits > 0 {
			how = fmt.Sprintf("%d random splits, %d training and %s test images a class", p.Splits, p.Train, upTo(p.Test))
		}
		scales := "stacked"
		if t.Sets[i].Average {
			scales = "averaged"
		}
		notes = append(notes, fmt.Sprintf("%s: %s of %s images in %s; Q %s, %s; %s.", s.Name, s.Measure, report.Count(int64(s.Images)), s.Folder, joinInts(t.Sets[i].Scales), scales, how))
	}
	for _, name := range r.Missing {
		notes = append(notes, fmt.Sprintf("No weights %s in %s.", name, c.Weights))
	}
	return notes
}
