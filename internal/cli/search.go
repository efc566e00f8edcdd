package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/internal/wholefile"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/transfer"
)

type indexCommand struct {
	Weights string `arg:"" help:"File of weights, or a configuration's name for its public release, with scales behind it if wanted: D.safetensors@256,384."`
	manyFlags
	Out    string `default:"index.npy" placeholder:"FILE" help:"Output: FILE.npy, with the names of the images in FILE.npy.jsonl (index.npy). The same command continues an interrupted run."`
	Update bool   `help:"Update the index: describe images that are new or changed and drop those that are gone."`
	verifyFlag
	descriptorFlags
	pixelsFlag
	duplicateFlags
	cacheFlag
	shardFlag
	jsonFlag
}

func (indexCommand) Help() string {
	return `Describes images for vgg similar, and lists near-duplicates. A descriptor is the activation of the layer averaged over the image and its mirror image, of length 1. The index keeps absolute paths of images and weights; images in tar shards, also on a server, or in a ZIP file have their names there.

Examples:

    vgg index D photos --out photos.npy
    vgg index D photos --out photos.npy --update
    vgg index D 's3://BUCKET/photos/shard-{000000..000012}.tar'` + exitHelp
}

// duplicateFlags are shared by the commands that list near-duplicates.
type duplicateFlags struct {
	Duplicates float64 `default:"0.99" placeholder:"X" help:"Least similarity of the near-duplicates that are listed; 0 looks for none (0.99)."`
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
	if c.Update && c.Shard != "" {
		return usagef("--update and --shard both, want one of them: an index is updated whole")
	}
	shard, err := c.shardOf(e, &c.Out)
	if err != nil {
		return err
	}
	nets, images, err := c.inputs(e)
	if err != nil {
		return err
	}
	o := c.options(c.pixels())
	o.Shard = shard
	o.OnRemark, o.Verify = e.remark, c.Verify
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
	if c.auto {
		merged, err := c.mergeDescriptors(e, shard)
		if err != nil || merged == nil {
			return err
		}
		c.Out, s = c.whole, merged
	}
	d, err := transfer.OpenMerged(e.ctx, c.Out)
	if err != nil && shard.Count > 1 && !c.auto { // a part has no near-duplicates of its own
		fmt.Fprintf(e.stderr, "vgg features --merge makes an index of all %d parts\n", shard.Count)
		return unreadable(len(s.Unreadable), s.Images+len(s.Unreadable))
	}
	if err != nil {
		return err
	}
	defer d.Close()
	pairs, groups, err := c.find(e, d)
	if err != nil {
		return err
	}
	return c.finish(e, d, pairs, groups, s, changes)
}

// inputs opens the images and the networks, whose files are named by absolute paths.
func (c *indexCommand) inputs(e *environment) ([]transfer.Net, *transfer.Images, error) {
	paths, err := c.take(e)
	if err != nil {
		return nil, nil, err
	}
	images, err := c.open(e, paths)
	if err != nil {
		return nil, nil, err
	}
	e.remarkSpecial(images.Dataset)
	nets, err := c.nets(e, c.Weights)
	if err != nil {
		return nil, nil, err
	}
	for i := range nets {
		if nets[i].Weights, err = filepath.Abs(nets[i].Weights); err != nil {
			return nil, nil, err
		}
	}
	return nets, images, nil
}

// open opens files, by absolute paths, or the images of shards or a ZIP file, whose names are
// those in them.
func (c *indexCommand) open(e *environment, paths []string) (*transfer.Images, error) {
	packed := func(path string) bool {
		ext := strings.ToLower(filepath.Ext(path))
		return remote.IsAddress(path) || ext == ".tar" || ext == ".zip"
	}
	set := transfer.ImageOptions{Layout: transfer.Classes, Classes: dataset.OpenOptions{Remote: c.server(e)}}
	if len(paths) == 1 && packed(paths[0]) {
		return openImages(e, set, paths)
	}
	files := make([]string, len(paths))
	for i, p := range paths {
		if packed(p) {
			return nil, usagef("%s: one of %d inputs, want shards or a ZIP file alone", remote.Plain(p), len(paths))
		}
		var err error
		if files[i], err = filepath.Abs(p); err != nil {
			return nil, err
		}
	}
	images, err := openImages(e, transfer.ImageOptions{Layout: transfer.Files}, files)
	if err != nil && len(files) == 1 { // a folder may have shards in the place of images
		if shards, setErr := openImages(e, set, files); setErr == nil {
			return shards, nil
		}
	}
	return images, err
}

// finish prints what the index holds and how it changed.
func (c *indexCommand) finish(e *environment, d *transfer.Descriptors, pairs []transfer.Pair, groups [][]int, s *transfer.Summary, changes *transfer.Changes) error {
	if c.JSON {
		if err := writeJSON(e.stdout, indexResult{c.Out, s, changes, filesOf(d, groups)}); err != nil {
			return err
		}
		return unreadable(len(s.Unreadable), s.Images+len(s.Unreadable))
	}
	printGroups(e, d, pairs, groups)
	err := (&featuresCommand{}).finish(e, featuresResult{Out: c.Out, Summary: s})
	if err != nil && !errors.Is(err, errUnreadable) {
		return err
	}
	if n := changes; n != nil {
		fmt.Fprintf(e.stdout, "%s kept as they were, %s described again, %s new, %s gone\n", report.Count(int64(n.Kept)), report.Count(int64(n.Redone)), report.Count(int64(n.Added)), report.Count(int64(n.Removed)))
	}
	fmt.Fprintf(e.stdout, "\nNext: %s\n", commandLine("similar", c.Out, anyFile(d.Rows)))
	return err
}

// find returns the pairs of near-duplicates and the groups that they form.
func (f duplicateFlags) find(e *environment, d *transfer.Descriptors) ([]transfer.Pair, [][]int, error) {
	if f.Duplicates == 0 {
		return nil, nil, nil
	}
	bar := e.newProgress()
	defer bar.close()
	pairs, err := d.Duplicates(e.ctx, f.Duplicates, transfer.SearchOptions{OnRows: bar.stage("looking for near-duplicates", unitImages)})
	if err != nil {
		return nil, nil, err
	}
	return pairs, transfer.Groups(pairs), nil
}

// filesOf returns the files of groups of rows.
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

// printGroups lists near-duplicates, each with its similarity to the one of its group that is
// most similar to it.
func printGroups(e *environment, d *transfer.Descriptors, pairs []transfer.Pair, groups [][]int) {
	if len(groups) == 0 {
		return
	}
	nearest := map[int]float32{}
	for _, p := range pairs {
		nearest[p.A], nearest[p.B] = max(nearest[p.A], p.Similarity), max(nearest[p.B], p.Similarity)
	}
	t := report.NewTable(right("Group"), right("Similarity"), left("Near-duplicates"))
	for i, g := range groups[:min(len(groups), mostGroups)] {
		for j, r := range g[:min(len(g), mostOfGroup)] {
			number := ""
			if j == 0 {
				number = fmt.Sprint(i + 1)
			}
			t.Row(number, fmt.Sprintf("%.4f", nearest[r]), d.Rows[r].File)
		}
		if n := len(g) - mostOfGroup; n > 0 {
			t.Row("", "", fmt.Sprintf("and %s more", report.Count(int64(n))))
		}
	}
	fmt.Fprintf(e.stdout, "%s\n", t)
	if n := len(groups) - mostGroups; n > 0 {
		fmt.Fprintf(e.stdout, "and %d groups more, which --json lists\n\n", n)
	}
}

// mostGroups is the number of groups of near-duplicates that the text lists.
const mostGroups = 25

// mostOfGroup is the number of a group's images that the text lists.
const mostOfGroup = 8

type similarCommand struct {
	Index   string   `arg:"" help:"Index (vgg index), or another file of descriptors of whole images (vgg features)."`
	Images  []string `arg:"" optional:"" name:"input" help:"Images: files, folders (images at any depth), globs, or - for standard input, which is one image or a list of paths, one a line."`
	Top     int      `default:"10" placeholder:"K" help:"Number of answers for each image (10)."`
	Least   float64  `default:"-1" placeholder:"X" help:"Least similarity of the images shown (any)."`
	HTML    string   `name:"html" placeholder:"FILE" help:"Also write a page of HTML: a contact sheet with thumbnails."`
	NearDup float64  `name:"duplicates" default:"0" placeholder:"X" help:"Least similarity of the near-duplicates that are listed; 0 looks for none (0)."`
	overwriteFlag
	describeFlags
	jsonFlag
}

func (similarCommand) Help() string {
	return `Finds the images of an index that are similar to others. The similarity is the cosine of the angle between two descriptors: 1 for the same image.

  - Images are described like those of the index. The answers are those of comparing with every one of it: nothing is approximate. Sketches of a large index, INDEX.npy.sketch, are made once.
  - Images are turned by their EXIF data, or taken as they are stored, as those were that the file describes.

Examples:

    vgg similar photos.npy holiday.jpg --html found.html
    vgg similar photos.npy --duplicates 0.99` + exitHelp
}

// similarLine is a line of `vgg similar --json`.
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
		return usagef("no images, want some to find similar ones of, or --duplicates")
	}
	if err := (duplicateFlags{c.NearDup}).check(); err != nil {
		return err
	}
	release, err := c.claim([]output{{"--html", c.HTML}}, append(append(namesOf(c.Weights), c.Index), c.Images...)...)
	if err != nil {
		return err
	}
	defer release()
	sheet := report.Sheet{Title: "Similar images"}
	bad, asked := 0, 0
	if len(c.Images) > 0 {
		if bad, asked, err = c.answer(e, &sheet); err != nil {
			return err
		}
	}
	if c.NearDup > 0 {
		if err := c.duplicates(e, &sheet); err != nil {
			return err
		}
	}
	if c.HTML != "" {
		if err := writeFile(c.HTML, sheet.WriteHTML); err != nil {
			return err
		}
	}
	return unreadable(bad, asked)
}

// answer prints the images similar to each of the command line, and adds them to the sheet.
func (c *similarCommand) answer(e *environment, sheet *report.Sheet) (bad, asked int, err error) {
	d, err := openIndex(e, c.Index)
	if err != nil {
		return 0, 0, err
	}
	defer d.Close()
	sheet.About = fmt.Sprintf("%s images of %s.", report.Count(int64(d.Images())), d.Header.Data.Name)
	lines, err := c.search(e, d)
	if err != nil {
		return 0, 0, err
	}
	for _, l := range lines {
		if l.Error != "" {
			bad++
		}
		if err := e.printImage(c.JSON, l, l.File, l.Error, l.table); err != nil {
			return 0, 0, err
		}
		if c.HTML != "" {
			sheet.Strips = append(sheet.Strips, stripOf(l))
		}
	}
	return bad, len(lines), nil
}

// duplicates prints the near-duplicates in the index, and adds them to the sheet.
func (c *similarCommand) duplicates(e *environment, sheet *report.Sheet) error {
	d, err := transfer.OpenMerged(e.ctx, c.Index)
	if err != nil {
		return err
	}
	defer d.Close()
	sheet.About = fmt.Sprintf("%s images of %s.", report.Count(int64(d.Summary().Images)), d.Header.Data.Name)
	pairs, groups, err := (duplicateFlags{c.NearDup}).find(e, d)
	if err != nil {
		return err
	}
	if c.JSON {
		err = writeJSON(e.stdout, map[string][][]string{"duplicates": filesOf(d, groups)})
	} else {
		printGroups(e, d, pairs, groups)
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
	return nil
}

// openIndex opens an index to search in. Sketches of a large one are made, once.
func openIndex(e *environment, path string) (*transfer.Index, error) {
	bar := e.newProgress()
	defer bar.close()
	return transfer.OpenIndex(e.ctx, path, transfer.SearchOptions{OnRows: bar.stage("sketching", unitImages)})
}

// search finds the images similar to each of the command line.
func (c *similarCommand) search(e *environment, d *transfer.Index) ([]similarLine, error) {
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
	bar := e.newProgress()
	defer bar.close()
	start := time.Now()
	found, cost, err := d.Search(e.ctx, queries, min(c.Top, d.Len()), transfer.SearchOptions{OnRows: bar.stage("comparing", unitImages)})
	bar.close()
	if err != nil {
		return nil, err
	}
	took := time.Since(start)
	sketched := ""
	if cost.Rows < int64(d.Len()) {
		sketched = fmt.Sprintf(", all numbers of %s and sketches of the others", report.Count(cost.Rows))
	}
	fmt.Fprintf(e.stderr, "%s descriptors of %s numbers compared in %s%s: %.3g million a second, %.3g GB/s\n", report.Count(int64(d.Len())), report.Count(int64(d.Header.Dim)),
		report.Duration(took), sketched, progress.Rate(float64(d.Len()*len(of)), took)/1e6, progress.Rate(float64(cost.Bytes), took)/1e9)
	for q, matches := range found {
		l := &lines[of[q]]
		l.Found = []similarImage{}
		for _, m := range matches {
			if float64(m.Similarity) < c.Least {
				continue
			}
			row, err := d.Row(m.Row)
			if err != nil {
				return nil, err
			}
			l.Found = append(l.Found, similarImage{row.File, m.Similarity})
		}
	}
	return lines, nil
}

// table shows the images found as text.
func (l similarLine) table() *report.Table {
	t := report.NewTable(right("Similarity"), left(l.File))
	for _, f := range l.Found {
		t.Row(fmt.Sprintf("%.4f", f.Similarity), f.File)
	}
	return t
}

// stripOf returns a strip of thumbnails: an image, then those found for it.
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

// cellOf returns a cell of the sheet, with a thumbnail if the file can be read.
func cellOf(file, caption string, query bool) report.SheetCell {
	cell := report.SheetCell{File: file, Caption: caption, Query: query}
	if data, err := wholefile.Read(file, preprocess.MaxFileBytes); err == nil {
		cell.Thumbnail, _ = report.Thumbnail(data)
	}
	return cell
}
