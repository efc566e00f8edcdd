package cli

import (
	"errors"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

type inspectCommand struct {
	Weights string `arg:"" help:"File of weights, or a configuration's name for its public release, which is downloaded on first use."`
	Stats   bool   `default:"true" negatable:"" help:"Read all values for minimum, maximum, mean, standard deviation and the file's SHA-256. --no-stats reads only the header."`
	modelFlags
	jsonFlag
}

func (inspectCommand) Help() string {
	return `Shows what a file of weights holds: its format, the network that is recognised in it, layer by layer with the tensors of each, what is inferred, left out or open, its metadata, and the tensors with their statistics. The file is read piece by piece. If no network is recognised, the tensors are listed all the same, and the exit code is 1. --json prints one object.

Examples:

    vgg inspect VGG_ILSVRC_16_layers.caffemodel
    vgg inspect D --no-stats` + exitHelp
}

// inspection has the JSON keys of `vgg inspect --json`.
type inspection struct {
	File     string            `json:"file"`
	Format   weights.Format    `json:"format"`
	Bytes    int64             `json:"bytes"`
	SHA256   string            `json:"sha256,omitempty"`
	Metadata map[string]string `json:"metadata"`
	Tensors  []tensorInfo      `json:"tensors"`
	Elements int64             `json:"elements"` // of all tensors
	Network  *vgg.Description  `json:"network,omitempty"`
	// Convolutions names the configuration of the convolutions, where more isn't recognised.
	Convolutions string `json:"convolutions,omitempty"`
	// Layers are the network's, each with the tensors that it is read from.
	Layers []vgg.LayerDescription `json:"layers,omitempty"`
	// Unknown says why the network, or its preprocessing or classes, are not known.
	Unknown string `json:"network_error,omitempty"`
	// Flags are those that Unknown names, by which the caller says what the file doesn't.
	Flags   []string `json:"flags,omitempty"`
	PeakRSS int64    `json:"peak_rss_bytes"`

	unread bool // statistics are missing, as values can't be read
}

// tensorInfo describes a tensor. Statistics exclude values that are not finite; with
// --no-stats, and for types that are not read, there are none.
type tensorInfo struct {
	Name      string   `json:"name"`
	DType     string   `json:"dtype"`
	Shape     []int    `json:"shape"`
	Min       *float64 `json:"min,omitempty"`
	Max       *float64 `json:"max,omitempty"`
	Mean      *float64 `json:"mean,omitempty"`
	Std       *float64 `json:"std,omitempty"`
	NotFinite int      `json:"not_finite,omitempty"` // values that are NaN or infinite
}

func (c *inspectCommand) Run(e *environment) error {
	open, err := c.opener(e, nn.F32, 0)
	if err != nil {
		return err
	}
	path, err := open.path(c.Weights)
	if err != nil {
		return err
	}
	f, err := openWeights(e.ctx, path)
	if err != nil {
		return err
	}
	defer f.Close()
	i := inspection{File: f.Name(), Format: f.Format(), Bytes: f.Size(), Metadata: f.Metadata(), Tensors: []tensorInfo{}}
	for _, t := range f.Tensors() {
		n, _ := tensor.Size(t.Shape...)
		i.Elements += int64(n)
		if t.Shape == nil {
			t.Shape = []int{}
		}
		i.Tensors = append(i.Tensors, tensorInfo{Name: t.Name, DType: t.DType, Shape: t.Shape})
	}
	failed := i.identify(e, f, open.options)
	if c.Stats {
		err = i.measure(e, f)
		if err == nil {
			i.SHA256, err = f.SHA256(e.ctx)
		}
		if e.ctx.Err() != nil {
			return err
		}
		i.unread = err != nil
	}
	i.PeakRSS = peakRSS()
	show := i.print
	if c.JSON {
		show = func(out io.Writer) error { return writeJSON(out, i) }
	}
	if err := errors.Join(show(e.stdout), err); err != nil {
		return err
	}
	if failed {
		return shownError{errors.New(i.Unknown)}
	}
	return nil
}

// identify recognises the network. failed tells that there is none.
func (i *inspection) identify(e *environment, f *weights.File, o vgg.OpenOptions) (failed bool) {
	var err error
	if i.Network, err = vgg.Identify(e.ctx, f, o); i.Network != nil {
		var layersErr error
		i.Layers, layersErr = i.Network.Layers()
		err = errors.Join(err, layersErr)
	}
	if i.Network == nil && e.ctx.Err() == nil {
		o.Headless, o.Head = true, ""
		if d, _ := vgg.Identify(e.ctx, f, o); d != nil { // its error may be of the pixels alone
			i.Convolutions = configName(d.Options)
		}
	}
	if err != nil {
		i.Unknown = strings.TrimPrefix(strings.ReplaceAll(err.Error(), "vgg: "+f.Name()+": ", ""), "vgg: ")
		for _, flag := range regexp.MustCompile(`--[a-z]+`).FindAllString(i.Unknown, -1) {
			if !slices.Contains(i.Flags, flag) {
				i.Flags = append(i.Flags, flag)
			}
		}
	}
	return i.Network == nil
}

// measure computes the statistics of every tensor, piece by piece.
func (i *inspection) measure(e *environment, f *weights.File) error {
	const most = 1 << 18
	bar := e.newProgress()
	defer bar.close()
	read := bar.stage("reading", unitMillions)
	buf := make([]float32, most)
	done := 0
	for k := range i.Tensors {
		t := &i.Tensors[k]
		n, _ := tensor.Size(t.Shape...)
		if !slices.Contains([]string{"F32", "F16", "BF16", "F64"}, t.DType) {
			continue
		}
		var s moments
		for at := 0; at < n; at += most {
			if e.ctx.Err() != nil {
				return e.ctx.Err()
			}
			part := buf[:min(most, n-at)]
			if err := f.ReadRange(t.Name, at, part); err != nil {
				return err
			}
			s.add(part)
			done += len(part)
			read(int64(done), i.Elements)
		}
		s.into(t)
	}
	return nil
}

// moments sums the finite values. The first one is subtracted from all against
// cancellation.
type moments struct {
	n, other        int
	first, sum, sq  float64
	least, greatest float64
}

func (s *moments) add(values []float32) {
	for _, v := range values {
		x := float64(v)
		if math.IsNaN(x) || math.IsInf(x, 0) {
			s.other++
			continue
		}
		if s.n == 0 {
			s.first, s.least, s.greatest = x, x, x
		}
		s.n++
		s.least, s.greatest = min(s.least, x), max(s.greatest, x)
		d := x - s.first
		s.sum += d
		s.sq += d * d
	}
}

func (s *moments) into(t *tensorInfo) {
	t.NotFinite = s.other
	if s.n == 0 {
		return
	}
	n := float64(s.n)
	mean := s.first + s.sum/n
	std := math.Sqrt(max(0, s.sq/n-(s.sum/n)*(s.sum/n)))
	t.Min, t.Max, t.Mean, t.Std = &s.least, &s.greatest, &mean, &std
}
