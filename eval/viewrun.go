package eval

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/resources"
)

// ViewRun evaluates one network by several views of the images of a set. Each view has a
// result file of its own, so that runs which need the same view share it, and an
// interrupted run continues.
type ViewRun struct {
	net     Net
	data    *dataset.Dataset
	o       ViewOptions
	design  design
	classes []string // of the files
	order   []int    // index of each of them among the network's; nil: the same
	views   []View
	files   []*resultFile // by view
	limits  limits
}

// ViewOptions chooses the result files of a [ViewRun] and its share of the machine.
type ViewOptions struct {
	// File returns the path of a view's result file.
	File func(v View) string
	// Fingerprint identifies the images; see [dataset.Fingerprint].
	Fingerprint string
	// Classes is the order of the classes in the files; nil: the network's own. It holds
	// the network's classes, in any order.
	Classes []string

	resources.Resources // as in [Options]

	// OnImage is told the images that are done, readable or not. What the files hold already
	// counts as done.
	OnImage progress.Func
}

// OpenViews opens the result files of a network by several views, and begins those that
// don't exist. The Setting of the network is ignored. A file of another network, set or
// view is an error that names the difference; a file that another process writes is one
// that names the process. So is a bound of memory that is too little for one crop.
func OpenViews(ctx context.Context, net Net, views []View, data *dataset.Dataset, o ViewOptions) (_ *ViewRun, err error) {
	if data.Len() == 0 {
		return nil, fmt.Errorf("eval: %s: no images, want at least one", data.Name)
	}
	if err := o.Resources.Validate("eval"); err != nil {
		return nil, err
	}
	if data.MultiLabel {
		return nil, fmt.Errorf("eval: %s: several labels an image, want one class an image, which a table of top-1 and top-5 errors is about", data.Name)
	}
	r := &ViewRun{net: net, data: data, o: o, views: views}
	if r.design, err = net.design(); err != nil {
		return nil, err
	}
	for _, v := range views {
		if !slices.Equal(v.setting().Views(), []View{v}) {
			return nil, fmt.Errorf("eval: %s: %v is not a single view", net.Weights, v.setting())
		}
		if err := r.design.check(v.setting(), data); err != nil {
			return nil, ofWeights(err, net.Weights)
		}
	}
	r.classes = r.design.classesFor(data)
	if o.Classes != nil {
		if err := sameNames(r.classes, o.Classes); err != nil {
			return nil, fmt.Errorf("eval: %s: %w as the networks before it have", net.Weights, err)
		}
		if r.order, err = permutation(r.classes, o.Classes); err != nil {
			return nil, err
		}
		r.classes = o.Classes
	}
	if _, err := matchClasses(data.Name, data.Classes, r.classes); err != nil {
		return nil, ofWeights(err, net.Weights)
	}
	if r.limits, err = limitsBeside(r.design, anySize(views), o.Resources, answersBytes(data.Len(), len(views), 0)); err != nil {
		return nil, ofWeights(err, net.Weights)
	}
	for _, v := range views {
		h := newHeader(data, whole())
		h.Data.Fingerprint, h.Classes, h.Nets = o.Fingerprint, r.classes, []NetID{net.id(r.design, v.setting())}
		f, err := createFile(ctx, o.File(v), h)
		if err != nil {
			r.Close()
			return nil, err
		}
		r.files = append(r.files, f)
		changed, err := f.follow(ctx, data, false)
		if err != nil {
			r.Close()
			return nil, err
		}
		if changed > 0 && o.OnRemark != nil {
			o.OnRemark(f.follows.Remark(changed, f.path, "evaluated again"))
		}
	}
	return r, nil
}

// Close closes the files.
func (r *ViewRun) Close() error {
	var errs []error
	for _, f := range r.files {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

// Classes returns the names that the numbers of a posterior in the files stand for.
func (r *ViewRun) Classes() []string { return r.classes }

// todo lists the images that some view has still to see, and for each image those views.
func (r *ViewRun) todo() (images []int, wanted map[int][]int) {
	wanted = map[int][]int{}
	for i := range r.data.Len() {
		for v, f := range r.files {
			if f.has(0, i) != present {
				wanted[i] = append(wanted[i], v)
			}
		}
		if wanted[i] != nil {
			images = append(images, i)
		}
	}
	return images, wanted
}

// Run takes the images that are not done through the network, and makes the files whole.
// If all are done the network is not opened.
func (r *ViewRun) Run(ctx context.Context) error {
	images, wanted := r.todo()
	if len(images) == 0 {
		return nil
	}
	m, err := r.net.Open()
	if err != nil {
		return err
	}
	done := r.data.Len() - len(images)
	c := &crew{ranks: r.o.Ranks, pass: pass{
		model: m, data: r.data, views: r.views, limits: r.limits, batch: r.o.Batch, workers: r.o.AllWorkers(),
		done: func(image int, posteriors [][]float32, err error) error {
			for j, v := range wanted[image] {
				a := answerTo(r.data.Samples[image], err)
				if err == nil {
					a.Posterior = reorder(posteriors[j], r.order)
				}
				if err := r.files[v].put(0, image, a); err != nil {
					return err
				}
			}
			done++
			r.o.OnImage.Report(int64(done), int64(r.data.Len()))
			return nil
		},
	}}
	if err := c.run(ctx, images, func(i int) []int { return wanted[i] }); err != nil {
		return err
	}
	for _, f := range r.files {
		if err := f.sync(); err != nil {
			return err
		}
	}
	return nil
}

// AddWork adds the cost of Run to an estimate, as [Work] computes it. e.Images counts the
// images of all runs added, and e.MACs is the mean over them.
func (r *ViewRun) AddWork(ctx context.Context, e *Estimate, measure bool) error {
	images, wanted := r.todo()
	w := viewWork{
		net: r.net, design: r.design, data: r.data, views: r.views, limits: r.limits,
		batch: r.o.Batch, ranks: r.o.Ranks, workers: r.o.AllWorkers(),
		images: images, todo: len(images), wanted: make([]int, len(r.views)),
	}
	for _, vs := range wanted {
		for _, v := range vs {
			w.wanted[v]++
		}
	}
	e.MACs *= float64(e.Images)
	if err := w.addTo(ctx, e, measure); err != nil {
		return err
	}
	e.Images += len(images)
	e.MACs /= float64(max(1, e.Images))
	return nil
}

// FusedNet is a network of a fusion: the setting that it is shown images by, and the run
// that holds the views of the setting.
type FusedNet struct {
	Run     *ViewRun
	Setting Setting
}

// Fuse computes the errors of the fusion of networks from their result files: the mean
// posterior over scales, protocols and networks, in this order, bit for bit that of
// [RunNets]. The networks must know the same classes, in any order, of the same set. A view
// that a run doesn't hold, or has not seen all images by, is an error.
func Fuse(ctx context.Context, nets ...FusedNet) (*Result, error) {
	if len(nets) == 0 {
		return nil, fmt.Errorf("eval: no networks to fuse, want at least one")
	}
	data := nets[0].Run.data
	h := newHeader(data, whole())
	h.Classes = nets[0].Run.classes
	var sources fused
	for _, n := range nets {
		h.Nets = append(h.Nets, n.Run.net.id(n.Run.design, n.Setting))
		order, err := permutation(n.Run.classes, h.Classes)
		if err != nil {
			return nil, fmt.Errorf("eval: %s: %w as %s has", n.Run.net.Weights, err, nets[0].Run.net.Weights)
		}
		s, err := n.source()
		if err != nil {
			return nil, err
		}
		if order != nil {
			s = reordered{s, order}
		}
		sources = append(sources, s)
	}
	return evaluate(ctx, h, sources, whole().images(data.Len()), Options{Mistakes: -1, Confusions: -1})
}

// source returns the answers by the network's setting.
func (n FusedNet) source() (source, error) {
	var parts meanOf
	for _, p := range n.Setting.Protocol.parts() {
		var scales meanOf
		for _, v := range (Setting{p, n.Setting.Scales, n.Setting.Flip}).Views() {
			f := n.Run.file(v)
			if f == nil {
				return nil, fmt.Errorf("eval: %s: no results by %v", n.Run.net.Weights, v.setting())
			}
			scales = append(scales, f.net(0))
		}
		parts = append(parts, scales)
	}
	return parts, nil
}

// file returns the result file of a view, or nil.
func (r *ViewRun) file(v View) *resultFile {
	for i, other := range r.views {
		if other == v {
			return r.files[i]
		}
	}
	return nil
}

// fused is a store of networks each of which is a mean.
type fused []source

func (f fused) net(n int) source { return f[n] }

// reordered is a source whose posteriors have their classes in another order.
type reordered struct {
	of    source
	order []int
}

func (r reordered) answer(image int) (Answer, bool, error) {
	a, ok, err := r.of.answer(image)
	if a.Posterior != nil {
		a.Posterior = reorder(a.Posterior, r.order)
	}
	return a, ok, err
}
