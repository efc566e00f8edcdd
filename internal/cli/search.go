package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/transfer"
)

type indexCommand struct {
	Weights string   `arg:"" help:"File of weights of any format that vgg convert reads, or a configuration's name for its public release, perhaps with scales behind it: D.safetensors@256,384."`
	Images  []string `arg:"" name:"folder" help:"Folders, whose images count at any depth, and image files."`
	Out     string   `default:"index.npy" placeholder:"FILE" help:"Index: FILE.npy, beside which FILE.npy.jsonl has the images' names (index.npy). A run that was interrupted goes on with it."`
	Update  bool     `help:"Bring the index up to date: pictures that are new or changed, in size or time, are described, those that are gone are dropped, and the others are kept as they are."`
	descriptorFlags
	duplicateFlags
	jsonFlag
}

func (indexCommand) Help() string {
	return `Describes images for vgg similar: by the activation of the layer averaged over the image and its mirror image, of length 1. Images that are nearly the same are listed. Paths and weights are kept as absolute paths.` + exitHelp
}

// duplicateFlags are shared by the commands that list near-duplicates.
type duplicateFlags struct {
	Duplicates float64 `default:"0.99" placeholder:"X" help:"Images whose similarity to another is at least X are listed as near-duplicates; 0: none are looked for (0.99)."`
}

func (f duplicateFlags) check() error {
	if !(f.Duplicates >= 0 && f.Duplicates <= 1) {
		return usagef("--duplicates %v, want 0 to 1", f.Duplicates)
	}
	return nil
}

// indexResult has the JSON keys of `vgg index --json`.
type indexResult struct {
	Out string `json:"out"`
	*transfer.Summary
	Changes    *transfer.Changes `json:"changes,omitempty"` // with --update
	Duplicates [][]string        `json:"duplicates"`        // groups of files
}

func (c *indexCommand) Run(e *environment) error {
	if err := errors.Join(c.descriptorFlags.check(), c.duplicateFlags.check()); err != nil {
		return usageError{err}
	}
	if filepath.Ext(c.Out) != ".npy" {
		return usagef("--out %s, want FILE.npy", c.Out)
	}
	if e.ctx.Err() != nil {
		return e.ctx.Err()
	}
	paths := slices.Clone(c.Images)
	for i, p := range paths {
		var err error
		if paths[i], err = filepath.Abs(p); err != nil {
			return err
		}
	}
	images, err := transfer.OpenImages(e.ctx, transfer.Files, paths...)
	if err != nil {
		return err
	}
	nets, err := c.nets(e, c.Weights)
	if err != nil {
		return err
	}
	for i := range nets {
		if nets[i].Weights, err = filepath.Abs(nets[i].Weights); err != nil {
			return err
		}
	}
	o := c.options()
	o.Stamp = true
	var changes *transfer.Changes
	s, err := c.making(e, nets, images, c.Out, o, func(o transfer.Options) (s *transfer.Summary, err error) {
		if c.Update {
			s, changes, err = transfer.Update(e.ctx, nets, images, c.Out, o)
			return s, err
		}
		s, err = transfer.Extract(e.ctx, nets, images, c.Out, o)
		return s, updateHint(err)
	})
	if err != nil {
		return err
	}
	d, err := transfer.Open(e.ctx, c.Out)
	if err != nil {
		return err
	}
	defer d.Close()
	_, groups, err := c.find(e, d)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := writeJSON(e.stdout, indexResult{c.Out, s, changes, filesOf(d, groups)}); err != nil {
			return err
		}
		return unreadable(len(s.Unreadable), s.Images+len(s.Unreadable))
	}
	printGroups(e, d, groups)
	err = (&featuresCommand{}).finish(e, featuresResult{Out: c.Out, Summary: s})
	if err != nil && !errors.Is(err, errUnreadable) {
		return err
	}
	if n := changes; n != nil {
		fmt.Fprintf(e.stdout, "%s kept as they were, %s described again, %s new, %s gone\n", report.Count(int64(n.Kept)), report.Count(int64(n.Redone)), report.Count(int64(n.Added)), report.Count(int64(n.Removed)))
	}
	fmt.Fprintf(e.stdout, "\nNext: vgg similar %s PHOTO.jpg\n", c.Out)
	return err
}

// find looks for near-duplicates.
func (f duplicateFlags) find(e *environment, d *transfer.Descriptors) ([]transfer.Pair, [][]int, error) {
	if f.Duplicates == 0 {
		return nil, nil, nil
	}
	bar := newProgress(e.stderr, d.Len(), "images")
	defer bar.close()
	pairs, err := d.Duplicates(e.ctx, f.Duplicates, transfer.SearchOptions{OnRows: func(done, _ int64) { bar.set(int(done), "looking for near-duplicates") }})
	if err != nil {
		return nil, nil, err
	}
	return pairs, transfer.Groups(pairs), nil
}

// filesOf names the files of groups of rows.
func filesOf(d *transfer.Descriptors, groups [][]int) [][]string {
	names := [][]string{}
	for _, g := range groups {
		var files []string
		for _, r := range g {
			files = append(files, d.Rows[r].File)
		}
		names = append(names, files)
	}
	return names
}

// printGroups lists near-duplicates.
func printGroups(e *environment, d *transfer.Descriptors, groups [][]int) {
	if len(groups) == 0 {
		return
	}
	t := report.NewTable(right("Group"), report.Column{Title: "Near-duplicates"})
	for i, g := range groups[:min(len(groups), mostGroups)] {
		for j, r := range g {
			number := ""
			if j == 0 {
				number = fmt.Sprint(i + 1)
			}
			t.Row(number, d.Rows[r].File)
		}
	}
	fmt.Fprintf(e.stdout, "%s\n", t)
	if n := len(groups) - mostGroups; n > 0 {
		fmt.Fprintf(e.stdout, "and %d groups more, which --json lists\n\n", n)
	}
}

// mostGroups is how many groups of near-duplicates people are shown.
const mostGroups = 25

type similarCommand struct {
	Index   string   `arg:"" help:"Index (vgg index), or another file of descriptors of whole images (vgg features)."`
	Images  []string `arg:"" optional:"" name:"image" help:"Image files, globs or folders to find similar images of."`
	Top     int      `default:"10" placeholder:"K" help:"Images found for each (10)."`
	Least   float64  `default:"-1" placeholder:"X" help:"Least similarity of what is shown (any)."`
	HTML    string   `name:"html" placeholder:"FILE" help:"Write a contact sheet, a page of HTML with thumbnails."`
	NearDup float64  `name:"duplicates" default:"0" placeholder:"X" help:"List, too, the images of the index whose similarity is at least X (0: none)."`
	describeFlags
	jsonFlag
}

func (similarCommand) Help() string {
	return `Describes each image as the index's were and compares it with every one of them: the similarity is the cosine of the angle between the descriptors, 1 for the same image. Nothing is approximate. Images are turned as they are stored, not as their EXIF data say.` + exitHelp
}

// similarLine is what `vgg similar --json` prints of an image.
type similarLine struct {
	File  string         `json:"file"`
	Found []similarImage `json:"found,omitempty"`
	Error string         `json:"error,omitempty"`
}

type similarImage struct {
	File       string  `json:"file"`
	Similarity float32 `json:"similarity"`
}

func (c *similarCommand) Run(e *environment) error {
	switch {
	case c.Top < 1:
		return usagef("--top %d, want at least 1", c.Top)
	case len(c.Images) == 0 && c.NearDup == 0:
		return usagef("no image to find similar ones of, and no --duplicates")
	}
	if err := (duplicateFlags{c.NearDup}).check(); err != nil {
		return err
	}
	d, err := transfer.OpenMerged(e.ctx, c.Index)
	if err != nil {
		return err
	}
	defer d.Close()
	sheet := report.Sheet{Title: "Similar images", About: fmt.Sprintf("%s images of %s.", report.Count(int64(d.Summary().Images)), d.Header.Data.Name)}
	bad := 0
	asked := 0
	if len(c.Images) > 0 {
		lines, err := c.search(e, d)
		if err != nil {
			return err
		}
		asked = len(lines)
		for _, l := range lines {
			if l.Error != "" {
				bad++
			}
			if err := c.print(e, l); err != nil {
				return err
			}
			if c.HTML != "" {
				sheet.Strips = append(sheet.Strips, stripOf(l))
			}
		}
	}
	if c.NearDup > 0 {
		pairs, groups, err := (duplicateFlags{c.NearDup}).find(e, d)
		if err != nil {
			return err
		}
		if c.JSON {
			err = writeJSON(e.stdout, map[string][][]string{"duplicates": filesOf(d, groups)})
		} else {
			printGroups(e, d, groups)
			_, err = fmt.Fprintf(e.stdout, "%d pairs in %d groups have a similarity of at least %g\n", len(pairs), len(groups), c.NearDup)
		}
		if err != nil {
			return err
		}
		for i, g := range groups {
			strip := report.Strip{Title: fmt.Sprintf("Near-duplicates, group %d", i+1)}
			for _, r := range g {
				strip.Cells = append(strip.Cells, cellOf(d.Rows[r].File, "", false))
			}
			sheet.Strips = append(sheet.Strips, strip)
		}
	}
	if c.HTML != "" {
		if err := writeFile(c.HTML, sheet.WriteHTML); err != nil {
			return err
		}
	}
	return unreadable(bad, asked)
}

// search finds the images similar to those asked about.
func (c *similarCommand) search(e *environment, d *transfer.Descriptors) ([]similarLine, error) {
	pictures, err := c.describe(e, c.Index, d.Header, c.Images)
	if err != nil {
		return nil, err
	}
	lines := make([]similarLine, len(pictures))
	var queries []float32
	var of []int
	for i, p := range pictures {
		lines[i].File = p.file
		if p.err != nil {
			lines[i].Error = p.err.Error()
			continue
		}
		queries, of = append(queries, p.x...), append(of, i)
	}
	if len(of) == 0 {
		return lines, nil
	}
	bar := newProgress(e.stderr, d.Len(), "images")
	defer bar.close()
	start := time.Now()
	found, err := d.Search(e.ctx, queries, min(c.Top, d.Len()), transfer.SearchOptions{OnRows: func(done, _ int64) { bar.set(int(done), "comparing") }})
	bar.close()
	if err != nil {
		return nil, err
	}
	took := time.Since(start)
	bytes := 4 * float64(d.Len()) * float64(d.Header.Dim)
	fmt.Fprintf(e.stderr, "%s descriptors of %s numbers compared in %s: %.3g million a second, %.3g GB/s\n", report.Count(int64(d.Len())), report.Count(int64(d.Header.Dim)),
		report.Duration(took), float64(d.Len()*len(of))/took.Seconds()/1e6, bytes/took.Seconds()/1e9)
	for q, matches := range found {
		l := &lines[of[q]]
		l.Found = []similarImage{}
		for _, m := range matches {
			if float64(m.Similarity) >= c.Least {
				l.Found = append(l.Found, similarImage{d.Rows[m.Row].File, m.Similarity})
			}
		}
	}
	return lines, nil
}

func (c *similarCommand) print(e *environment, l similarLine) error {
	if c.JSON {
		return writeJSON(e.stdout, l)
	}
	if l.Error != "" {
		return e.skipped(l.File, l.Error)
	}
	t := report.NewTable(right("Similarity"), report.Column{Title: l.File})
	for _, f := range l.Found {
		t.Row(fmt.Sprintf("%.4f", f.Similarity), f.File)
	}
	_, err := fmt.Fprintln(e.stdout, t)
	return err
}

// stripOf is a query and what was found, with thumbnails.
func stripOf(l similarLine) report.Strip {
	s := report.Strip{Title: l.File}
	caption := "query"
	if l.Error != "" {
		caption = l.Error
	}
	s.Cells = append(s.Cells, cellOf(l.File, caption, true))
	for _, f := range l.Found {
		s.Cells = append(s.Cells, cellOf(f.File, fmt.Sprintf("%.4f", f.Similarity), false))
	}
	return s
}

// cellOf is a file's picture, if it can be read.
func cellOf(file, caption string, query bool) report.SheetCell {
	cell := report.SheetCell{File: file, Caption: caption, Query: query}
	if data, err := os.ReadFile(file); err == nil {
		cell.Thumbnail, _ = report.Thumbnail(data)
	}
	return cell
}
