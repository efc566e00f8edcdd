// Package eval measures networks' classification error on a set of images by the
// paper's protocols (§3.2, §4).
//
// The order of averaging is the paper's: the class score map over space, then, behind
// the soft-max, crops and mirror images, scales, protocols, networks. Each mean is taken
// in float64 and rounded to float32 once. Errors are fractions in [0,1].
package eval

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/nn"
)

// Options say how images are shown to the network, and what of the run.
type Options struct {
	Protocol Protocol
	// Scales lists the smallest sides Q, in pixels, that an image is rescaled to; the
	// soft-max posteriors are averaged over them (§4.2). Empty: the one that the
	// weights' preprocessing names.
	Scales []int
	// Flip averages the posteriors of the central crop or the dense pass with those of
	// the mirrored image (§3.2).
	Flip bool
	// Mistakes is how many of the worst mistakes the result lists, Confusions how many
	// of the pairs of classes most often confused; 0: none.
	Mistakes, Confusions int

	Batch   int   // pieces of one size that go through the network together; 0: as many as hold 16·224² pixels
	Ranks   int   // passes at a time, each with its share of threads and memory, over one network; 0: two, if there are threads and memory for them
	Workers int   // images prepared at once, by all ranks together; 0: runtime.GOMAXPROCS
	Memory  int64 // bound, in bytes, of the process's memory; 0: DefaultMemory. Images that need more are unreadable
	Shard   Shard // part of the set; zero: all

	// Out, where set, is the result file: the run goes on with what it holds, and adds
	// every image when it is done. Weights and data are identified by fingerprints.
	Out string

	// OnImage, where set, is told how many images are done, readable or not; an image
	// counts once for every network. What the result file holds already counts as done.
	OnImage func(done, total int)
}

// Net is a network of an evaluation and how it is shown images. Its Scales may be
// empty: the one that the weights' preprocessing names.
type Net struct {
	Weights   string     // what results call it
	SHA256    string     // of the file of weights; empty where there is none
	FCWeights nn.Storage // how the fully connected weights lie in memory
	// Open returns the network. It is called when the network's turn comes, and before
	// that once, so that one network is in memory at a time.
	Open func() (*vgg.Model, error)
	Setting
}

// Run evaluates a model on a set of images. Every image counts exactly once: as right,
// as wrong, or apart from both as unreadable.
//
// The set's classes are the model's of the same name, in whatever order, and may be
// fewer; one that the model doesn't know is an error. So is a set without one readable
// image, and a network whose scores are not finite.
func Run(ctx context.Context, m *vgg.Model, data *dataset.Dataset, o Options) (*Result, error) {
	net := Net{Open: func() (*vgg.Model, error) { return m, nil }, Setting: Setting{o.Protocol, o.Scales, o.Flip}}
	return RunNets(ctx, []Net{net}, data, o)
}

// RunNets is [Run] for the fusion of several networks: their posteriors are averaged
// (§4.4). They must know the same classes, in whatever order. Of the options, Protocol,
// Scales and Flip don't count. The networks take turns.
func RunNets(ctx context.Context, nets []Net, data *dataset.Dataset, o Options) (*Result, error) {
	r := &run{nets: slices.Clone(nets), data: data, o: o}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	var st store = newMemory(data, len(nets))
	if o.Out != "" {
		f, err := createFile(o.Out, r.header)
		if err != nil {
			return nil, err
		}
		defer f.close()
		st = f
	}
	images := r.header.Shard.images(data.Len())
	start, before := time.Now(), r.count(st, images)
	r.total, r.finished = len(images)*len(nets), before
	for i := range r.nets {
		if err := r.run(ctx, i, images, st); err != nil {
			return nil, err
		}
	}
	if f, ok := st.(*file); ok {
		if err := f.sync(); err != nil {
			return nil, err
		}
	}
	result, err := evaluate(r.header, st, images, o)
	if err != nil {
		return nil, err
	}
	result.Seconds = time.Since(start).Seconds()
	if n := r.total - before; n > 0 {
		result.ImagesPerSecond = float64(n) / float64(len(nets)) / result.Seconds
	}
	return result, nil
}

// run is an evaluation that takes place.
type run struct {
	nets   []Net
	data   *dataset.Dataset
	o      Options
	header Header

	finished, total int
}

// prepare checks everything that can be wrong with the networks, the data and the
// options, and identifies the run.
func (r *run) prepare(ctx context.Context) error {
	if len(r.nets) == 0 {
		return errors.New("eval: no networks, want at least one")
	}
	if r.data.Len() == 0 {
		return fmt.Errorf("eval: %s: no images, want at least one", r.data.Name)
	}
	for _, f := range []struct {
		name  string
		value int64
	}{{"batch", int64(r.o.Batch)}, {"ranks", int64(r.o.Ranks)}, {"workers", int64(r.o.Workers)}, {"memory", r.o.Memory}} {
		if f.value < 0 {
			return fmt.Errorf("eval: %s: %d, want at least 0", f.name, f.value)
		}
	}
	if r.o.Shard == (Shard{}) {
		r.o.Shard = whole()
	}
	if err := r.o.Shard.validate(); err != nil {
		return err
	}
	if r.o.Shard.Index > r.data.Len() {
		return fmt.Errorf("eval: shard %v of %d images is empty, want fewer shards", r.o.Shard, r.data.Len())
	}
	h := Header{
		Format: fileFormat, ISA: kernel.Current().Name(), Shard: r.o.Shard,
		Data: DataID{Name: r.data.Name, Images: r.data.Len(), Classes: r.data.Classes},
	}
	for i := range r.nets {
		n := &r.nets[i]
		m, err := n.Open()
		if err != nil {
			return err
		}
		if len(n.Scales) == 0 {
			n.Scales = []int{m.Preprocess.Resize}
		}
		if err := r.check(*n, m); err != nil {
			if len(r.nets) > 1 {
				return fmt.Errorf("%w (of %s)", err, n.Weights)
			}
			return err
		}
		classes := classesFor(m, r.data)
		if i == 0 {
			h.Classes = classes
		} else if err := sameNames(classes, h.Classes); err != nil {
			return fmt.Errorf("eval: %s: %w as %s has", n.Weights, err, r.nets[0].Weights)
		}
		fc := n.FCWeights
		if fc == "" {
			fc = nn.F32
		}
		h.Nets = append(h.Nets, NetID{n.Weights, n.SHA256, fc, m.Preprocess, n.Setting})
	}
	if _, err := matchClasses(r.data.Name, r.data.Classes, h.Classes); err != nil {
		return err
	}
	if r.o.Out != "" {
		var err error
		if h.Data.Fingerprint, err = dataset.Fingerprint(ctx, r.data); err != nil {
			return err
		}
	}
	r.header = h
	return nil
}

// check reports a network that can't be evaluated.
func (r *run) check(n Net, m *vgg.Model) error {
	if m.Net.Options().Classes < 1 || len(m.Classes) == 0 {
		return errors.New("eval: a network without classes, want one that ends in a soft-max")
	}
	if err := n.Setting.validate(m.Net.Options().Input); err != nil {
		return err
	}
	_, err := newLimits(m.Net, anySize(n.views()), r.o.Memory)
	return err
}

// count is how many answers the store has already.
func (r *run) count(st store, images []int) int {
	n := 0
	for net := range r.nets {
		for _, i := range images {
			if st.has(net, i) == present {
				n++
			}
		}
	}
	return n
}

// run takes the images through one network.
func (r *run) run(ctx context.Context, net int, images []int, st store) error {
	var todo []int
	for _, i := range images {
		if st.has(net, i) != present {
			todo = append(todo, i)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	m, err := r.nets[net].Open()
	if err != nil {
		return err
	}
	setting := r.nets[net].Setting
	order, err := permutation(classesFor(m, r.data), r.header.Classes)
	if err != nil {
		return err
	}
	limits, err := newLimits(m.Net, anySize(setting.views()), r.o.Memory)
	if err != nil {
		return err
	}
	every := make([]int, len(setting.views()))
	for i := range every {
		every[i] = i
	}
	c := &crew{ranks: r.o.Ranks, pass: pass{
		model: m, data: r.data, views: setting.views(), limits: limits, batch: r.o.Batch, workers: r.workers(),
		done: func(image int, posteriors [][]float32, err error) error {
			s := r.data.Samples[image]
			a := Answer{File: s.Name, Label: s.Label, Err: err}
			if err == nil {
				a.Posterior = reorder(setting.combine(posteriors), order)
			}
			if err := st.put(net, image, a); err != nil {
				return err
			}
			r.finished++
			if r.o.OnImage != nil {
				r.o.OnImage(r.finished, r.total)
			}
			return nil
		},
	}}
	return c.run(ctx, todo, func(int) []int { return every })
}

func (r *run) workers() int {
	if r.o.Workers > 0 {
		return r.o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// MatchClasses returns the model's class of each of the set's, which has the same name
// or, of ImageNet's classes, the synset. It is an error if there is none.
func MatchClasses(m *vgg.Model, data *dataset.Dataset) ([]int, error) {
	return matchClasses(data.Name, data.Classes, classesFor(m, data))
}

// matchClasses returns the model's class of each of the set's.
func matchClasses(name string, set, classes []string) ([]int, error) {
	index := map[string]int{}
	twice := map[string]bool{}
	for i, c := range classes {
		if _, ok := index[c]; ok {
			twice[c] = true
		}
		index[c] = i
	}
	if slices.Equal(classes, vgg.ImageNetClasses()) { // which data sets know by their synsets
		for i, c := range vgg.ImageNetSynsets() {
			index[c] = i
		}
	}
	labels := make([]int, len(set))
	for i, c := range set {
		at, ok := index[c]
		switch {
		case !ok:
			return nil, fmt.Errorf("eval: %s: class %q: the weights know no such class, want one of their %d: %s", name, c, len(classes), some(classes))
		case twice[c]:
			return nil, fmt.Errorf("eval: %s: class %q: the weights have several classes of this name, want one", name, c)
		}
		labels[i] = at
	}
	return labels, nil
}

// sameNames reports the first class in which two networks differ, whatever their order.
func sameNames(got, want []string) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d classes, want %d", len(got), len(want))
	}
	_, err := permutation(got, want)
	return err
}

// permutation returns, for each class of want, its index in got.
func permutation(got, want []string) ([]int, error) {
	if slices.Equal(got, want) {
		return nil, nil
	}
	index := map[string]int{}
	for i, c := range got {
		index[c] = i
	}
	order := make([]int, len(want))
	for i, c := range want {
		at, ok := index[c]
		if !ok || len(index) != len(want) {
			return nil, fmt.Errorf("no class %q, want the same classes", c)
		}
		order[i] = at
	}
	return order, nil
}

// reorder returns p with its numbers in another order; nil is the order as it is.
func reorder(p []float32, order []int) []float32 {
	if order == nil {
		return p
	}
	out := make([]float32, len(p))
	for i, at := range order {
		out[i] = p[at]
	}
	return out
}

// some lists the first few of many names.
func some(names []string) string {
	const most = 5
	text := ""
	for i, n := range names[:min(most, len(names))] {
		if i > 0 {
			text += ", "
		}
		text += n
	}
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

// lossOf is the multinomial logistic loss of a posterior. A probability too small for a
// float32 counts as the smallest normal one, so that the mean stays finite.
func lossOf(p float32) float64 {
	const smallest = 0x1p-126
	return -math.Log(max(float64(p), smallest))
}
