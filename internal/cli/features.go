package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/transfer"
)

type featuresCommand struct {
	Weights string   `arg:"" help:"File of weights of any format that vgg convert reads, or a configuration's name for its public release, perhaps with scales behind it: D.safetensors@256,384,512. With --merge, files of descriptors, the shards of one run."`
	Images  []string `arg:"" name:"image" help:"Image files, or a folder: class folders, PASCAL VOC, shards, a list, or images at any depth."`
	Out     string   `required:"" placeholder:"FILE" help:"FILE.npy, beside which FILE.npy.jsonl has names and labels; FILE.safetensors; or FILE.jsonl, an image a line. A run that was interrupted goes on with it."`
	Merge   bool     `help:"Put the files of shards together in --out in place of running."`
	descriptorFlags
	Region string          `default:"image" enum:"image,box,image+box" placeholder:"WHAT" help:"Of voc-action's persons: image, box, or both stacked, image+box (image)."`
	Layout transfer.Layout `default:"auto" enum:"auto,files,classes,voc,voc-action" placeholder:"NAME" help:"How labels lie beside the images: classes (folders, lists, shards), voc (several classes an image), voc-action (persons), files (none) or auto (auto)."`
	Shard  string          `placeholder:"I/N" help:"Describe every Nth image only, from the Ith on; --merge puts the parts together."`
	jsonFlag
}

func (featuresCommand) Help() string {
	return `The activation of the layer, by default the penultimate one after its rectification, is computed over the whole image at each scale, averaged over places and with the mirror image's, and divided by its Euclidean norm; scales and networks are stacked (appendix B of the paper). Unreadable images have zeros and are listed.` + exitHelp
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
	if err := c.check(); err != nil {
		return err
	}
	if c.Merge {
		return c.merge(e)
	}
	if e.ctx.Err() != nil {
		return e.ctx.Err()
	}
	o := c.options()
	for r := range strings.SplitSeq(c.Region, "+") {
		o.Regions = append(o.Regions, transfer.Region(r))
	}
	if slices.Contains(o.Regions, transfer.Box) && c.Layout != transfer.VOCActions {
		return usagef("--region %s wants --layout %s, whose images have boxes", c.Region, transfer.VOCActions)
	}
	if c.Shard != "" {
		var err error
		if o.Shard, err = eval.ParseShard(c.Shard); err != nil {
			return usageError{err}
		}
	}
	images, err := transfer.OpenImages(e.ctx, c.Layout, c.Images...)
	if err != nil {
		return err
	}
	nets, err := c.nets(e, c.Weights)
	if err != nil {
		return err
	}
	s, err := c.making(e, nets, images, c.Out, o, func(o transfer.Options) (*transfer.Summary, error) {
		return transfer.Extract(e.ctx, nets, images, c.Out, o)
	})
	if err != nil {
		return err
	}
	return c.finish(e, featuresResult{Out: c.Out, Data: images.Name, Labels: labelsOf(images), Summary: s, PeakRSS: peakRSS()})
}

// merge puts shards together.
func (c *featuresCommand) merge(e *environment) error {
	if c.Shard != "" || len(c.With) > 0 {
		return usagef("--merge reads files of descriptors, and has no use for --shard and --with")
	}
	d, err := transfer.OpenMerged(e.ctx, append([]string{c.Weights}, c.Images...)...)
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := os.Stat(c.Out); err == nil {
		return fmt.Errorf("--out %s: is there already", c.Out)
	}
	if err := d.Write(e.ctx, c.Out); err != nil {
		return err
	}
	return c.finish(e, featuresResult{Out: c.Out, Data: d.Header.Data.Name, Labels: d.Header.Layout, Summary: d.Summary()})
}

// finish prints what came of it.
func (c *featuresCommand) finish(e *environment, r featuresResult) error {
	var err error
	if c.JSON {
		err = writeJSON(e.stdout, r)
	} else {
		if len(r.Unreadable) > 0 {
			t := report.NewTable(report.Column{Title: "Unreadable image"}, report.Column{Title: "Why"})
			for _, b := range r.Unreadable {
				t.Row(b.Name, b.Err.Error())
			}
			fmt.Fprintf(e.stdout, "%s\n", t)
		}
		next := ""
		if r.Labels != "" && !strings.HasSuffix(r.Out, ".jsonl") {
			next = fmt.Sprintf("\nNext: vgg transfer eval %s\n", r.Out)
		}
		_, err = fmt.Fprintf(e.stdout, "%s descriptors of %s numbers in %s\n%s", report.Count(int64(r.Summary.Images)), report.Count(int64(r.Dim)), r.Out, next)
	}
	if err != nil {
		return err
	}
	return unreadable(len(r.Unreadable), r.Summary.Images+len(r.Unreadable))
}
