package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/transfer"
)

type featuresCommand struct {
	Weights string `arg:"" help:"File of weights, or a configuration's name for its public release, with scales behind it if wanted: D.safetensors@256,384. With --merge: files of descriptors."`
	manyFlags
	Out string `required:"" placeholder:"FILE" help:"Output: FILE.npy, with names and labels in FILE.npy.jsonl; FILE.safetensors; FILE.jsonl with one image a line; or FILE.parquet with one image a row. The same command continues an interrupted run."`
	verifyFlag
	Merge bool `help:"Combine the shards of one run, which the arguments name, instead of running."`
	descriptorFlags
	Region string          `default:"image" enum:"image,box,image+box" placeholder:"WHAT" help:"Region of the persons of voc-action: image, box, or both stacked, image+box (image)."`
	Layout transfer.Layout `default:"auto" enum:"auto,files,classes,folders,parts,boxes,voc,voc-action" placeholder:"NAME" help:"Layout, of folders that can be read in several ways: folders, parts and boxes as of vgg train; classes, any of these, lists and shards; voc, several classes an image; voc-action, persons; files, no labels (auto, which asks if in doubt)."`
	classFlags
	leakFlag
	pixelsFlag
	overwriteFlag
	shardFlag
	jsonFlag
}

func (featuresCommand) Help() string {
	return `Computes a descriptor of each image: the activation of a layer over the whole image, averaged over positions and with that of the mirror image, divided by its Euclidean norm (appendix B of the paper).

  - The default layer is the penultimate one, after its rectification.
  - The descriptors of several scales and networks are stacked.
  - Several layers, as --layer conv4_3,pool5, come of one pass, each in a file of its own: photos-conv4_3.npy and photos-pool5.npy for --out photos.npy.
  - Unreadable images have zeros and are listed.
  - --overwrite is for FILE.jsonl, FILE.parquet and --merge. The other forms say which run they are of, and another's are refused.

Examples:

    vgg features D photos --out photos.npy
    vgg features D@256,384,512 --data VOC2007 --average --with E@256,384,512 --out voc.npy
    vgg features 1.npy 2.npy --merge --out all.npy` + exitHelp
}

// featuresResult has the JSON keys of `vgg features --json`.
type featuresResult struct {
	Out    string `json:"out"`
	Data   string `json:"data"`
	Labels string `json:"labels"` // "", "one class" or "several classes"
	*transfer.Summary
	PeakRSS int64 `json:"peak_rss_bytes,omitempty"`
}

func (c *featuresCommand) Run(e *environment) error {
	if err := c.descriptorFlags.check(); err != nil {
		return err
	}
	if c.Merge {
		return c.merge(e)
	}
	if err := c.checkOut(); err != nil {
		return err
	}
	if e.ctx.Err() != nil {
		return e.ctx.Err()
	}
	o := c.options(c.pixels())
	o.OnRemark, o.Verify = e.remark, c.Verify
	for r := range strings.SplitSeq(c.Region, "+") {
		o.Regions = append(o.Regions, transfer.Region(r))
	}
	if slices.Contains(o.Regions, transfer.Box) && c.Layout != transfer.VOCActions {
		return usagef("--region %s needs --layout %s, whose images have boxes", c.Region, transfer.VOCActions)
	}
	var err error
	if word, _, _ := strings.Cut(c.Shard, "/"); word == shardAuto && len(c.layers()) > 1 {
		return usagef("--shard %s with several layers, want --shard i/n, or one layer", c.Shard)
	}
	if o.Shard, err = c.shardOf(e, &c.Out); err != nil {
		return err
	}
	images, err := c.open(e)
	if err != nil {
		return err
	}
	nets, err := c.nets(e, c.Weights)
	if err != nil {
		return err
	}
	if layers := c.layers(); len(layers) > 1 {
		return c.several(e, nets, layers, images, o)
	}
	s, err := c.making(e, nets, images, c.Out, o, func(o transfer.Options) (*transfer.Summary, error) {
		return transfer.Extract(e.ctx, nets, images, c.Out, o)
	})
	if err != nil {
		return err
	}
	if c.auto {
		return c.finishShard(e, o.Shard, featuresResult{Out: c.Out, Data: images.Name, Labels: labelsOf(images), Summary: s, PeakRSS: peakRSS()})
	}
	return c.finish(e, featuresResult{Out: c.Out, Data: images.Name, Labels: labelsOf(images), Summary: s, PeakRSS: peakRSS()})
}

// layers lists the layers of --layer.
func (c *featuresCommand) layers() []string { return strings.Split(c.Layer, ",") }

// outs lists the files, one for each layer.
func (c *featuresCommand) outs() []string {
	layers := c.layers()
	if len(layers) == 1 {
		return []string{c.Out}
	}
	ext := filepath.Ext(c.Out)
	var outs []string
	for _, l := range layers {
		outs = append(outs, strings.TrimSuffix(c.Out, ext)+"-"+l+ext)
	}
	return outs
}

// several computes the descriptors of several layers.
func (c *featuresCommand) several(e *environment, nets []transfer.Net, layers []string, images *transfer.Images, o transfer.Options) error {
	var all []*transfer.Summary
	_, err := c.making(e, nets, images, c.Out, o, func(o transfer.Options) (s *transfer.Summary, err error) {
		if all, err = transfer.ExtractLayers(e.ctx, nets, layers, images, c.outs(), o); err != nil {
			return nil, err
		}
		return all[0], nil
	})
	if err != nil {
		return err
	}
	var results []featuresResult
	for i, s := range all {
		results = append(results, featuresResult{Out: c.outs()[i], Data: images.Name, Labels: labelsOf(images), Summary: s, PeakRSS: peakRSS()})
	}
	if c.JSON {
		if err := writeJSON(e.stdout, map[string]any{"layers": results}); err != nil {
			return err
		}
		return unreadable(len(all[0].Unreadable), all[0].Images+len(all[0].Unreadable))
	}
	for _, r := range results {
		err = errors.Join(err, c.finish(e, r))
	}
	return err
}

// shardOf is shard for descriptors, of which only some files can be merged.
func (f *shardFlag) shardOf(e *environment, out *string) (eval.Shard, error) {
	ext := strings.ToLower(filepath.Ext(*out))
	if word, _, _ := strings.Cut(f.Shard, "/"); word == shardAuto && ext != ".npy" && ext != ".safetensors" {
		return eval.Shard{}, usagef("--shard %s with --out %s, want FILE.npy or FILE.safetensors, which can be merged", f.Shard, *out)
	}
	return f.shard(e, out)
}

// mergeDescriptors merges the shards of a job array, if this is the last.
func (f *shardFlag) mergeDescriptors(e *environment, s eval.Shard) (merged *transfer.Summary, err error) {
	last, err := f.merging(e, s, func(parts []string) error {
		d, err := transfer.OpenMerged(e.ctx, parts...)
		if err != nil {
			return err
		}
		defer d.Close()
		merged = d.Summary()
		return d.Write(e.ctx, f.whole)
	})
	if err != nil || !last {
		return nil, err
	}
	return merged, nil
}

// finishShard merges the shards of a job array, if this is the last, and prints the result of the
// whole; else that of the shard. The images that can't be read count in the whole alone.
func (c *featuresCommand) finishShard(e *environment, s eval.Shard, r featuresResult) error {
	merged, err := c.mergeDescriptors(e, s)
	if err != nil {
		return err
	}
	if merged != nil {
		r.Out, r.Summary = c.whole, merged
		return c.finish(e, r)
	}
	if err = c.finish(e, r); errors.Is(err, errUnreadable) {
		return nil
	}
	return err
}

// open opens the images and describes those that have classes.
func (c *featuresCommand) open(e *environment) (*transfer.Images, error) {
	flags := dataFlags{Layout: autoLayout, classFlags: c.classFlags}
	o := transfer.ImageOptions{Layout: c.Layout}
	switch layout := dataset.Layout(c.Layout); layout {
	case dataset.LayoutFolders, dataset.LayoutParts, dataset.LayoutBoxes:
		flags.Layout, o.Layout = string(layout), transfer.Classes
	}
	if c.LabelPattern != "" || c.Annotations != "" || c.Columns != (dataset.Columns{}) {
		if o.Layout != transfer.Auto && o.Layout != transfer.Classes {
			return nil, usagef("--layout %s takes no --label-pattern, --columns or --annotations", c.Layout)
		}
		o.Layout = transfer.Classes
	}
	var err error
	if o.Classes, err = flags.options(e); err != nil {
		return nil, err
	}
	paths, err := c.take(e)
	if err != nil {
		return nil, err
	}
	images, err := openImages(e, o, paths)
	if err != nil {
		if _, ambiguous := errors.AsType[*dataset.AmbiguousError](err); ambiguous {
			err = fmt.Errorf("%w; --layout files takes the images without labels", err)
		}
		return nil, err
	}
	switch src := images.Source(); {
	case src == nil:
		return images, nil
	case src.Layout == "": // images without labels
		e.remarkSpecial(images.Dataset)
		return images, nil
	}
	summary := dataSummary{train: images.Part("train"), val: images.Part("val"), used: images.Dataset, leakFlag: c.leakFlag, maxPixels: c.pixels()}
	if summary.train == nil {
		summary.train = images.Dataset
	}
	return images, summary.print(e, e.stderr)
}

// openImages opens images in any layout, or the built-in ones.
func openImages(e *environment, o transfer.ImageOptions, paths []string) (*transfer.Images, error) {
	if len(paths) == 1 && paths[0] == sampleName && !fileExists(sampleName) {
		train, val, err := sample.Open()
		if err != nil {
			return nil, err
		}
		return transfer.JoinParts(sampleName, train, val)
	}
	return transfer.OpenImages(e.ctx, o, paths...)
}

// checkOut returns an error if --out is one of the inputs, or lines of text that exist and
// don't tell whose they are. The other forms tell it themselves.
func (c *featuresCommand) checkOut() error {
	var outputs []output
	for _, out := range c.outs() {
		outputs = append(outputs, output{"--out", out})
	}
	inputs := append(namesOf([]string{c.Weights}, c.With), append(c.Images, c.Data)...)
	if ext := strings.ToLower(filepath.Ext(c.Out)); ext != ".jsonl" && ext != ".parquet" {
		return distinct(outputs, inputs)
	}
	return c.overwriteFlag.check(outputs, inputs...)
}

// merge combines shards.
func (c *featuresCommand) merge(e *environment) error {
	if c.Shard != "" || len(c.With) > 0 || c.Data != "" {
		return usagef("--merge reads files of descriptors, want no --shard, --with or --data")
	}
	shards := append([]string{c.Weights}, c.Images...)
	if err := c.overwriteFlag.check([]output{{"--out", c.Out}}, shards...); err != nil {
		return err
	}
	d, err := transfer.OpenMerged(e.ctx, shards...)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Write(e.ctx, c.Out); err != nil {
		return err
	}
	return c.finish(e, featuresResult{Out: c.Out, Data: d.Header.Data.Name, Labels: d.Header.Layout, Summary: d.Summary()})
}

// finish prints the result.
func (c *featuresCommand) finish(e *environment, r featuresResult) error {
	var err error
	if c.JSON {
		err = writeJSON(e.stdout, r)
	} else {
		if len(r.Unreadable) > 0 {
			fmt.Fprintf(e.stdout, "%s\n", unreadableTable(r.Unreadable))
		}
		next := ""
		if r.Labels != "" && !strings.HasSuffix(r.Out, ".jsonl") && !strings.HasSuffix(r.Out, ".parquet") {
			next = fmt.Sprintf("\nNext: %s\n", commandLine("transfer", "eval", r.Out))
		}
		_, err = fmt.Fprintf(e.stdout, "%s descriptors of %s numbers in %s\n%s", report.Count(int64(r.Summary.Images)), report.Count(int64(r.Dim)), r.Out, next)
	}
	if err != nil {
		return err
	}
	return unreadable(len(r.Unreadable), r.Summary.Images+len(r.Unreadable))
}
