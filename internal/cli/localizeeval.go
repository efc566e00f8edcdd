package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/localize"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/resources"
)

type localizeEvalCommand struct {
	Weights string `arg:"" help:"Localisation network (vgg localize train), with scales behind it if wanted: PCR.safetensors@256,384. With --merge: result files."`
	setFlags
	withFlag
	Protocol string `default:"centre" enum:"centre,center,dense,multi-crop" placeholder:"NAME" help:"Views of an image: centre, the box of the true class from the central crop; dense, the whole image, with merged boxes and, with --classifier, the five most probable classes; multi-crop, the same with 5×5 crops (centre)."`
	Scales   []int  `placeholder:"Q" help:"Smallest sides to which images are rescaled, in pixels (as the weights tell)."`
	Out      string `placeholder:"FILE" help:"Output: a result file with the boxes of every image, as soon as they are known. An interrupted run continues from it."`
	verifyFlag
	Merge      bool   `help:"Combine the shards of one run, which the arguments name, into --out instead of running. The command of the run with this --out, and without --shard, then shows the result."`
	Draw       string `placeholder:"FILE" help:"Draw the boxes, as PNG: the best and the worst beside the true ones."`
	DrawImages int    `default:"12" placeholder:"N" help:"Number of images to draw, half of them the best (12)."`
	overwriteFlag
	readFlags
	boxFlags
	storageFlag
	deviceFlags
	denseFlags
	memoryFlag
	shardFlag
	threadsFlag
	jsonFlag
}

func (localizeEvalCommand) Help() string {
	return `Measures the localisation error. A box is right if its intersection over union (IoU) with a true box of the image's class is above one half.

  - The error given the class is that of the box for the true class.
  - The top-5 error also asks for the class: one of the five most probable classes must be the true one, with a right box.
  - Of a folder with train and val, val is measured. Boxes of several networks, by --with, are merged.
  - Unreadable images are counted separately, images without a box of their class are left out, and boxes that extend beyond the image are cut to it.
  - Annotations are of the image as it is stored. Where the network wants it upright, they are turned with it.
  - Three baselines that see no pixel stand beside the result: the whole image, the mean box of the training images, and the mean box of the class.

Examples:

    vgg localize eval PCR.safetensors ILSVRC
    vgg localize eval PCR.safetensors@256,384 --classifier D --data ILSVRC --protocol dense --out boxes.jsonl
    vgg localize eval --merge 1.jsonl 2.jsonl --out boxes.jsonl` + exitHelp
}

// localizeResult has the JSON keys of `vgg localize eval --json`.
type localizeResult struct {
	Boxes      []string `json:"boxes"`
	Classifier []string `json:"classifier,omitempty"`
	Scales     [][]int  `json:"scales"`
	*localize.Result
	Merge float64 `json:"merge_threshold"`
}

func (c *localizeEvalCommand) Run(e *environment) error {
	if c.Merge {
		return c.merge(e)
	}
	if c.DrawImages < 1 || c.DrawImages > 100 {
		return usagef("--draw-images %d, want 1 to 100", c.DrawImages)
	}
	if err := asPNG(output{"--draw", c.Draw}); err != nil {
		return err
	}
	if err := c.take("images with boxes to measure the error on"); err != nil {
		return err
	}
	if c.Verify && c.Out == "" {
		return usagef("--verify without --out, want both: it compares the images with the result file")
	}
	protocol, err := eval.ParseProtocol(c.Protocol)
	if err != nil {
		return usageError{err}
	}
	shard, err := c.shard(e, &c.Out)
	if err != nil {
		return err
	}
	if shard.Count > 1 && c.Draw != "" && !c.auto {
		return usagef("--draw with --shard, want it without, for all images")
	}
	release, err := c.claimDraw()
	if err != nil {
		return err
	}
	defer release()
	threads, err := c.apply()
	if err != nil {
		return err
	}
	l, err := c.locator(e, c.networks(), c.FCWeights, c.deviceFlags, threads)
	if err != nil {
		return err
	}
	for i := range l.Nets {
		if l.Nets[i].Scales == nil {
			l.Nets[i].Scales = c.Scales
		}
	}
	if err := l.Check(); err != nil {
		return usageError{err}
	}
	if err := errors.Join(outside("--out", c.Out, c.Data), outside("--draw", c.Draw, c.Data)); err != nil {
		return err
	}
	images, err := c.images(e, c.Data, l.Nets[0].Model.Classes, c.Weights, threads)
	if err != nil {
		return err
	}
	data, err := c.read(e, e.human(c.JSON), "", images, c.Annotations)
	if err != nil {
		return err
	}
	defer c.bound()()
	options := localize.EvalOptions{Protocol: protocol, Resources: resources.Resources{Workers: threads, Memory: int64(c.Memory), MaxPixels: c.pixels(), OnRemark: e.remark}, Out: c.Out, Verify: c.Verify, Shard: shard}
	r, err := c.evaluate(e, l, data, options)
	if err != nil {
		return err
	}
	last := false
	if c.auto {
		last, err = c.merging(e, shard, func(parts []string) error {
			if err := localize.MergeShards(e.ctx, parts, c.whole); err != nil {
				return err
			}
			options.Out, options.Shard = c.whole, eval.Shard{}
			r, err = c.evaluate(e, l, data, options)
			return err
		})
		if err != nil {
			return err
		}
		if !last {
			c.Draw = ""
		}
	}
	if c.Draw != "" {
		sheet, err := c.sheet(r, data, l.Orient())
		if err != nil {
			return err
		}
		if err := writeFile(c.Draw, sheet.EncodePNG); err != nil {
			return err
		}
	}
	if c.JSON {
		out := localizeResult{Boxes: c.networks(), Classifier: c.Classifier, Result: r, Merge: c.MergeBelow}
		for _, n := range l.Nets {
			out.Scales = append(out.Scales, n.UsedScales())
		}
		err = writeJSON(e.stdout, out)
	} else {
		err = printLocalisation(e.stdout, r, l)
	}
	if err != nil {
		return err
	}
	if c.auto && !last { // they count in the whole
		return nil
	}
	return unreadable(r.Unreadable, r.Images+r.Unreadable)
}

// merge combines shards. What they are measured by, the networks and the set, isn't in the files.
func (c *localizeEvalCommand) merge(e *environment) error {
	switch {
	case c.Data != "" || c.Shard != "" || c.With != nil || c.Classifier != nil || c.Verify || c.Draw != "":
		return usagef("--merge reads result files, want no --data, --with, --classifier, --shard, --verify or --draw")
	case c.Out == "":
		return usagef("--merge without --out, want the file for the results of all shards")
	}
	shards := append([]string{c.Weights}, c.Sets...)
	if err := c.overwriteFlag.check([]output{{"--out", c.Out}}, shards...); err != nil {
		return err
	}
	if err := localize.MergeShards(e.ctx, shards, c.Out); err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(e.stdout, map[string]any{"out": c.Out, "shards": len(shards)})
	}
	_, err := fmt.Fprintf(e.stdout, "%d shards are merged into %s; the command of the run with --out %s, and without --shard, shows the result\n", len(shards), c.Out, c.Out)
	return err
}

// networks returns the localisation networks.
func (c *localizeEvalCommand) networks() []string { return append([]string{c.Weights}, c.With...) }

// claimDraw claims the picture.
func (c *localizeEvalCommand) claimDraw() (release func(), err error) {
	if err := distinct([]output{{"--out", c.Out}, {"--draw", c.Draw}}, nil); err != nil {
		return nil, err
	}
	return c.claim([]output{{"--draw", c.Draw}}, append(namesOf(c.networks(), c.Classifier), c.Data, c.Out, c.Annotations, c.Labels)...)
}

// evaluate locates the objects of all images.
func (c *localizeEvalCommand) evaluate(e *environment, l *localize.Locator, data *dataset.Dataset, o localize.EvalOptions) (*localize.Result, error) {
	if o.Out != "" {
		var err error
		if o.RunID, err = c.runID(e, l); err != nil {
			return nil, err
		}
	}
	bar := e.newProgress()
	defer bar.close()
	o.OnImage = bar.stage("locating", unitImages)
	r, err := localize.Evaluate(e.ctx, l, data, o)
	return r, e.interrupted(err, o.Out)
}

// runID returns a text that identifies the networks, by their content, and their settings.
func (c *localizeEvalCommand) runID(e *environment, l *localize.Locator) (string, error) {
	open := c.opener(e, c.FCWeights, 0)
	var parts []string
	for i, arg := range c.networks() {
		spec, err := parseNet(arg)
		if err != nil {
			return "", err
		}
		sum, err := open.sha256(spec.name)
		if err != nil {
			return "", err
		}
		parts = append(parts, fmt.Sprintf("%.16s@%s", sum, strings.ReplaceAll(joinInts(l.Nets[i].UsedScales()), ", ", ",")))
	}
	for _, name := range c.Classifier {
		sum, err := open.sha256(name)
		if err != nil {
			return "", err
		}
		parts = append(parts, fmt.Sprintf("classifier %.16s", sum))
	}
	if given := (fileFlags{Preprocess: c.Preprocess, Labels: c.Labels, Head: c.Head, Input: c.Input, Config: c.Config, leftoverFlags: c.leftoverFlags}); !reflect.DeepEqual(given, fileFlags{}) {
		parts = append(parts, fmt.Sprintf("classifiers opened by %q", []string{given.Preprocess, given.Labels, given.Head, fmt.Sprint(given.Input), given.Config, strings.Join(given.Ignore, " "), given.Prefix}))
	}
	id := fmt.Sprintf("%s, merge %g, weights %s", strings.Join(parts, " + "), c.MergeBelow, c.FCWeights)
	d, err := c.deviceFlags.on(e, 0, 1)
	if err == nil && d != nil {
		id += ", on " + d.ID()
	}
	return id, err
}

// printLocalisation prints a result as text.
func printLocalisation(w io.Writer, r *localize.Result, l *localize.Locator) error {
	for _, t := range localisationTables(r, l) {
		fmt.Fprintf(w, "\n%s", t)
	}
	if len(r.Bad) > 0 {
		fmt.Fprintf(w, "\n%s", unreadableTable(r.Bad))
	}
	if r.Without > 0 {
		fmt.Fprintf(w, "\n%s images without a box of their class are left out.\n", report.Count(int64(r.Without)))
	}
	if r.Top5 != nil {
		fmt.Fprintf(w, "\nTop-5 localisation error %s (%s), top-1 %s (%s); the class alone: top-5 %s, top-1 %s.",
			report.Percent(r.Top5.Error), interval(r.Top5.Range), report.Percent(r.Top1.Error), interval(r.Top1.Range),
			report.Percent(r.Top5.ClassError), report.Percent(r.Top1.ClassError))
	}
	how := "central crop"
	if r.Protocol != eval.Centre {
		how = r.Protocol.String() + ", boxes merged"
	}
	var scales []string
	for _, n := range l.Nets {
		scales = append(scales, joinInts(n.UsedScales()))
	}
	_, err := fmt.Fprintf(w, "\nLocalisation error given the class %s (%s), mean IoU %.3f on %d images of %s: %s, scale %s.\n",
		report.Percent(r.Error), interval(r.Range), r.MeanIoU, r.Images, r.Data, how, strings.Join(scales, " and "))
	return err
}

// localisationTables returns the errors by class, by size of the box, and of all images
// beside the baselines.
func localisationTables(r *localize.Result, l *localize.Locator) []string {
	iou := func(v float64) string {
		if math.IsNaN(v) {
			return "–"
		}
		return fmt.Sprintf("%.3f", v)
	}
	percent := func(v float64) string {
		if math.IsNaN(v) {
			return "–"
		}
		return report.Percent(v)
	}
	classes := report.NewTable(left("Class"), right("Images"), right("Error"), right("Mean IoU"))
	for _, c := range r.Classes {
		classes.Row(c.Class, report.Count(int64(c.Images)), percent(c.Error), iou(c.MeanIoU))
	}
	sizes := report.NewTable(left("Box's share of the image"), right("Images"), right("Error"), right("Mean IoU"))
	for _, s := range r.Sizes {
		sizes.Row(fmt.Sprintf("%.0f to %.0f %%", 100*s.From, 100*s.To), report.Count(int64(s.Images)), percent(s.Error), iou(s.MeanIoU))
	}
	all := report.NewTable(left("Box"), right("Error"), right("95 % interval"), right("Mean IoU"))
	name := string(l.Nets[0].Model.Localisation.Regression)
	if len(l.Nets) > 1 {
		name = fmt.Sprintf("%d networks", len(l.Nets))
	}
	all.Row(name, report.Percent(r.Error), interval(r.Range), iou(r.MeanIoU))
	all.Rule()
	for _, b := range r.Baselines {
		all.Row(b.Name, report.Percent(b.Error), "", iou(b.MeanIoU))
	}
	return []string{classes.String(), sizes.String(), "Given the class\n" + all.String()}
}

// sheet draws the best and the worst boxes.
func (c *localizeEvalCommand) sheet(r *localize.Result, data *dataset.Dataset, orient preprocess.Orient) (report.BoxSheet, error) {
	o := preprocess.DecodeOptions{Orient: orient, MaxPixels: c.pixels()}
	var sorted []*localize.Record
	for _, rec := range r.Records {
		if rec.Error == "" {
			sorted = append(sorted, rec)
		}
	}
	slices.SortStableFunc(sorted, func(a, b *localize.Record) int { return cmp.Compare(b.GivenIoU, a.GivenIoU) })
	var names []string
	for _, arg := range c.networks() {
		names = append(names, filepath.Join(filepath.Base(filepath.Dir(arg)), filepath.Base(arg)))
	}
	sheet := report.BoxSheet{
		Title:    fmt.Sprintf("Boxes by %s on %s", strings.Join(names, ", "), filepath.Base(r.Data)),
		Subtitle: fmt.Sprintf("Given the class; the true box is white. Localisation error %s, mean IoU %.3f.", report.Percent(r.Error), r.MeanIoU),
	}
	n := min((c.DrawImages+1)/2, len(sorted))
	var err error
	if sheet.Rows, err = boxRows(sheet.Rows, "The best", sorted[:n], data, o); err == nil {
		sheet.Rows, err = boxRows(sheet.Rows, "The worst", sorted[len(sorted)-n:], data, o)
	}
	return sheet, err
}

// boxRows appends rows of images with their boxes, the first of them under a heading.
func boxRows(rows []report.BoxRow, heading string, records []*localize.Record, data *dataset.Dataset, o preprocess.DecodeOptions) ([]report.BoxRow, error) {
	const perRow = 6
	index := map[string]int{}
	for i, s := range data.Samples {
		index[s.Name] = i
	}
	for part := range slices.Chunk(records, perRow) {
		row := report.BoxRow{Heading: heading}
		heading = ""
		for _, rec := range part {
			raw, err := data.Read(index[rec.File])
			if err != nil {
				return nil, err
			}
			im, err := preprocess.Decode(raw, o)
			if err != nil {
				return nil, err
			}
			b := report.BoxImage{W: im.W, H: im.H, Pix: im.Pix, Caption: fmt.Sprintf("%s, IoU %.2f", data.Classes[data.Samples[index[rec.File]].Label], rec.GivenIoU)}
			for _, t := range rec.Truths {
				b.Boxes = append(b.Boxes, report.DrawnBox{Box: t, Truth: true})
			}
			b.Boxes = append(b.Boxes, report.DrawnBox{Box: rec.Given})
			row.Images = append(row.Images, b)
		}
		rows = append(rows, row)
	}
	return rows, nil
}
