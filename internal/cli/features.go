package cli

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

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
	Shard string `placeholder:"I/N" help:"Describe every Nth image only, from the Ith on; --merge puts the parts together."`
	Batch int    `placeholder:"N" help:"Images of one size that go through the network together (as many as hold 800,000 pixels)."`
	ranksFlag
	Memory size `placeholder:"SIZE" help:"Bound of the process's memory, as 4GiB; an image that needs more is unreadable (what the weights take and 2 GiB)."`
	modelFlags
	storageFlag
	threadsFlag
	jsonFlag
}

// descriptorFlags are shared by the commands that make descriptors.
type descriptorFlags struct {
	With        []string        `sep:"none" placeholder:"WEIGHTS" help:"Another network, perhaps with scales behind it, whose descriptors are stacked behind. Can be given more than once."`
	Scales      []int           `placeholder:"Q" help:"Smallest side, in pixels, that images are rescaled to; the weights say unless given. Of several, separated by commas, the descriptors are stacked."`
	Average     bool            `help:"Average the descriptors of several scales in place of stacking them."`
	Layer       string          `placeholder:"NAME" help:"Layer whose activation is taken: conv5_3, pool5, fc6 (the one before the last: fc7)."`
	Unrectified bool            `help:"Take the activation before its rectification."`
	Pool        string          `default:"average" enum:"average,max" placeholder:"HOW" help:"Over the places of the image: average or max (average)."`
	Flip        bool            `default:"true" negatable:"" help:"Average with the descriptor of the mirrored image; --no-flip doesn't."`
	Normalise   bool            `default:"true" negatable:"" help:"Divide every scale's descriptor by its Euclidean norm, and then the whole; --no-normalise doesn't."`
	Region      string          `default:"image" enum:"image,box,image+box" placeholder:"WHAT" help:"Of voc-action's persons: image, box, or both stacked, image+box (image)."`
	Layout      transfer.Layout `default:"auto" enum:"auto,files,classes,voc,voc-action" placeholder:"NAME" help:"How labels lie beside the images: classes (folders, lists, shards), voc (several classes an image), voc-action (persons), files (none) or auto (auto)."`
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
	if c.Batch < 0 || c.Batch > maxBatch {
		return usagef("--batch %d, want 1 to %d", c.Batch, maxBatch)
	}
	if err := c.ranksFlag.check(); err != nil {
		return err
	}
	if c.Merge {
		return c.merge(e)
	}
	if e.ctx.Err() != nil {
		return e.ctx.Err()
	}
	threads, err := c.apply()
	if err != nil {
		return err
	}
	o, err := c.recipe()
	if err != nil {
		return err
	}
	o.Batch, o.Ranks, o.Memory = c.Batch, c.Ranks, int64(c.Memory)
	if c.Shard != "" {
		if o.Shard, err = eval.ParseShard(c.Shard); err != nil {
			return usageError{err}
		}
	}
	images, err := transfer.OpenImages(c.Layout, c.Images...)
	if err != nil {
		return err
	}
	open := &opener{fc: c.FCWeights, threads: threads, flags: &c.modelFlags, env: e, headless: true}
	nets, err := c.nets(open, c.Weights)
	if err != nil {
		return err
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	columns := len(nets) * max(1, len(o.Regions))
	if err := c.announce(e, nets, images, o); err != nil {
		return err
	}
	bar := newProgress(e.stderr, columns*o.Shard.Images(images.Len()), "images")
	defer bar.close()
	o.OnImage = func(done, _ int) { bar.set(done, "describing") }
	s, err := transfer.Extract(e.ctx, nets, images, c.Out, o)
	bar.close()
	if err != nil {
		if e.ctx.Err() != nil {
			return fmt.Errorf("interrupted; the same command goes on with %s", c.Out)
		}
		return err
	}
	if s.ImagesPerSecond > 0 {
		fmt.Fprintf(e.stderr, "%.4g images/s, %s in all, peak memory %s\n", s.ImagesPerSecond, report.Duration(time.Duration(s.Seconds*float64(time.Second))), report.Bytes(peakRSS()))
	}
	return c.finish(e, featuresResult{Out: c.Out, Data: images.Name, Labels: labelsOf(images), Summary: s, PeakRSS: peakRSS()})
}

// recipe is what the flags say of a descriptor.
func (f descriptorFlags) recipe() (transfer.Options, error) {
	o := transfer.Options{Flip: f.Flip, Average: f.Average, Raw: !f.Normalise, Max: f.Pool == "max", Unrectified: f.Unrectified}
	for r := range strings.SplitSeq(f.Region, "+") {
		o.Regions = append(o.Regions, transfer.Region(r))
	}
	if slices.Contains(o.Regions, transfer.Box) && f.Layout != transfer.VOCActions {
		return o, usagef("--region %s wants --layout %s, whose images have boxes", f.Region, transfer.VOCActions)
	}
	return o, nil
}

// nets are the networks of the command line.
func (f descriptorFlags) nets(open *opener, first string) ([]transfer.Net, error) {
	var nets []transfer.Net
	for _, arg := range append([]string{first}, f.With...) {
		spec, err := parseNet(arg)
		if err != nil {
			return nil, err
		}
		if spec.protocol != nil {
			return nil, usagef("%s: descriptors are dense always, want scales alone", arg)
		}
		n, err := open.net(spec.file, eval.Setting{}, true)
		if err != nil {
			return nil, err
		}
		scales := f.Scales
		if spec.scales != nil {
			scales = spec.scales
		}
		m, err := n.Open()
		if err != nil {
			return nil, err
		}
		for _, q := range scales {
			if side := m.Net.Options().Input; q < side {
				return nil, usagef("--scales %d, want at least the network's input side %d", q, side)
			}
		}
		nets = append(nets, transfer.Net{Weights: spec.file, SHA256: n.SHA256, FCWeights: n.FCWeights, Layer: f.Layer, Scales: scales, Open: n.Open})
	}
	return nets, nil
}

// announce says what is described and by what, and bounds the process's memory.
func (c *featuresCommand) announce(e *environment, nets []transfer.Net, images *transfer.Images, o transfer.Options) error {
	bound := int64(c.Memory)
	for i := range nets {
		open := nets[i].Open
		m, err := open()
		if err != nil {
			return err
		}
		if c.Memory == 0 {
			bound = max(bound, eval.DefaultMemory(m.Net))
		}
	}
	debug.SetMemoryLimit(heapLimit(bound))
	what := "without labels"
	switch labelsOf(images) {
	case oneClass:
		what = fmt.Sprintf("of %d classes", len(images.Classes))
	case severalClasses:
		what = fmt.Sprintf("of %d classes, several an image", len(images.Classes))
	}
	_, err := fmt.Fprintf(e.stderr, "%s images of %s, %s; memory within %s\n", report.Count(int64(o.Shard.Images(images.Len()))), images.Name, what, report.Bytes(bound))
	return err
}

// What featuresResult says of labels.
const (
	oneClass       = "one class"
	severalClasses = "several classes"
)

func labelsOf(images *transfer.Images) string {
	switch {
	case images.Multi:
		return severalClasses
	case images.Labelled:
		return oneClass
	}
	return ""
}

// merge puts shards together.
func (c *featuresCommand) merge(e *environment) error {
	if c.Shard != "" || len(c.With) > 0 {
		return usagef("--merge reads files of descriptors, and has no use for --shard and --with")
	}
	d, err := transfer.OpenMerged(append([]string{c.Weights}, c.Images...)...)
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := os.Stat(c.Out); err == nil {
		return fmt.Errorf("--out %s: is there already", c.Out)
	}
	if err := d.Write(c.Out); err != nil {
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
				t.Row(b.File, b.Err.Error())
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
