package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/transfer"
)

// descriptorFlags are shared by the commands that make files of descriptors.
type descriptorFlags struct {
	With        []string `sep:"none" placeholder:"WEIGHTS" help:"Another network, perhaps with scales behind it, whose descriptors are stacked behind. Can be given more than once."`
	Scales      []int    `placeholder:"Q" help:"Smallest side, in pixels, that images are rescaled to; the weights say unless given. Of several, separated by commas, the descriptors are stacked."`
	Average     bool     `help:"Average the descriptors of several scales in place of stacking them."`
	Layer       string   `placeholder:"NAME" help:"Layer whose activation is taken: conv5_3, pool5, fc6 (the one before the last: fc7)."`
	Unrectified bool     `help:"Take the activation before its rectification."`
	Pool        string   `default:"average" enum:"average,max" placeholder:"HOW" help:"Over the places of the image: average or max (average)."`
	Flip        bool     `default:"true" negatable:"" help:"Average with the descriptor of the mirrored image; --no-flip doesn't."`
	Normalise   bool     `default:"true" negatable:"" help:"Divide every scale's descriptor by its Euclidean norm, and then the whole; --no-normalise doesn't."`
	Batch       int      `placeholder:"N" help:"Images of one size that go through the network together (as many as hold 800,000 pixels)."`
	ranksFlag
	Memory size `placeholder:"SIZE" help:"Bound of the process's memory, as 4GiB; an image that needs more is unreadable (what the weights take and 2 GiB)."`
	modelFlags
	storageFlag
	threadsFlag
}

func (f *descriptorFlags) check() error {
	if f.Batch < 0 || f.Batch > maxBatch {
		return usagef("--batch %d, want 1 to %d", f.Batch, maxBatch)
	}
	return f.ranksFlag.check()
}

// options are what the flags say of a descriptor, and of what making it may take.
func (f *descriptorFlags) options() transfer.Options {
	return transfer.Options{
		Flip: f.Flip, Average: f.Average, Raw: !f.Normalise, Max: f.Pool == "max", Unrectified: f.Unrectified,
		Resources: resources.Resources{Batch: f.Batch, Ranks: f.Ranks, Memory: int64(f.Memory)},
	}
}

// nets are the networks of the command line, on the threads that the flags say.
func (f *descriptorFlags) nets(e *environment, first string) ([]transfer.Net, error) {
	threads, err := f.apply()
	if err != nil {
		return nil, err
	}
	open := &opener{fc: f.FCWeights, threads: threads, flags: &f.modelFlags, env: e, headless: true}
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
		// A release's name stands for its file, which is found again.
		path, err := f.path(e, spec.file)
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
		nets = append(nets, transfer.Net{Weights: path, SHA256: n.SHA256, FCWeights: n.FCWeights, Layer: f.Layer, Scales: scales, Open: n.Open})
	}
	return nets, nil
}

// making makes descriptors within a bound of memory, and shows how far it has come.
func (f *descriptorFlags) making(e *environment, nets []transfer.Net, images *transfer.Images, out string, o transfer.Options, run func(transfer.Options) (*transfer.Summary, error)) (*transfer.Summary, error) {
	bound, err := f.announce(e, nets, images, o)
	if err != nil {
		return nil, err
	}
	defer boundHeap(bound)()
	bar := newProgress(e.stderr, len(nets)*max(1, len(o.Regions))*o.Shard.Images(images.Len()), "images")
	defer bar.close()
	o.OnImage = func(done, _ int64) { bar.set(int(done), "describing") }
	s, err := run(o)
	bar.close()
	if err != nil {
		if e.ctx.Err() != nil {
			return nil, fmt.Errorf("interrupted; the same command goes on with %s", out)
		}
		return nil, err
	}
	if s.ImagesPerSecond > 0 {
		fmt.Fprintf(e.stderr, "%.4g images/s, %s in all, peak memory %s\n", s.ImagesPerSecond, report.Duration(time.Duration(s.Seconds*float64(time.Second))), report.Bytes(peakRSS()))
	}
	return s, nil
}

// announce says what is described, and within which memory.
func (f *descriptorFlags) announce(e *environment, nets []transfer.Net, images *transfer.Images, o transfer.Options) (bound int64, err error) {
	bound = int64(f.Memory)
	for i := range nets {
		m, err := nets[i].Open()
		if err != nil {
			return 0, err
		}
		if f.Memory == 0 {
			bound = max(bound, eval.DefaultMemory(m.Net))
		}
	}
	what := "without labels"
	switch labelsOf(images) {
	case oneClass:
		what = fmt.Sprintf("of %d classes", len(images.Classes))
	case severalClasses:
		what = fmt.Sprintf("of %d classes, several an image", len(images.Classes))
	}
	_, err = fmt.Fprintf(e.stderr, "%s images of %s, %s; memory within %s\n", report.Count(int64(o.Shard.Images(images.Len()))), images.Name, what, report.Bytes(bound))
	return bound, err
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

// describeFlags are shared by the commands that describe pictures as a file's were.
type describeFlags struct {
	Structure string   `placeholder:"CONFIG" help:"Configuration, or a row of layers, of weights whose tensors don't tell it."`
	Weights   []string `sep:"none" placeholder:"FILE" help:"Files of weights, where they are no longer where they were."`
	threadsFlag
}

// described is a picture with its descriptor, or why there is none.
type described struct {
	file string
	x    []float32
	err  error
}

// describe describes files, globs' files and folders' images as the header of a file says.
func (f *describeFlags) describe(e *environment, file string, h transfer.Header, args []string) ([]described, error) {
	var out []described
	var there []string
	at := map[string]int{} // of a file that is there
	add := func(name string) {
		out = append(out, described{file: name})
		name = filepath.Clean(name)
		if _, ok := at[name]; !ok {
			at[name] = len(there)
			there = append(there, name)
		}
	}
	for _, arg := range expand(args) {
		info, err := os.Stat(arg)
		switch {
		case err != nil:
			out = append(out, described{file: arg, err: pathless(err)})
		case info.IsDir():
			images, err := transfer.OpenImages(e.ctx, transfer.Files, arg)
			if err != nil {
				return nil, err
			}
			for _, s := range images.Samples {
				add(filepath.FromSlash(s.Name))
			}
		default:
			add(arg)
		}
	}
	threads, err := f.apply()
	if err != nil || len(there) == 0 {
		return out, err
	}
	images, err := transfer.OpenImages(e.ctx, transfer.Files, there...)
	if err != nil {
		return nil, err
	}
	bar := newProgress(e.stderr, images.Len()*len(h.Nets), "images")
	defer bar.close()
	o := transfer.Options{OnImage: func(done, _ int64) { bar.set(int(done), "describing") }}
	rows, errs, err := transfer.Describe(e.ctx, h, images, o, f.opener(e, file, threads))
	if err != nil {
		return nil, err
	}
	for i := range out {
		if d := &out[i]; d.err == nil {
			r := at[filepath.Clean(d.file)]
			d.x, d.err = rows[r], errs[r]
		}
	}
	return out, nil
}

// opener opens the networks that a file names by where they were, or --weights says they
// are; the hash tells whether they are the same.
func (f *describeFlags) opener(e *environment, file string, threads int) func(transfer.NetID) (*vgg.Model, error) {
	open := &opener{threads: threads, headless: true, env: e}
	return func(n transfer.NetID) (*vgg.Model, error) {
		for _, path := range append(slices.Clone(f.Weights), n.Weights) {
			sum, err := fileSHA256(e.ctx, path)
			if err != nil || sum != n.SHA256 {
				continue
			}
			spec, err := json.Marshal(n.Preprocess)
			if err != nil {
				return nil, err
			}
			open.fc, open.flags = n.FCWeights, &modelFlags{fileFlags: fileFlags{Preprocess: string(spec), Structure: f.Structure}}
			return open.open(path)
		}
		return nil, fmt.Errorf("%s: made by the weights %s with SHA-256 %.12s, which are not there, or changed; --weights FILE says where they are", file, n.Weights, n.SHA256)
	}
}

// updateHint says how to go on with a file of other images.
func updateHint(err error) error {
	if _, ok := errors.AsType[*transfer.OtherRunError](err); ok {
		return fmt.Errorf("%w; if images have come, gone or changed since, --update describes these alone", err)
	}
	return err
}
