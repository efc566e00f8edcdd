// Package eval measures the classification error of networks on a set of images by the
// paper's protocols (§3.2, §4).
//
// Averaging follows the paper's order: first the class score map over space, then, after
// the soft-max, the posteriors over crops and mirror images, scales, protocols and
// networks. Each mean is taken in float64 and rounded to float32 once. Errors are
// fractions in [0,1].
package eval

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/resources"
)

// Options chooses the evaluation protocol and the part of the data set to run.
// [DefaultOptions] returns the values of the command line; the zero value differs from
// them in the lengths of the lists alone.
type Options struct {
	Protocol Protocol
	// Scales lists the test scales Q: smallest sides, in pixels, that an image is rescaled
	// to. The soft-max posteriors are averaged over them (§4.2). Empty: the one scale of
	// the weights' preprocessing.
	Scales []int
	// Flip averages the posteriors of the central crop or the dense pass with those of
	// the mirrored image (§3.2).
	Flip bool
	// Thresholds are the least probabilities from which a label counts as shown, by class of
	// the first network, for images of several labels. Nil: those of the weights, else ½ each.
	Thresholds []float32
	// Mistakes is the number of worst mistakes that the result lists, Confusions that of
	// the pairs of classes most often confused. 0: all; negative: none.
	Mistakes, Confusions int

	// Resources: Batch holds crops or images of one size; 0: as many as have 16·224² pixels, at
	// most 128. Ranks share one network; 0: two, if there are threads and memory for them.
	// Workers decode images. A Memory of 0 is [DefaultMemory]; an image that doesn't fit counts
	// as unreadable, so that Memory, and nothing else of these, may change the result.
	resources.Resources
	Shard Shard // part of the set; zero: all

	// Out, where set, is the result file. The run continues from what the file holds and
	// appends every image as it is done. Weights and data are identified by fingerprints. An
	// image whose file has another time than the result file says is read again, and evaluated
	// again if its contents are others.
	// Without a file the posteriors of all images stay in memory.
	Out string
	// Verify compares the contents of all images with what Out says of them, whatever their
	// times. Those of which it says nothing are evaluated again.
	Verify bool

	// OnImage is told the images that are done, readable or not. An image counts once for
	// every network. What the result file holds already counts as done.
	OnImage progress.Func
}

// DefaultOptions returns the command line's values: the central crop at the scale of the
// weights' preprocessing, ten mistakes and ten confusions listed, all images, and as much
// memory as [DefaultMemory].
func DefaultOptions() Options {
	return Options{Protocol: Centre, Mistakes: 10, Confusions: 10, Resources: resources.Resources{Workers: runtime.GOMAXPROCS(0)}, Shard: whole()}
}

// Net is a network to evaluate and the way it is shown images. Its Scales may be empty:
// the one scale of the weights' preprocessing.
type Net struct {
	Weights   string     // name in results
	SHA256    string     // of the file of weights; empty where there is none
	FCWeights nn.Storage // format of the fully connected weights in memory; empty: [nn.F32]
	Device    string     // where it computes, as results tell it; empty: the processor
	// Description, where set, is what [vgg.Identify] says of the file of weights. All checks
	// go by it. Without it the network is opened for them too.
	Description *vgg.Description
	// Open returns the network. It is called when the network's turn comes, so that one
	// network at a time is in memory.
	Open func() (*vgg.Model, error)
	Setting
}

// ErrNotFinite is [vgg.ErrNotFinite].
var ErrNotFinite = vgg.ErrNotFinite

// Run evaluates a model on a set of images. Every image counts exactly once: as right, as
// wrong, or separately as unreadable.
//
// The set's classes are matched with the model's by name. Their order may differ, and the
// set may have fewer. Run returns an error if the model lacks one of the set's classes, or
// if o.Memory is too little for one crop. These are told apart: [vgg.ErrHeadless], a
// [*vgg.LocaliserError], [ErrNotFinite], a [*dataset.BadImage] if no image is readable, and of
// o.Out a [*HeldError], an [*OtherRunError] and a [*FormatError].
func Run(ctx context.Context, m *vgg.Model, data *dataset.Dataset, o Options) (*Result, error) {
	net := Net{Open: func() (*vgg.Model, error) { return m, nil }, Setting: Setting{o.Protocol, o.Scales, o.Flip}}
	return RunNets(ctx, []Net{net}, data, o)
}

// RunNets is [Run] for the fusion of several networks: their posteriors are averaged
// (§4.4). The networks must know the same classes, in any order. They run one after
// another. Each has its own Setting; Protocol, Scales and Flip of the options are ignored.
func RunNets(ctx context.Context, nets []Net, data *dataset.Dataset, o Options) (*Result, error) {
	r, err := newRun(ctx, nets, data, o)
	if err != nil {
		return nil, err
	}
	answers, err := r.openStore(ctx)
	if err != nil {
		return nil, err
	}
	if f, ok := answers.(*resultFile); ok {
		defer f.close()
	}
	start, before := time.Now(), r.count(answers)
	r.total, r.finished = len(r.images)*len(nets), before
	for i := range r.nets {
		if err := r.runNet(ctx, i, answers); err != nil {
			return nil, err
		}
	}
	if f, ok := answers.(*resultFile); ok {
		if err := f.sync(); err != nil {
			return nil, err
		}
	}
	result, err := evaluate(ctx, r.header, answers, r.images, o)
	if err != nil {
		return nil, err
	}
	took := time.Since(start)
	result.Seconds = took.Seconds()
	if n := r.total - before; n > 0 {
		result.ImagesPerSecond = progress.Rate(float64(n)/float64(len(nets)), took)
	}
	return result, nil
}

// run is one evaluation.
type run struct {
	nets   []Net
	data   *dataset.Dataset
	o      Options
	header Header
	images []int // of the shard

	finished, total int
}

// newRun checks networks, data and options, and identifies the run.
func newRun(ctx context.Context, nets []Net, data *dataset.Dataset, o Options) (*run, error) {
	switch {
	case len(nets) == 0:
		return nil, errors.New("eval: no networks, want at least one")
	case data == nil:
		return nil, errors.New("eval: no data set: dataset.Open returns none for validation where the images have no such part")
	case data.Len() == 0:
		return nil, fmt.Errorf("eval: %s: no images, want at least one", data.Name)
	}
	if err := o.Resources.Validate("eval"); err != nil {
		return nil, err
	}
	if o.Shard == (Shard{}) {
		o.Shard = whole()
	}
	if err := o.Shard.validate(); err != nil {
		return nil, err
	}
	if o.Shard.Index > data.Len() {
		return nil, fmt.Errorf("eval: shard %v of %d images is empty, want fewer shards", o.Shard, data.Len())
	}
	r := &run{nets: slices.Clone(nets), data: data, o: o, images: o.Shard.images(data.Len())}
	r.header = newHeader(data, o.Shard)
	for i := range r.nets {
		if err := r.add(&r.nets[i]); err != nil {
			return nil, err
		}
	}
	if _, err := matchClasses(data.Name, data.Classes, r.header.Classes); err != nil {
		return nil, err
	}
	if o.Out != "" {
		var err error
		if r.header.Data.Fingerprint, err = dataset.Fingerprint(ctx, data); err != nil {
			return nil, err
		}
		if err := r.header.keepOrientation(ctx, o.Out, data); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// newHeader returns the header of a run over a shard of a set, without networks, classes
// and fingerprint.
func newHeader(data *dataset.Dataset, s Shard) Header {
	return Header{
		Format: fileFormat, ISA: kernel.Current().Name(), Shard: s,
		Data: DataID{Name: data.Name, Images: data.Len(), Classes: data.Classes, MultiLabel: data.MultiLabel},
	}
}

// add checks a network, completes its setting and puts it into the header.
func (r *run) add(n *Net) error {
	d, err := n.design()
	if err != nil {
		return err
	}
	if len(n.Scales) == 0 {
		n.Scales = []int{d.preprocess.Resize}
	}
	wrap := func(err error) error {
		if len(r.nets) > 1 {
			return ofWeights(err, n.Weights)
		}
		return err
	}
	if err := d.check(n.Setting, r.data); err != nil {
		return wrap(err)
	}
	classes := d.classesFor(r.data)
	if len(r.header.Nets) == 0 {
		r.header.Classes = classes
		if r.header.Thresholds, err = r.thresholds(d); err != nil {
			return err
		}
	} else if err := sameNames(classes, r.header.Classes); err != nil {
		return fmt.Errorf("eval: %s: %w as %s has", n.Weights, err, r.nets[0].Weights)
	}
	if _, err := r.limits(d, n.Views()); err != nil {
		return wrap(err)
	}
	r.header.Nets = append(r.header.Nets, n.id(d, n.Setting))
	return nil
}

// thresholds returns the thresholds of labels, nil for images of one class each.
func (r *run) thresholds(d design) ([]float32, error) {
	given := r.o.Thresholds
	switch {
	case !r.data.MultiLabel && given != nil:
		return nil, fmt.Errorf("eval: %s: thresholds for images of one class each, want none", r.data.Name)
	case !r.data.MultiLabel:
		return nil, nil
	case given == nil && d.thresholds != nil:
		given = d.thresholds
	case given == nil:
		given = slices.Repeat([]float32{vgg.DefaultThreshold}, len(d.classes))
	}
	if err := vgg.CheckThresholds(given, len(d.classes)); err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	return given, nil
}

// openStore opens the result file, or a store in memory where there is none.
func (r *run) openStore(ctx context.Context) (store, error) {
	if r.o.Out == "" {
		return newMemory(r.data, len(r.nets)), nil
	}
	f, err := createFile(ctx, r.o.Out, r.header)
	if err != nil {
		return nil, err // not a *file that is nil
	}
	changed, err := f.follow(ctx, r.data, r.o.Verify)
	if err != nil {
		f.close()
		return nil, err
	}
	if changed > 0 && r.o.OnRemark != nil {
		r.o.OnRemark(f.follows.Remark(changed, r.o.Out, "evaluated again"))
	}
	return f, nil
}

// limits divides the memory for one of the networks.
func (r *run) limits(d design, views []View) (limits, error) {
	classes := 0
	if r.o.Out == "" {
		classes = len(r.header.Classes)
	}
	if r.data.MultiLabel { // all posteriors are ranked at the end
		classes += 2 * len(r.data.Classes)
	}
	return limitsBeside(d, anySize(views), r.o.Resources, answersBytes(len(r.images), len(r.nets), classes))
}

// todo lists the images that a network has still to see.
func (r *run) todo(net int, answers store) []int {
	var todo []int
	for _, i := range r.images {
		if answers.has(net, i) != present {
			todo = append(todo, i)
		}
	}
	return todo
}

// count returns the number of answers that the store holds.
func (r *run) count(answers store) int {
	n := 0
	for net := range r.nets {
		n += len(r.images) - len(r.todo(net, answers))
	}
	return n
}

// runNet takes the images through one network.
func (r *run) runNet(ctx context.Context, net int, answers store) error {
	todo := r.todo(net, answers)
	if len(todo) == 0 {
		return nil
	}
	if net > 0 {
		runtime.GC() // free the network before this one
	}
	m, err := r.nets[net].Open()
	if err != nil {
		return err
	}
	setting := r.nets[net].Setting
	order, err := permutation(designOf(m).classesFor(r.data), r.header.Classes)
	if err != nil {
		return err
	}
	limits, err := r.limits(designOf(m), setting.Views())
	if err != nil {
		return err
	}
	c := &crew{ranks: r.o.Ranks, pass: pass{
		model: m, data: r.data, views: setting.Views(), limits: limits, batch: r.o.Batch, workers: r.o.AllWorkers(),
		done: func(image int, posteriors [][]float32, err error) error {
			a := answerTo(r.data.Samples[image], err)
			if err == nil {
				a.Posterior = reorder(setting.combine(posteriors), order)
			}
			if err := answers.put(net, image, a); err != nil {
				return err
			}
			r.finished++
			r.o.OnImage.Report(int64(r.finished), int64(r.total))
			return nil
		},
	}}
	return c.run(ctx, todo, everyView(len(c.views)))
}

// everyView wants all of n views of every image.
func everyView(n int) func(image int) []int {
	every := make([]int, n)
	for i := range every {
		every[i] = i
	}
	return func(int) []int { return every }
}
