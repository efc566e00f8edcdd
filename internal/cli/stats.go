package cli

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
)

type statsCommand struct {
	setFlags
	Part   string `default:"train" enum:"train,val" placeholder:"PART" help:"Part of the images: train or val. A set without parts is taken whole (train)."`
	Sheets string `placeholder:"DIR" help:"Also write a contact sheet of each class, as PNG, into this folder."`
	Fresh  bool   `help:"Decode the images even if there is a stored result."`
	overwriteFlag
	readFlags
	memoryFlag
	threadsFlag
	jsonFlag
}

func (statsCommand) Help() string {
	return `Decodes every image once and shows the mean RGB (which training subtracts), the eigenvalues and eigenvectors of the RGB covariance (by which training shifts colours), the sizes of the images and the images of each class.

  - What was understood of the folders comes first: layout, parts, what was left out, and the pictures that are in both parts.
  - The result is stored in .vgg-stats.json beside the images, or in the user's cache if that folder is read-only.
  - Later runs, also of vgg train, use it until names, sizes or dates of the files change.
  - Training on images without parts keeps some for validation and measures the others.

Examples:

    vgg stats photos
    vgg stats photos --sheets sheets --check-leaks
    vgg stats ILSVRC --part val --json` + exitHelp
}

// statsResult has the JSON keys of `vgg stats --json`.
type statsResult struct {
	Data string `json:"data"`
	contents
	dataset.Survey
	Boxes *boxContents   `json:"boxes"` // null where there are none
	Leaks *dataset.Leaks `json:"leaks"` // null without a part to validate on
	Std   [3]float64     `json:"std"`
	Kept  bool           `json:"kept"` // stored by an earlier run
}

func (c *statsCommand) Run(e *environment) error {
	if err := c.take("a set to measure"); err != nil {
		return err
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	if err := c.checkSheets(); err != nil {
		return err
	}
	defer c.bound()()
	room := c.room()
	train, val, err := c.open(e, c.Data)
	if err != nil {
		return err
	}
	d := train
	if c.Part == "val" {
		if d = val; val == nil {
			return fmt.Errorf("--part %s: %s has no such part", c.Part, c.Data)
		}
	}
	bar := e.newProgress()
	defer bar.close()
	o := dataset.StatsOptions{Workers: threads, MaxPixels: c.pixels(), Room: room, CacheDir: cacheDir(), Progress: bar.stage("measuring", unitImages)}
	r := statsResult{Data: d.Name, contents: contentsOf(d.Source())}
	if c.Fresh {
		r.Survey, err = dataset.ComputeSurvey(e.ctx, d, o)
	} else {
		r.Survey, r.Kept, err = dataset.CachedSurvey(e.ctx, d, o)
	}
	bar.close()
	if err != nil {
		return err
	}
	r.Std = r.Stats.Std()
	if r.Boxes, err = c.boxes(e, d); err != nil {
		return err
	}
	if val != nil {
		leaks, err := c.leaks(e, train, val, dataset.LeakOptions{Workers: threads, MaxPixels: c.pixels(), Room: room})
		if err != nil {
			return err
		}
		r.Leaks = &leaks
	}
	if c.Sheets != "" {
		if err := c.writeSheets(e, room, train, val); err != nil {
			return err
		}
	}
	if c.JSON {
		if r.Unreadable == nil {
			r.Unreadable = []dataset.BadImage{}
		}
		err = writeJSON(e.stdout, r)
	} else {
		err = c.print(e, r, c.found(train, val, d, r.Leaks))
	}
	if err != nil {
		return err
	}
	return unreadable(len(r.Unreadable), d.Len())
}

// cacheDir returns the folder for results that can't be stored beside the data; "" if the
// user has none.
func cacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "vgg")
}

// found describes the collection in lines.
func (c *statsCommand) found(train, val, d *dataset.Dataset, leaks *dataset.Leaks) string {
	var lines []string
	if src := d.Source(); src != nil {
		lines = append(lines, "Layout: "+describeLayout(src))
		lines = append(lines, describeSkipped(src)...)
	}
	if missing := missingClasses(train, val); len(missing) > 0 {
		lines = append(lines, "Without validation images: "+shorten(missing, allClasses))
	}
	if leaks != nil {
		lines = append(lines, leakLines(*leaks, val.Len())...)
	}
	if c.Sheets != "" {
		lines = append(lines, fmt.Sprintf("Contact sheets of %s classes in %s", report.Count(int64(len(train.Classes))), c.Sheets))
	}
	return "  " + strings.Join(lines, "\n  ") + "\n"
}

func (c *statsCommand) print(e *environment, r statsResult, found string) error {
	pixels := report.NewTable(report.Column{Title: ""}, right("R"), right("G"), right("B"), right("Eigenvalue"))
	pixels.Row(append([]string{"Mean"}, figures(r.Mean[:], "%.3f")...)...)
	pixels.Row(append([]string{"Standard deviation"}, figures(r.Std[:], "%.3f")...)...)
	for i, v := range r.Eigenvectors {
		pixels.Row(slices.Concat([]string{fmt.Sprintf("Eigenvector %d", i+1)}, figures(v[:], "%.4f"), []string{fmt.Sprintf("%.2f", r.Eigenvalues[i])})...)
	}
	sizes := report.NewTable(report.Column{Title: "Pixels"}, right("Least"), right("5 %"), right("Median"), right("95 %"), right("Greatest"), right("Mean"))
	for _, s := range []struct {
		name string
		d    dataset.Distribution
	}{{"Width", r.Width}, {"Height", r.Height}, {"Smallest side", r.ShortSide}} {
		sizes.Row(slices.Concat([]string{s.name}, figures([]int{s.d.Min, s.d.P5, s.d.Median, s.d.P95, s.d.Max}, "%d"), []string{fmt.Sprintf("%.1f", s.d.Mean)})...)
	}
	kept := ""
	if r.Kept {
		kept = ", as measured before"
	}
	_, err := fmt.Fprintf(e.stdout, "%s: %s images of %d classes, %s pixels%s\n%s\n%s\n%s\n%s",
		r.Data, report.Count(int64(r.Images)), len(r.Classes), report.Count(r.Pixels), kept, found, pixels, sizes, classBalance(r.Classes))
	if r.Boxes != nil {
		_, err = fmt.Fprintf(e.stdout, "\n%s", r.Boxes)
	}
	if r.Grey16 > 0 {
		_, err = fmt.Fprintf(e.stdout, "\n%s images: %s\n", report.Count(int64(r.Grey16)), preprocess.Grey16Remark)
	}
	if len(r.Unreadable) > 0 {
		_, err = fmt.Fprintf(e.stdout, "\n%s", unreadableTable(r.Unreadable))
	}
	return err
}

// mostClasses is the number of classes that are listed. Of more, only the largest and the
// smallest are.
const mostClasses = 30

func classBalance(classes []dataset.ClassCount) *report.Table {
	t := report.NewTable(report.Column{Title: "Class"}, right("Images"), right("Share"), report.Column{Title: "Name"})
	total := 0
	for _, c := range classes {
		total += c.Images
	}
	row := func(c dataset.ClassCount) {
		t.Row(c.Class, report.Count(int64(c.Images)), report.Percent(float64(c.Images)/math.Max(1, float64(total))), c.Title)
	}
	if len(classes) <= mostClasses {
		for _, c := range classes {
			row(c)
		}
		return t
	}
	sorted := slices.Clone(classes)
	slices.SortStableFunc(sorted, func(a, b dataset.ClassCount) int { return b.Images - a.Images })
	for _, c := range sorted[:mostClasses/2] {
		row(c)
	}
	t.Row(fmt.Sprintf("… %d more …", len(classes)-2*(mostClasses/2)))
	for _, c := range sorted[len(sorted)-mostClasses/2:] {
		row(c)
	}
	return t
}
