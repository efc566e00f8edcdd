package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/resources"
	"github.com/verydeep/vgg/transfer"
)

// descriptorFlags are shared by the commands that make files of descriptors.
type descriptorFlags struct {
	withFlag
	Scales      []int  `placeholder:"Q" help:"Smallest sides to which images are rescaled, in pixels. The descriptors of several are stacked (as the weights tell)."`
	Average     bool   `help:"Average the descriptors of several scales instead of stacking them."`
	Layer       string `placeholder:"NAME" help:"Layer of the activation: conv5_3, pool5, fc6 (the penultimate one: fc7). vgg features takes several, as conv4_3,pool5."`
	Unrectified bool   `help:"Take the activation before its rectification."`
	Pool        string `default:"average" enum:"average,max" placeholder:"HOW" help:"Pooling over positions: average or max (average)."`
	Crop        bool   `help:"Describe the central crop, which vgg classify shows, instead of the whole image."`
	Flip        bool   `default:"true" negatable:"" help:"Average the outputs for an image with those for its mirror image."`
	Normalise   bool   `default:"true" negatable:"" help:"Divide the descriptor of each scale, and then the whole, by its Euclidean norm."`
	Batch       int    `placeholder:"N" help:"Batch size: images of one size that go through the network together (as many as hold 800,000 pixels)."`
	ranksFlag
	Memory size `placeholder:"SIZE" help:"Bound of the memory, as 4GiB. An image that needs more is unreadable (the memory of the weights and 2 GiB)."`
	modelFlags
	storageFlag
	deviceFlags
	threadsFlag
}

func (f *descriptorFlags) check() error {
	if err := checkBatch(f.Batch); err != nil {
		return err
	}
	return f.ranksFlag.check()
}

// options returns the options of a run, apart from its networks.
func (f *descriptorFlags) options(maxPixels int) transfer.Options {
	return transfer.Options{
		Flip: f.Flip, Average: f.Average, Raw: !f.Normalise, Max: f.Pool == "max", Crop: f.Crop, Unrectified: f.Unrectified,
		Resources: resources.Resources{Batch: f.Batch, Ranks: f.Ranks.n, Memory: int64(f.Memory), MaxPixels: maxPixels},
	}
}

// nets returns the networks of the command line.
func (f *descriptorFlags) nets(e *environment, first string) ([]transfer.Net, error) {
	threads, err := f.apply()
	if err != nil {
		return nil, err
	}
	open, err := f.opener(e, f.FCWeights, threads)
	if err != nil {
		return nil, err
	}
	if err := open.compute(f.deviceFlags); err != nil {
		return nil, err
	}
	open.headless = true
	var nets []transfer.Net
	for _, arg := range append([]string{first}, f.With...) {
		n, err := f.net(open, arg)
		if err != nil {
			return nil, err
		}
		nets = append(nets, n)
	}
	return nets, nil
}

// net returns a network of the command line. Its name is the path of its file, by which
// later commands find it.
func (f *descriptorFlags) net(open *opener, arg string) (transfer.Net, error) {
	spec, err := parseNet(arg)
	if err != nil {
		return transfer.Net{}, err
	}
	if spec.protocol != nil {
		return transfer.Net{}, usagef("%s: descriptors are always dense, want scales only", arg)
	}
	path, err := open.path(spec.name)
	if err != nil {
		return transfer.Net{}, err
	}
	n, err := open.net(path, eval.Setting{}, true)
	if err != nil {
		return transfer.Net{}, err
	}
	scales := f.Scales
	if spec.scales != nil {
		scales = spec.scales
	}
	m, err := n.Open()
	if err != nil {
		return transfer.Net{}, err
	}
	if err := checkScales("--scales", m.Net.Options(), scales...); err != nil {
		return transfer.Net{}, err
	}
	return transfer.Net{Weights: path, SHA256: n.SHA256, FCWeights: n.FCWeights, Device: n.Device, Layer: f.Layer, Scales: scales, Open: n.Open}, nil
}

// making makes descriptors by run, within a bound of memory, and shows the progress.
func (f *descriptorFlags) making(e *environment, nets []transfer.Net, pictures *transfer.Images, out string, o transfer.Options, run func(transfer.Options) (*transfer.Summary, error)) (*transfer.Summary, error) {
	bound, err := f.announce(e, nets, pictures, o)
	if err != nil {
		return nil, err
	}
	defer boundHeap(bound)()
	bar := e.newProgress()
	defer bar.close()
	o.OnImage = bar.stage("describing", unitImages)
	s, err := run(o)
	bar.close()
	if err != nil {
		return nil, e.interrupted(err, out)
	}
	if s.ImagesPerSecond > 0 {
		fmt.Fprintf(e.stderr, "%.4g images/s, %s in all, peak memory %s\n", s.ImagesPerSecond, seconds(s.Seconds), report.Bytes(peakRSS()))
	}
	return s, nil
}

// announce prints the images to describe and the bound of memory, and returns the bound.
func (f *descriptorFlags) announce(e *environment, nets []transfer.Net, pictures *transfer.Images, o transfer.Options) (bound int64, err error) {
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
	switch labelsOf(pictures) {
	case oneClass:
		what = fmt.Sprintf("of %d classes", len(pictures.Classes))
	case severalClasses:
		what = fmt.Sprintf("of %d classes, several an image", len(pictures.Classes))
	}
	_, err = fmt.Fprintf(e.stderr, "%s images of %s, %s; memory within %s\n", report.Count(int64(o.Shard.Images(pictures.Len()))), pictures.Name, what, report.Bytes(bound))
	return bound, err
}

// The labels that featuresResult can name.
const (
	oneClass       = "one class"
	severalClasses = "several classes"
)

func labelsOf(images *transfer.Images) string {
	switch {
	case images.MultiLabel:
		return severalClasses
	case images.Labelled:
		return oneClass
	}
	return ""
}

// describeFlags are shared by the commands that describe images as those of a file were.
type describeFlags struct {
	Config  string   `placeholder:"CONFIG" help:"Configuration, or a row of layers (as the tensors tell)."`
	Weights []string `sep:"none" placeholder:"WEIGHTS" help:"Weights that are no longer where the file says: a file, or a configuration's name for its public release. Can be given more than once."`
	leftoverFlags
	releaseFlags
	pixelsFlag
	threadsFlag
}

// described is an image with its descriptor or its error.
type described struct {
	file string
	x    []float32
	err  error
}

// listing is what arguments name, to be described.
type listing struct {
	all    []described                 // without descriptors
	paths  []string                    // of those that exist, each once
	at     map[string]int              // in paths, by clean path
	spools map[string]*atomicfile.File // the files that images are kept in which aren't files, by name
}

// listed returns the images that arguments name. remove ends the use of the files.
func listed(e *environment, args []string) (l *listing, remove func(), err error) {
	pictures, err := e.pictures(args)
	if err != nil {
		return nil, nil, err
	}
	l = &listing{at: map[string]int{}, spools: map[string]*atomicfile.File{}}
	remove = func() {
		for _, f := range l.spools {
			f.Abort()
		}
	}
	for _, p := range pictures {
		d, path := described{file: p.name, err: p.err}, filepath.Clean(p.name)
		if p.data != nil {
			if l.spools[p.name] == nil {
				f, err := spool(p.data)
				if err != nil {
					remove()
					return nil, nil, err
				}
				l.spools[p.name] = f
			}
			path = l.spools[p.name].Temporary()
		}
		if _, err := os.Stat(path); err != nil && d.err == nil {
			d.err = pathless(err)
		}
		if _, ok := l.at[path]; !ok && d.err == nil {
			l.at[path] = len(l.paths)
			l.paths = append(l.paths, path)
		}
		l.all = append(l.all, d)
	}
	return l, remove, nil
}

// row returns the place of an image in paths.
func (l *listing) row(d described) int {
	if f, ok := l.spools[d.file]; ok {
		return l.at[f.Temporary()]
	}
	return l.at[filepath.Clean(d.file)]
}

// spool writes an image into a temporary file. That of a killed process goes with the next one.
func spool(data []byte) (*atomicfile.File, error) {
	f, err := atomicfile.Create(filepath.Join(os.TempDir(), "vgg-standard-input"))
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(data); err != nil {
		f.Abort()
		return nil, err
	}
	return f, nil
}

// describe describes the images that the arguments name in the way of a file's header.
func (f *describeFlags) describe(e *environment, file string, h transfer.Header, args []string) ([]described, error) {
	l, remove, err := listed(e, args)
	if err != nil {
		return nil, err
	}
	defer remove()
	threads, err := f.apply()
	if err != nil || len(l.paths) == 0 {
		return l.all, err
	}
	pictures, err := transfer.OpenImages(e.ctx, transfer.ImageOptions{Layout: transfer.Files}, l.paths...)
	if err != nil {
		return nil, err
	}
	bar := e.newProgress()
	defer bar.close()
	o := transfer.Options{Resources: resources.Resources{MaxPixels: f.pixels()}, OnImage: bar.stage("describing", unitImages)}
	rows, errs, err := transfer.Describe(e.ctx, h, pictures, o, f.openAs(e, file, threads))
	if err != nil {
		return nil, err
	}
	for i := range l.all {
		if d := &l.all[i]; d.err == nil {
			r := l.row(*d)
			d.x, d.err = rows[r], errs[r]
		}
	}
	return l.all, nil
}

// openAs returns a function that opens the networks of a file: those of --weights, or those
// at the paths that the file tells. Their hash decides.
func (f *describeFlags) openAs(e *environment, file string, threads int) func(transfer.NetID) (*vgg.Model, error) {
	open := f.opener(e, nn.F32, threads)
	open.headless = true
	open.options.Config, open.options.Ignore, open.options.Prefix = f.Config, f.Ignore, f.Prefix
	return func(n transfer.NetID) (*vgg.Model, error) {
		path, err := f.weightsOf(open, n)
		if err != nil {
			return nil, err
		}
		if path == "" {
			return nil, fmt.Errorf("%s: made by the weights %s with SHA-256 %.12s, which are not there, or changed; --weights names them", file, n.Weights, n.SHA256)
		}
		spec, err := json.Marshal(n.Preprocess)
		if err != nil {
			return nil, err
		}
		open.options.FCStorage, open.options.Preprocess = n.FCWeights, string(spec)
		open.options.Fit, open.options.Orient = &n.Preprocess.Fit, &n.Preprocess.Orient
		return open.open(path)
	}
}

// weightsOf returns the path of the weights that have a network's hash, or "".
func (f *describeFlags) weightsOf(open *opener, n transfer.NetID) (string, error) {
	for _, name := range f.Weights {
		path, err := open.path(name)
		if err != nil {
			return "", err
		}
		if sum, err := fileSHA256(open.env.ctx, path); err != nil || sum == n.SHA256 {
			return path, err
		}
	}
	if sum, err := fileSHA256(open.env.ctx, n.Weights); err != nil || sum != n.SHA256 {
		return "", nil
	}
	return n.Weights, nil
}

// updateHint adds to the error of a file of other images how to bring it up to date.
func updateHint(err error) error {
	if _, ok := errors.AsType[*transfer.OtherRunError](err); ok {
		return fmt.Errorf("%w; if images were added, removed or changed since, --update describes only those", err)
	}
	return err
}
