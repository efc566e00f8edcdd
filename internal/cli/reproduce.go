package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/transfer"
)

type reproduceCommand struct {
	Table    string `arg:"" optional:"" help:"Table of the paper: table3, table4, table5, table6, table7, of localisation table8 or table9, or of transfer table11 or table12, whose --data is a folder of sets (VOC2007, VOC2012, 101_ObjectCategories, 256_ObjectCategories). With --plan not needed."`
	Data     string `required:"" placeholder:"DIR" help:"ILSVRC's validation images or any other labelled set, as vgg eval takes it."`
	Weights  string `required:"" placeholder:"DIR" help:"Folder of weights, named by configuration and training scale: D-256.safetensors, A-LRN-256, E-256-512, with any ending that vgg reads."`
	Plan     string `placeholder:"FILE" help:"A table of your own in place of the paper's: a YAML file."`
	Results  string `placeholder:"DIR" help:"Folder of result files, one for each network, protocol and scale, shared by all tables (results in the folder of weights)."`
	Markdown string `placeholder:"FILE" help:"Write the table as Markdown too, with a plot in a file of the same name that ends in .svg."`
	HTML     string `name:"html" placeholder:"FILE" help:"Write the table and a plot as a page of HTML too."`
	Batch    int    `placeholder:"N" help:"Crops or images of one size that go through the network together (as many as hold 800,000 pixels, at most 128)."`
	ranksFlag
	Memory size `placeholder:"SIZE" help:"Bound of the process's memory, as 4GiB (what the largest network takes and 2 GiB)."`
	fileFlags
	storageFlag
	boxFlags
	threadsFlag
	jsonFlag
}

func (reproduceCommand) Help() string {
	return `Runs every row of the table that there are weights for and shows it beside the paper's figures, if the classes are ILSVRC's 1000. What is missing is said with the command that trains it. Results are kept: another table that needs the same network at the same scale finds them, and an interrupted run goes on.` + exitHelp
}

func (c *reproduceCommand) Run(e *environment) error {
	if t, ok := transfer.NamedTable(c.Table); ok && c.Plan == "" {
		return c.transfer(e, t)
	}
	plan, err := c.plan()
	if err != nil {
		return err
	}
	if c.Batch < 0 || c.Batch > maxBatch {
		return usagef("--batch %d, want 1 to %d", c.Batch, maxBatch)
	}
	if err := c.ranksFlag.check(); err != nil {
		return err
	}
	if info, err := os.Stat(c.Weights); err != nil || !info.IsDir() {
		return fmt.Errorf("--weights %s: no such folder", c.Weights)
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	data, err := openImages(e.ctx, c.Data, nil, "")
	if err != nil {
		return err
	}
	if plan.Measure != eval.Classification {
		return c.localise(e, plan, data, threads)
	}
	results := c.Results
	if results == "" {
		results = filepath.Join(c.Weights, "results")
	}
	found := map[string]string{}
	for _, name := range plan.Weights() {
		if found[name], err = findWeights(c.Weights, name); err != nil {
			return err
		}
	}
	fmt.Fprintf(e.stderr, "%s\n%s images of %s; %d of %d networks found in %s; results in %s\n", plan.Title,
		report.Count(int64(data.Len())), data.Name, count(found), len(found), c.Weights, results)
	open := &opener{fc: c.FCWeights, threads: threads, flags: &modelFlags{fileFlags: c.fileFlags}, env: e}
	options := eval.ReproduceOptions{
		Results: results, Batch: c.Batch, Ranks: c.Ranks, Memory: int64(c.Memory),
		Find: func(name string) (eval.Net, bool, error) {
			if found[name] == "" {
				return eval.Net{}, false, nil
			}
			n, err := open.net(found[name], eval.Setting{}, true)
			return n, true, err
		},
	}
	work, err := eval.ReproduceWork(e.ctx, plan, data, options, data.Len() >= measuredFrom)
	if err != nil {
		return err
	}
	defer boundHeap(work.Memory)()
	if work.Images > 0 {
		fmt.Fprintf(e.stderr, "to do: %s images by all networks%s\n", report.Count(int64(work.Images)), takes(work))
	}
	var bar *progressBar
	bars := map[string]*progressBar{}
	options.OnImage = func(name string, done, total int) {
		if bars[name] == nil {
			if bar != nil {
				bar.close()
			}
			bar = newProgress(e.stderr, total, "images")
			bars[name] = bar
		}
		bars[name].set(done, name)
	}
	r, err := eval.Reproduce(e.ctx, plan, data, options)
	if bar != nil {
		bar.close()
	}
	if err != nil {
		if e.ctx.Err() != nil && context.Cause(e.ctx) != nil {
			return fmt.Errorf("interrupted; the same command goes on with %s", results)
		}
		return err
	}
	return c.finish(e, r)
}

// plan is the plan named by the arguments.
func (c *reproduceCommand) plan() (eval.Plan, error) {
	switch {
	case c.Plan != "" && c.Table != "":
		return eval.Plan{}, usagef("%s and --plan both, want one of them", c.Table)
	case c.Plan != "":
		return eval.LoadPlan(c.Plan)
	case c.Table == "":
		return eval.Plan{}, usagef("no table, want %s, or --plan FILE", strings.Join(eval.PlanNames(), ", "))
	}
	p, err := eval.NamedPlan(c.Table)
	if err != nil {
		return p, usageError{err}
	}
	return p, nil
}

// findWeights returns the file of a name of weights in a folder, or nothing.
func findWeights(dir, name string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var files []string
	for _, entry := range entries {
		base := entry.Name()
		if filepath.Ext(base) == ".lock" { // left by a process that was killed
			continue
		}
		// Endings may have a dot themselves: D-256.weights.h5.
		if rest, ok := strings.CutPrefix(base, name); ok && !entry.IsDir() && (rest == "" || rest[0] == '.') {
			files = append(files, base)
		}
	}
	if len(files) > 1 {
		if i := slices.Index(files, name+".safetensors"); i >= 0 {
			files = files[i : i+1]
		}
	}
	switch len(files) {
	case 0:
		return "", nil
	case 1:
		return filepath.Join(dir, files[0]), nil
	}
	return "", fmt.Errorf("%s: %s: several files of this name, want one: %s", dir, name, strings.Join(files, ", "))
}

func count(found map[string]string) int {
	n := 0
	for _, file := range found {
		if file != "" {
			n++
		}
	}
	return n
}

// finish prints the table and writes its files.
func (c *reproduceCommand) finish(e *environment, r *eval.Reproduction) error {
	if err := c.write(e, c.report(r), r); err != nil {
		return err
	}
	return unreadable(len(r.Unreadable), r.Images)
}

// write prints a table, result as JSON, and writes its files.
func (c *reproduceCommand) write(e *environment, table report.Reproduction, result any) error {
	if c.Markdown != "" {
		if err := writeMarkdown(c.Markdown, table); err != nil {
			return err
		}
	}
	if c.HTML != "" {
		if err := writeFile(c.HTML, table.WriteHTML); err != nil {
			return err
		}
	}
	var err error
	if c.JSON {
		err = writeJSON(e.stdout, result)
	} else {
		_, err = fmt.Fprint(e.stdout, table.Text())
	}
	return err
}

// writeMarkdown writes the table, and its plot into a file beside it.
func writeMarkdown(path string, table report.Reproduction) error {
	var svg bytes.Buffer
	drawn, err := table.WriteSVG(&svg)
	if err != nil {
		return err
	}
	link := ""
	if drawn {
		plot := strings.TrimSuffix(path, filepath.Ext(path)) + ".svg"
		if err := writeFile(plot, func(w io.Writer) error { _, err := svg.WriteTo(w); return err }); err != nil {
			return err
		}
		link = filepath.Base(plot)
	}
	return writeFile(path, func(w io.Writer) error {
		_, err := io.WriteString(w, table.Markdown(link))
		return err
	})
}

// report is the table for people.
func (c *reproduceCommand) report(r *eval.Reproduction) report.Reproduction {
	out := report.Reproduction{
		Title: r.Title, Labels: r.Labels, Paper: r.ImageNet,
		About: fmt.Sprintf("%s images of %s.", report.Count(int64(r.Images)), r.Data),
	}
	percent := func(v *float64) float64 {
		if v == nil {
			return math.NaN()
		}
		return *v / 100
	}
	switch r.Measure {
	case eval.GTClass:
		out.Errors = []string{"GT-class"}
	case eval.Localisation:
		out.Errors = []string{"GT-class", "top-5 localisation"}
	}
	tested := false
	for _, row := range r.Rows {
		if row.Others && !r.ImageNet {
			continue // others' results on ILSVRC say nothing about this set
		}
		line := report.ReproducedRow{Labels: row.Labels, Top5Test: math.NaN(), P: math.NaN()}
		line.Top1, line.Top5 = none(), none()
		if f := row.Result; f != nil {
			line.Top1 = report.Measured{Error: f.Top1Error, Low: f.Top1Range[0], High: f.Top1Range[1], Paper: math.NaN()}
			line.Top5 = report.Measured{Error: f.Top5Error, Low: f.Top5Range[0], High: f.Top5Range[1], Paper: math.NaN()}
			if f.P != nil {
				line.P = *f.P
				tested = true
			}
		}
		if p := row.Paper; p != nil {
			line.Top1.Paper, line.Top5.Paper, line.Top5Test = percent(p.Top1), percent(p.Top5), percent(p.Top5Test)
			if r.Measure != eval.Classification {
				line.Top1.Paper = percent(p.GTClass)
			}
		}
		if b := row.Boxes; b != nil {
			boxesFigures(&line, b)
		}
		out.Rows = append(out.Rows, line)
	}
	if tested && !r.ImageNet {
		out.Notes = append(out.Notes, "p: McNemar's test of a row's top-1 error against the first row's, image by image.")
	}
	if n := len(r.Unreadable); n > 0 {
		out.Notes = append(out.Notes, fmt.Sprintf("%d images could not be read and count in no row:", n))
		for _, b := range r.Unreadable {
			out.Notes = append(out.Notes, fmt.Sprintf("  %s: %v", b.Name, b.Err))
		}
	}
	for _, name := range r.Missing {
		out.Notes = append(out.Notes, fmt.Sprintf("No weights %s in %s.%s", name, c.Weights, c.training(name)))
	}
	return out
}

func none() report.Measured {
	return report.Measured{Error: math.NaN(), Low: math.NaN(), High: math.NaN(), Paper: math.NaN()}
}

// training is the commands that make weights of a conventional name.
func (c *reproduceCommand) training(name string) string {
	if text, ok := c.boxTraining(name); ok {
		return text
	}
	config, s, ok := eval.ConventionalName(name)
	if !ok {
		return ""
	}
	file := func(n string) string { return filepath.Join(c.Weights, n+".safetensors") }
	recipe, from := "paper", ""
	switch {
	case s.Min != s.Max:
		recipe, from = "paper-multiscale", " --init-from "+file(config+"-384")
		if s.Min != 256 || s.Max != 512 {
			from += fmt.Sprintf(" --scale-min %d --scale-max %d --test-scale %d", s.Min, s.Max, s.SingleScale()[0])
		}
	case s.Min == 384:
		recipe, from = "paper-384", " --init-from "+file(config+"-256")
	case s.Min != 256:
		from = fmt.Sprintf(" --scale-min %d --scale-max %d --test-scale %d", s.Min, s.Min, s.Min)
	}
	run := filepath.Join("runs", name)
	return fmt.Sprintf(" To train it:\n  vgg train --data %s --recipe %s --config %s%s --out %s\n  cp %s %s",
		c.Data, recipe, config, from, run, filepath.Join(run, "best.safetensors"), file(name))
}
