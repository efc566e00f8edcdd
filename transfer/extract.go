package transfer

import (
	"context"
	"errors"
	"fmt"
	"image"
	"math"
	"slices"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/resources"
)

// Net is a network whose activations are descriptors of images.
type Net struct {
	Weights   string     // what files call it
	SHA256    string     // of the file of weights
	FCWeights nn.Storage // type of the fully connected weights in memory
	Device    string     // where it computes, as results tell it; empty: the processor
	// Layer is the layer whose activation is the descriptor: conv5_3, pool5, fc6, …; empty: the
	// penultimate, which is fc7 in the paper's networks.
	Layer string
	// Scales lists the test scales Q (smallest sides, in pixels); empty: the scale of the
	// weights' preprocessing.
	Scales []int
	// Open returns the network. It is called once to check the network and once when the
	// network's turn comes, so that one network is in memory at a time.
	Open func() (*vgg.Model, error)
}

// Options chooses how descriptors are computed. [DefaultOptions] returns the values of the
// command line, which are the paper's at one scale; the zero value leaves the mirror image out.
//
// At each scale the rectified activation map of the layer is averaged over space and, with
// Flip, with that of the mirrored image. Unless Raw is set, the descriptor of each scale is
// then divided by its Euclidean norm. The descriptors of scales, regions and networks are
// stacked with the same weight, so that the norm of the whole is 1. With Average, the
// normalised descriptors of a network's scales are averaged instead, and the mean is
// normalised again.
type Options struct {
	Flip        bool
	Average     bool     // average the scales instead of stacking them
	Raw         bool     // don't normalise
	Max         bool     // take the maximum over space instead of the mean
	Crop        bool     // describe the central crop, as [vgg.Model.Classify] shows it, instead of the whole image
	Unrectified bool     // take the activation before its rectification
	Regions     []Region // to stack; empty: the whole image

	// Verify compares the contents of all images with what the file says of them, whatever their
	// times. Without it, those of the images whose time of change is another. Images that changed
	// are described again, and OnRemark hears how many.
	Verify              bool
	Shard               eval.Shard // part of the set; zero: all
	resources.Resources            // as in [eval.Options]

	// OnImage is told the images that are done, readable or not. An image counts once for
	// every network and region.
	OnImage progress.Func
}

// DefaultOptions returns the command line's values: whole images and their mirror images,
// rectified, averaged over space and normalised.
func DefaultOptions() Options { return Options{Flip: true} }

// Summary is the outcome of an extraction.
type Summary struct {
	Images     int                `json:"images"`     // described
	Unreadable []dataset.BadImage `json:"unreadable"` // their rows are zero
	Dim        int                `json:"dim"`
	Seconds    float64            `json:"seconds"`
	// ImagesPerSecond is the speed of this run through all networks and regions; 0 if there
	// was nothing to do.
	ImagesPerSecond float64 `json:"images_per_second,omitempty"`
}

// Extract computes descriptors of images and writes them to the file out. The format is that
// of the ending: .npy, with names and labels in out + ".jsonl" beside it, .safetensors, .jsonl
// or .parquet. What the file holds already, or that of an interrupted run, is not computed again.
//
// The error is an [*OtherRunError] if the file is of another extraction, and a [*HeldError] if
// another run is writing it.
func Extract(ctx context.Context, nets []Net, images *Images, out string, o Options) (*Summary, error) {
	p, err := newExtraction(nets, images, o)
	if err != nil {
		return nil, err
	}
	if err := p.identify(ctx, out); err != nil {
		return nil, err
	}
	f, err := createFile(ctx, out, p.header, p.follower())
	if err != nil {
		return nil, err
	}
	defer f.close()
	return p.into(ctx, f)
}

// ExtractLayers is [Extract] for several layers, each into a file of its own, by one pass over the
// images: outs[i] is what Extract writes for layers[i], to the bit (on a device, to rounding). The nets' Layer is not used.
// Activations are rectified: with Unrectified, it is an error.
func ExtractLayers(ctx context.Context, nets []Net, layers []string, images *Images, outs []string, o Options) (_ []*Summary, err error) {
	switch {
	case len(layers) == 0 || len(layers) != len(outs):
		return nil, fmt.Errorf("transfer: %d layers and %d files, want a file for each layer", len(layers), len(outs))
	case slices.Contains(layers, ""):
		return nil, errors.New("transfer: a layer without a name among several, want conv5_3 or the like")
	case len(layers) > 1 && o.Unrectified:
		return nil, errors.New("transfer: several layers before their rectification, want one")
	}
	var ps []*extraction
	for i, l := range layers {
		if slices.Contains(layers[:i], l) {
			return nil, fmt.Errorf("transfer: layer %q twice, want each once", l)
		}
		named := slices.Clone(nets)
		for k := range named {
			named[k].Layer = l
		}
		p, err := newExtraction(named, images, o)
		if err != nil {
			return nil, err
		}
		ps = append(ps, p)
	}
	var files []*descriptorFile
	defer func() {
		for _, f := range files {
			err = errors.Join(err, f.close())
		}
	}()
	for i, p := range ps {
		if i == 0 {
			err = p.identify(ctx, outs[i])
		} else {
			p.images, p.header.Data.Fingerprint = ps[0].images, ps[0].header.Data.Fingerprint
			err = p.turnAs(ctx, outs[i])
		}
		if err != nil {
			return nil, err
		}
		f, err := createFile(ctx, outs[i], p.header, p.follower())
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return into(ctx, ps, files)
}

func (p *extraction) follower() follower { return follower{p.images, p.o.Verify, p.o.OnRemark} }

// identify computes the fingerprint of the images and follows their contents. Where out
// was made with images another way up, and none of them is turned, the header says what out
// says: files of earlier versions were made with pixels as they are stored.
func (p *extraction) identify(ctx context.Context, out string) (err error) {
	if p.images, err = p.images.followed(ctx); err != nil {
		return err
	}
	if p.header.Data.Fingerprint, err = dataset.Fingerprint(ctx, p.images.Dataset); err != nil {
		return err
	}
	return p.turnAs(ctx, out)
}

// turnAs is identify's last step.
func (p *extraction) turnAs(ctx context.Context, out string) error {
	nets := slices.Clone(p.header.Nets)
	differ := false
	if was, ok := headerOf(ctx, out); ok && len(was.Nets) == len(nets) {
		for i := range nets {
			differ = differ || nets[i].Preprocess.Orient != was.Nets[i].Preprocess.Orient
			nets[i].Preprocess.Orient = was.Nets[i].Preprocess.Orient
		}
	}
	if !differ {
		return nil
	}
	turned, err := p.images.AnyTurned(ctx)
	if err == nil && !turned {
		p.header.Nets = nets
	}
	return err
}

// into computes the descriptors that the file lacks.
func (p *extraction) into(ctx context.Context, f *descriptorFile) (*Summary, error) {
	s, err := into(ctx, []*extraction{p}, []*descriptorFile{f})
	if err != nil {
		return nil, err
	}
	return s[0], nil
}

// into computes the descriptors of several layers that their files lack.
func into(ctx context.Context, ps []*extraction, files []*descriptorFile) ([]*Summary, error) {
	start := time.Now()
	to := make([]sink, len(files))
	for i, f := range files {
		to[i] = f
	}
	fresh, err := run(ctx, ps, to)
	if err != nil {
		for _, f := range files {
			err = errors.Join(err, f.sync())
		}
		return nil, err
	}
	var out []*Summary
	took := time.Since(start)
	for _, f := range files {
		if err := f.finish(ctx); err != nil {
			return nil, err
		}
		s := f.summary()
		s.Seconds = took.Seconds()
		if fresh > 0 {
			s.ImagesPerSecond = progress.Rate(float64(fresh)/float64(len(f.header.columns())), took)
		}
		out = append(out, s)
	}
	return out, nil
}

// extraction is a computation of descriptors.
type extraction struct {
	nets   []Net
	images *Images
	o      Options
	header Header
}

// sink takes columns of descriptors as they are computed. With err, put says that the image is
// unreadable.
type sink interface {
	has(row, column int) bool
	put(row, column int, numbers []float32, images *Images, stamp Stamp, err error) error
}

func newExtraction(nets []Net, images *Images, o Options) (*extraction, error) {
	if len(nets) == 0 {
		return nil, errors.New("transfer: no networks, want at least one")
	}
	if images == nil || images.Dataset == nil {
		return nil, errNoImages
	}
	if o.Shard == (eval.Shard{}) {
		o.Shard = eval.Shard{Index: 1, Count: 1}
	}
	if o.Shard.Index > images.Len() {
		return nil, fmt.Errorf("transfer: shard %v of %d images is empty, want fewer shards", o.Shard, images.Len())
	}
	if len(o.Regions) == 0 {
		o.Regions = []Region{WholeImage}
	}
	p := &extraction{slices.Clone(nets), images, o, Header{
		Format: fileFormat, Data: eval.DataID{Name: images.Name, Images: images.Len(), Classes: images.Classes},
		Regions: o.Regions, Average: o.Average, Raw: o.Raw, Flip: o.Flip, Max: o.Max, Crop: o.Crop,
		ISA: kernel.Current().Name(), Shard: o.Shard,
	}}
	switch {
	case images.MultiLabel:
		p.header.Layout = severalClasses
	case images.Labelled:
		p.header.Layout = oneClass
	}
	for i, r := range o.Regions {
		if r != WholeImage && r != Box || slices.Contains(o.Regions[:i], r) {
			return nil, fmt.Errorf("transfer: regions %s, want image, box or both once", journal.List(o.Regions))
		}
		if r == Box && !images.Boxed {
			return nil, fmt.Errorf("transfer: %s: no boxes to describe, want PASCAL VOC's action task", images.Name)
		}
	}
	for i := range p.nets {
		if err := p.add(&p.nets[i]); err != nil {
			return nil, err
		}
	}
	cs := p.header.columns()
	p.header.Dim = cs[len(cs)-1].start + cs[len(cs)-1].dim
	return p, p.header.validate()
}

// add opens a network to complete its entry and the header.
func (p *extraction) add(n *Net) error {
	if n.Open == nil {
		return fmt.Errorf("transfer: network %q without Open, the function that returns it", n.Weights)
	}
	m, err := n.Open()
	if err != nil {
		return err
	}
	if m == nil || m.Net == nil {
		return fmt.Errorf("transfer: %s: %w", n.Weights, vgg.ErrNoNetwork)
	}
	if len(n.Scales) == 0 {
		n.Scales = []int{m.Preprocess.Resize}
	}
	if n.Layer == "" {
		n.Layer = m.Net.DescriptorLayer()
	}
	if n.FCWeights == "" {
		n.FCWeights = nn.F32
	}
	m, err = until(m, *n, p.o)
	if err != nil {
		return err
	}
	x := p.of(m, *n, WholeImage)
	if err := x.Validate(); err != nil {
		return fmt.Errorf("%w (of %s)", err, n.Weights)
	}
	side := m.Net.Options().Input
	shape, err := m.Net.OutputShape(1, side, side)
	if err != nil {
		return err
	}
	p.header.Nets = append(p.header.Nets, NetID{n.Weights, n.SHA256, n.FCWeights, n.Device, m.Preprocess, n.Layer, !p.o.Unrectified, n.Scales, shape[1]})
	return nil
}

// until returns the model up to the layer whose activation is the descriptor.
func until(m *vgg.Model, n Net, o Options) (*vgg.Model, error) {
	net, err := m.Net.Until(n.Layer, !o.Unrectified)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.Weights, err)
	}
	return &vgg.Model{Net: net, Preprocess: m.Preprocess}, nil
}

// of returns the pass of a network over a region of the images.
func (p *extraction) of(m *vgg.Model, n Net, r Region) eval.Extraction {
	x := eval.Extraction{
		Model: m, Data: p.images.Dataset, Scales: n.Scales, Flip: p.o.Flip, Max: p.o.Max, Crop: p.o.Crop, Resources: p.o.Resources,
	}
	if r == Box {
		x.Region = func(i int) image.Rectangle { return p.images.box(i) }
	}
	return x
}

// run runs the networks on the images, one network after another, and returns the number of
// columns that to lacked.
func (p *extraction) run(ctx context.Context, to sink) (fresh int, err error) {
	return run(ctx, []*extraction{p}, []sink{to})
}

// run is the run of extractions that differ in the layer alone, each into a sink of its own. A
// column that one of the sinks lacks counts once.
func run(ctx context.Context, ps []*extraction, to []sink) (fresh int, err error) {
	p := ps[0]
	cs := p.header.columns()
	rows := p.header.Rows()
	todo := make([][]int, len(cs))
	for c := range cs {
		for r := range rows {
			if slices.ContainsFunc(to, func(s sink) bool { return !s.has(r, c) }) {
				todo[c] = append(todo[c], p.header.image(r))
				fresh++
			}
		}
	}
	finished, total := rows*len(cs)-fresh, rows*len(cs)
	for c, col := range cs {
		if len(todo[c]) == 0 {
			continue
		}
		x, widths, err := passOf(ps, col)
		if err != nil {
			return fresh, err
		}
		err = x.Run(ctx, todo[c], func(i int, scales [][]float32, err error) error {
			stamp := Stamp{}
			if err == nil && p.images.follows != nil {
				stamp = p.images.stamp(i)
			}
			row, start := i/p.header.Shard.Count, 0
			for k := range ps {
				var numbers []float32
				if err == nil {
					numbers = p.o.combine(between(scales, start, start+widths[k]), len(cs))
				}
				start += widths[k]
				if to[k].has(row, c) {
					continue
				}
				if err := to[k].put(row, c, numbers, p.images, stamp, err); err != nil {
					return err
				}
			}
			finished++
			p.o.OnImage.Report(int64(finished), int64(total))
			return nil
		})
		if err != nil {
			return fresh, err
		}
	}
	return fresh, nil
}

// passOf returns the pass that gives a column of extractions which differ in the layer alone, and
// the channels of each one's layer.
func passOf(ps []*extraction, col column) (x eval.Extraction, widths []int, err error) {
	n := ps[0].nets[col.net]
	m, err := n.Open()
	if err != nil {
		return x, nil, err
	}
	var layers []string
	for _, p := range ps {
		layers = append(layers, p.nets[col.net].Layer)
		widths = append(widths, p.header.Nets[col.net].Channels)
	}
	if len(ps) > 1 {
		side := m.Net.Options().Input
		_, order, err := m.Net.Chain().Stages(side, side, layers...)
		if err != nil {
			return x, nil, err
		}
		n.Layer = layers[order[len(order)-1]]
	}
	if m, err = until(m, n, ps[0].o); err != nil {
		return x, nil, err
	}
	x = ps[0].of(m, n, col.region)
	if len(ps) > 1 {
		x.Layers = layers
	}
	return x, widths, nil
}

// between cuts the numbers from from to to out of each list.
func between(lists [][]float32, from, to int) [][]float32 {
	out := make([][]float32, len(lists))
	for i, l := range lists {
		out[i] = l[from:to]
	}
	return out
}

// combine computes a column, one of several, from the activations at each scale.
func (o Options) combine(scales [][]float32, columns int) []float32 {
	weight := 1 / math.Sqrt(float64(columns))
	if o.Average {
		mean := make([]float64, len(scales[0]))
		for _, s := range scales {
			by := 1 / float64(len(scales))
			if !o.Raw {
				by *= inverse(norm(s))
			}
			for k, v := range s {
				mean[k] += by * float64(v)
			}
		}
		by := 1.0
		if !o.Raw {
			sum := 0.0
			for _, v := range mean {
				sum += v * v
			}
			by = weight * inverse(math.Sqrt(sum))
		}
		out := make([]float32, len(mean))
		for k, v := range mean {
			out[k] = float32(by * v)
		}
		return out
	}
	var out []float32
	weight /= math.Sqrt(float64(len(scales)))
	for _, s := range scales {
		by := 1.0
		if !o.Raw {
			by = weight * inverse(norm(s))
		}
		for _, v := range s {
			out = append(out, float32(by*float64(v)))
		}
	}
	return out
}

// norm returns the Euclidean norm of v.
func norm(v []float32) float64 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

// inverse returns 1/x; 0 for 0, so that a descriptor of zeros stays zero.
func inverse(x float64) float64 {
	if x == 0 {
		return 0
	}
	return 1 / x
}
