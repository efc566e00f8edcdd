package cli

import (
	"fmt"
	"strconv"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/report"
)

type compareCommand struct {
	A    string `arg:"" help:"Result file of vgg eval --out, of all images."`
	B    string `arg:"" help:"Another result file of the same images."`
	Show int    `default:"20" placeholder:"N" help:"Number of images with different predictions to show, the most confident first. --json lists all (20)."`
	jsonFlag
}

func (compareCommand) Help() string {
	return `Compares two evaluations image by image: it counts the images that both get right, only one of them, and neither. p is that of McNemar's test, exact and two-sided: the probability of a split at least as uneven if both are equally good.

Examples:

    vgg eval D.safetensors --data pets --out centre.jsonl
    vgg eval D.safetensors --data pets --protocol dense --out dense.jsonl
    vgg compare centre.jsonl dense.jsonl` + exitHelp
}

// compareResult is the comparison with the JSON keys of `vgg compare --json`.
type compareResult struct {
	A string `json:"a"`
	B string `json:"b"`
	*eval.Comparison
}

func (c *compareCommand) Run(e *environment) error {
	if c.Show < 0 {
		return usagef("--show %d, want at least 0", c.Show)
	}
	var opened [2]*eval.Results
	for i, path := range []string{c.A, c.B} {
		r, err := eval.OpenResults(e.ctx, path)
		if err != nil {
			return err
		}
		defer r.Close()
		opened[i] = r
	}
	r, err := eval.Compare(e.ctx, opened[0], opened[1])
	if err != nil {
		return err
	}
	if c.JSON {
		err = writeJSON(e.stdout, compareResult{c.A, c.B, r})
	} else {
		err = c.print(e, r)
	}
	if err != nil {
		return err
	}
	return unreadable(r.Unreadable, r.Images+r.Unreadable)
}

func (c *compareCommand) print(e *environment, r *eval.Comparison) error {
	t := report.NewTable(append([]report.Column{left("")}, rights("Error of A", "of B", "Both right", "Only A", "Only B", "Both wrong", "McNemar's p")...)...)
	for _, row := range []struct {
		name string
		a    eval.Agreement
	}{{"top-1", r.Top1}, {"top-5", r.Top5}} {
		a := row.a
		t.Row(row.name, report.Percent(a.ErrorA), report.Percent(a.ErrorB), report.Count(int64(a.Both)), report.Count(int64(a.OnlyA)),
			report.Count(int64(a.OnlyB)), report.Count(int64(a.Neither)), strconv.FormatFloat(a.P, 'g', 3, 64))
	}
	fmt.Fprintf(e.stdout, "A  %s\nB  %s\n\n%s", c.A, c.B, t)
	changed := eval.Surest(r.Changed)
	changed = changed[:min(c.Show, len(changed))]
	if len(changed) > 0 {
		t := report.NewTable(left("Image"), left("True class"), left("By A"), right(""), left("By B"), right(""))
		for _, g := range changed {
			t.Row(g.File, classLabel(g.Truth), classLabel(g.A), report.Percent(float64(g.ProbabilityA)), classLabel(g.B), report.Percent(float64(g.ProbabilityB)))
		}
		fmt.Fprintf(e.stdout, "\n%s", t)
	}
	fmt.Fprintf(e.stdout, "\nThe predicted class of %d of %d images of %s is another.\n", len(r.Changed), r.Images, r.Data)
	if r.Difference != nil {
		fmt.Fprintf(e.stdout, "No posterior differs by more than %.2g.\n", *r.Difference)
	}
	return nil
}
