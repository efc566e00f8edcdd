package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/releases"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/reproduce"
	"github.com/verydeep/vgg/resources"
)

type reproduceCommand struct {
	Table   string `arg:"" help:"Table of the paper: table3 to table7 (classification), table8 and table9 (localisation), table11 and table12 (transfer); or a YAML file of a table of your own."`
	Weights string `arg:"" help:"Folder of weights, named by configuration and training scale: D-256.safetensors, A-LRN-256.npz, E-256-512.pth. A name that the folder lacks may be a public release's."`
	setFlags
	Results  string `placeholder:"DIR" help:"Folder of result files, one for each network, protocol and scale. All tables share them (results in the folder of weights)."`
	Markdown string `placeholder:"FILE" help:"Also write the table as Markdown, and its plot to a file of the same name that ends in .svg."`
	HTML     string `name:"html" placeholder:"FILE" help:"Also write a page of HTML: the table and its plot."`
	overwriteFlag
	Batch int `placeholder:"N" help:"Batch size: crops or images of one size that go through the network together (as many as hold 800,000 pixels, at most 128)."`
	ranksFlag
	Memory size `placeholder:"SIZE" help:"Bound of the memory, as 4GiB (the memory of the largest network and 2 GiB)."`
	mapFlag
	modelFlags
	storageFlag
	annotationsFlag
	cacheFlag
	boxFlags
	pixelsFlag
	threadsFlag
	jsonFlag
}

func (reproduceCommand) Help() string {
	return `Runs every row of a table for which the folder has weights. If the classes are ILSVRC's 1000, the paper's figures stand beside the results.

  - The set of table3 to table9 is ILSVRC's validation images, or any that vgg eval takes. That of table11 and table12 is a folder of sets: VOC2007, VOC2012, 101_ObjectCategories, 256_ObjectCategories.
  - Missing weights are listed with the commands that train them.
  - Images are taken as they are stored, as for published figures, unless --orient upright turns them by their EXIF data.
  - Results are kept: another table that needs the same network at the same scale reuses them, and an interrupted run continues.

Examples:

    vgg reproduce table4 weights ILSVRC --html table4.html
    vgg reproduce table11 weights --data sets
    vgg reproduce mine.yaml weights --data pets` + exitHelp
}

func (c *reproduceCommand) Run(e *environment) error {
	if err := c.take("the set that the table is measured on"); err != nil {
		return err
	}
	if c.Orient == nil {
		stored := preprocess.Stored
		c.Orient = &stored
	}
	release, err := c.claim(c.outputs(), c.Table, c.Map, c.Labels, c.Annotations)
	if err != nil {
		return err
	}
	defer release()
	if slices.Contains(reproduce.TransferPlanNames(), c.Table) {
		return c.transfer(e)
	}
	plan, err := c.plan()
	if err != nil {
		return err
	}
	if err := checkBatch(c.Batch); err != nil {
		return err
	}
	if err := c.ranksFlag.check(); err != nil {
		return err
	}
	if err := folder("weights", c.Weights); err != nil {
		return err
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	for flag, path := range map[string]string{"--results": c.Results, "--markdown": c.Markdown, "--html": c.HTML} {
		if err := outside(flag, path, c.Data); err != nil {
			return err
		}
	}
	data, err := (readFlags{dataFlags: dataFlags{classFlags: classFlags{cacheFlag: c.cacheFlag}}}).images(e, c.Data, nil, "", threads)
	if err == nil {
		data, err = c.rename(e.stderr, data)
	}
	if err != nil {
		return err
	}
	if plan.Measure != reproduce.Top1Top5 {
		return c.localise(e, plan, data, threads)
	}
	return c.classify(e, plan, data, threads)
}

// classify reproduces a table of classification.
func (c *reproduceCommand) classify(e *environment, plan reproduce.Plan, data *dataset.Dataset, threads int) error {
	open, err := c.opener(e, c.FCWeights, threads)
	if err != nil {
		return err
	}
	found, err := c.find(open, plan, data)
	if err != nil {
		return err
	}
	nets := map[string]eval.Net{}
	options := reproduce.ClassificationOptions{
		Results: c.results(), Resources: c.resources(),
		Find: func(name string) (eval.Net, bool, error) {
			if n, known := nets[name]; known || found[name] == "" {
				return n, known, nil
			}
			n, err := open.identified(found[name], eval.Setting{}, true)
			if err != nil {
				return n, false, err
			}
			nets[name] = n
			return n, true, nil
		},
	}
	work, err := reproduce.ClassificationWork(e.ctx, plan, data, options, data.Len() >= measuredFrom)
	if err != nil {
		return err
	}
	defer boundHeap(work.Memory)()
	if work.Images > 0 {
		fmt.Fprintf(e.stderr, "to do: %s images by all networks%s\n", report.Count(int64(work.Images)), takes(work))
	}
	bar := e.newProgress()
	defer bar.close()
	options.OnNet = bar.each(unitImages)
	r, err := reproduce.Classification(e.ctx, plan, data, options)
	bar.close()
	if err != nil {
		return e.interrupted(err, c.results())
	}
	return c.finish(e, r)
}

// folder returns an error if a path is not a folder. what names it.
func folder(what, path string) error {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return fmt.Errorf("%s %s: no such folder", what, path)
	}
	return nil
}

// resources returns the share of the machine that the flags give.
func (c *reproduceCommand) resources() resources.Resources {
	return resources.Resources{Batch: c.Batch, Ranks: c.Ranks.n, Memory: int64(c.Memory), MaxPixels: c.pixels()}
}

// results returns the folder of result files.
func (c *reproduceCommand) results() string {
	if c.Results != "" {
		return c.Results
	}
	return filepath.Join(c.Weights, "results")
}

// find returns the files of the weights that a plan needs, "" for missing ones, and prints
// their number.
func (c *reproduceCommand) find(open *opener, plan reproduce.Plan, data *dataset.Dataset) (map[string]string, error) {
	files := map[string]string{}
	found := 0
	for _, name := range plan.Weights() {
		file, err := c.findWeights(open, name)
		if err != nil {
			return nil, err
		}
		if files[name] = file; file != "" {
			found++
		}
	}
	if found == 0 {
		return nil, c.noWeights(plan.Weights())
	}
	fmt.Fprintf(open.env.stderr, "%s\n%s images of %s; %d of %d networks found in %s; results in %s\n", plan.Title,
		report.Count(int64(data.Len())), data.Name, found, len(files), c.Weights, c.results())
	return files, nil
}

// noWeights is the error of a table none of whose networks is there, with what makes them.
func (c *reproduceCommand) noWeights(names []string) error {
	return fmt.Errorf("%s: none of the %d networks of %s, want files such as %s\n%s", c.Weights, len(names), c.Table,
		filepath.Join(c.Weights, names[0]+".safetensors"), strings.Join(c.missing(names), "\n"))
}

// missing returns a text on each of the names of weights that the folder lacks.
func (c *reproduceCommand) missing(names []string) []string {
	var texts []string
	for _, name := range names {
		texts = append(texts, fmt.Sprintf("No weights %s in %s.%s", name, c.Weights, c.training(name)))
	}
	return texts
}

// findWeights returns the file of a name of weights: the folder's or, if it has none, that of
// the public release of this name. It returns "" if there is neither.
func (c *reproduceCommand) findWeights(open *opener, name string) (string, error) {
	file, err := fileNamed(c.Weights, name)
	if err != nil || file != "" {
		return file, err
	}
	r, err := releases.Find(name, c.Source)
	if err != nil {
		return "", nil // a name of the folder's convention, such as D-256
	}
	return open.env.pull(r, c.Offline)
}

// plan returns the plan that the arguments name.
func (c *reproduceCommand) plan() (reproduce.Plan, error) {
	p, err := reproduce.NamedPlan(c.Table)
	if err == nil {
		return p, nil
	}
	if _, statErr := os.Stat(c.Table); statErr != nil && filepath.Ext(c.Table) == "" {
		return p, usageError{fmt.Errorf("%w, or a YAML file", err)}
	}
	return reproduce.LoadPlan(c.Table)
}

// fileNamed returns the file of a name of weights in a folder, or "".
func fileNamed(dir, name string) (string, error) {
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

// finish prints the table and writes its files.
func (c *reproduceCommand) finish(e *environment, r *reproduce.Result) error {
	table := r.Report()
	table.Notes = append(table.Notes, c.missing(r.Missing)...)
	if err := c.write(e, table, r); err != nil {
		return err
	}
	return unreadable(len(r.Unreadable), r.Images)
}

// write prints a table, or the result as JSON, and writes the files of the flags.
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

// outputs returns the files that the table is written to.
func (c *reproduceCommand) outputs() []output {
	list := []output{{"--markdown", c.Markdown}, {"--html", c.HTML}}
	if c.Markdown != "" && !atomicfile.IsStream(c.Markdown) {
		list = append(list, output{"--markdown", plotBeside(c.Markdown)})
	}
	return list
}

// plotBeside returns the path of the plot of a table in Markdown.
func plotBeside(markdown string) string {
	return strings.TrimSuffix(markdown, filepath.Ext(markdown)) + ".svg"
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
		plot := plotBeside(path)
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

// training returns the commands that train weights of a conventional name, or "".
func (c *reproduceCommand) training(name string) string {
	if text, ok := c.boxTraining(name); ok {
		return text
	}
	config, s, ok := reproduce.ConventionalName(name)
	if !ok {
		return ""
	}
	file := func(n string) string { return quoted(filepath.Join(c.Weights, n+".safetensors")) }
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
	return fmt.Sprintf(" To train it:\n  %s train --data %s --recipe %s --config %s%s --out %s\n  cp %s %s",
		program(), quoted(c.Data), recipe, config, from, quoted(run), quoted(filepath.Join(run, "best.safetensors")), file(name))
}
