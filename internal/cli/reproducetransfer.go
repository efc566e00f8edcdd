package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/transfer"
)

// transfer reproduces a table of the paper's appendix B.
func (c *reproduceCommand) transfer(e *environment, t transfer.Table) error {
	if c.HTML != "" {
		return usagef("--html is not for this table, want --markdown or --json")
	}
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
	var bar *progress
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
	table := transferTable(r)
	notes := c.transferNotes(t, r)
	if c.Markdown != "" {
		text := "# " + r.Title + "\n\n" + table.Markdown() + "\n" + strings.Join(notes, "\n")
		if err := os.WriteFile(c.Markdown, []byte(strings.TrimRight(text, "\n")+"\n"), 0o666); err != nil {
			return err
		}
	}
	if c.JSON {
		err = writeJSON(e.stdout, r)
	} else {
		_, err = fmt.Fprintf(e.stdout, "%s\n\n%s\n%s\n", r.Title, table, strings.Join(notes, "\n"))
	}
	if err != nil {
		return err
	}
	bad, total := 0, 0
	for _, s := range r.Sets {
		bad, total = bad+s.Unreadable, total+s.Images
	}
	return unreadable(bad, total)
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
