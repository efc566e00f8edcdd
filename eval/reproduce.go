package eval

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/nn"
)

// Reproduction is what a plan came to. Its JSON keys are those of
// `vgg reproduce --json`.
type Reproduction struct {
	Title      string             `json:"title"`
	Data       string             `json:"data"`
	Images     int                `json:"images"` // of the set
	ImageNet   bool               `json:"imagenet"`
	Measure    Measure            `json:"measure,omitempty"`
	Labels     []string           `json:"labels"`
	Rows       []ReproducedRow    `json:"rows"`
	Missing    []string           `json:"missing_weights"`
	Unreadable []dataset.BadImage `json:"unreadable_images"` // for any of the networks
}

// ReproducedRow is a row of a reproduction.
type ReproducedRow struct {
	Labels  []string `json:"labels"`
	Result  *Figure  `json:"result"`                 // nil where weights are missing, or there are no networks
	Boxes   *Boxes   `json:"localisation,omitempty"` // in place of it in tables of localisation
	Paper   *Figures `json:"paper"`                  // in per cent; nil unless the classes are ILSVRC's
	Missing []string `json:"missing"`                // weights
	Others  bool     `json:"others"`                 // a row without networks of this paper
}

// Figure is what a row's networks come to, as fractions.
type Figure struct {
	Images    int        `json:"images"`
	Top1Error float64    `json:"top1_error"`
	Top5Error float64    `json:"top5_error"`
	Top1Range [2]float64 `json:"top1_interval"`
	Top5Range [2]float64 `json:"top5_interval"`
	// P is how probable a difference of the top-1 error from the first row's as large as
	// this is, if both are equally good: McNemar's test, exact and two-sided. nil in the
	// first row that has a result.
	P *float64 `json:"p"`
}

// Boxes is what a row's networks come to in localisation, as fractions.
type Boxes struct {
	Images       int        `json:"images"`
	GTClassError float64    `json:"gt_class_error"`
	GTClassRange [2]float64 `json:"gt_class_interval"`
	MeanIoU      float64    `json:"mean_iou"`
	// Top5Error is nil where no classes are told.
	Top5Error *float64    `json:"top5_error,omitempty"`
	Top5Range *[2]float64 `json:"top5_interval,omitempty"`
}

// ReproduceOptions say where weights are and how the networks run.
type ReproduceOptions struct {
	// Find returns the network of a name of weights, without its setting; ok is false
	// if there is none.
	Find func(name string) (n Net, ok bool, err error)
	// Results is a folder of result files, one for each network, protocol and scale.
	// Tables share it, and an interrupted reproduction goes on with it.
	Results string

	Batch, Ranks, Workers int // as in [Options]
	Memory                int64

	// OnImage, where set, is told how many images are done of the network at work.
	OnImage func(weights string, done, total int)
}

// Reproduce evaluates what a plan's rows need as far as there are weights, and fuses
// it. What o.Results holds already is not computed again.
func Reproduce(ctx context.Context, p Plan, data *dataset.Dataset, o ReproduceOptions) (*Reproduction, error) {
	r, err := newReproduction(ctx, p, data, o)
	if err != nil {
		return nil, err
	}
	defer r.close()
	for _, name := range p.Weights() {
		if err := r.run(ctx, name); err != nil {
			return nil, err
		}
	}
	return r.table()
}

// ReproduceWork tells what [Reproduce] will take, as [Work] does. Images counts those
// that any network has still to see, once for each network.
func ReproduceWork(ctx context.Context, p Plan, data *dataset.Dataset, o ReproduceOptions, measure bool) (Estimate, error) {
	var e Estimate
	r, err := newReproduction(ctx, p, data, o)
	if err != nil {
		return e, err
	}
	defer r.close()
	for _, name := range p.Weights() {
		w, err := r.open(name)
		if err != nil {
			return e, err
		}
		if w == nil {
			continue
		}
		e.Memory, e.Largest = max(e.Memory, w.crew.limits.total), max(e.Largest, w.crew.limits.fixed)
		e.Images += len(w.todo)
		if len(w.todo) == 0 {
			continue
		}
		views := make([]int, len(w.crew.views))
		for _, wanted := range w.wanted {
			for _, v := range wanted {
				views[v]++
			}
		}
		if err := (&probe{w.crew}).addTo(ctx, &e, w.todo, len(w.todo), views, measure); err != nil {
			return e, err
		}
	}
	e.MACs /= float64(max(1, e.Images))
	return e, nil
}

func newReproduction(ctx context.Context, p Plan, data *dataset.Dataset, o ReproduceOptions) (*reproduction, error) {
	if data.Len() == 0 {
		return nil, fmt.Errorf("eval: %s: no images, want at least one", data.Name)
	}
	if p.Measure != Classification {
		return nil, fmt.Errorf("eval: %s: a plan of localisation, which package localize reproduces", p.Title)
	}
	r := &reproduction{plan: p, data: data, o: o, files: map[netView]*file{}, found: map[string]bool{}}
	var err error
	if r.fingerprint, err = dataset.Fingerprint(ctx, data); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Results, 0o777); err != nil {
		return nil, fmt.Errorf("eval: results: %w", err)
	}
	return r, nil
}

// netView is a network at one protocol and scale: what a result file holds.
type netView struct {
	weights string
	view    view
}

type reproduction struct {
	plan        Plan
	data        *dataset.Dataset
	o           ReproduceOptions
	fingerprint string
	classes     []string // of the first network; posteriors are in their order
	files       map[netView]*file
	found       map[string]bool
}

func (r *reproduction) close() {
	for _, f := range r.files {
		_ = f.close() // synced when they were complete
	}
}

// views lists what the plan's rows need of a network, each once.
func (r *reproduction) views(weights string) []view {
	var vs []view
	for _, row := range r.plan.Rows {
		for _, n := range row.Nets {
			if n.Weights != weights {
				continue
			}
			for _, v := range r.plan.setting(n).views() {
				if !slices.Contains(vs, v) {
					vs = append(vs, v)
				}
			}
		}
	}
	return vs
}

// unsafe is what the names of result files don't have.
var unsafe = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// path is the result file of a network at one protocol and scale. Hashes of weights and
// data are in its name, so that others' results stay beside it.
func (r *reproduction) path(name string, sha string, v view) string {
	flip := ""
	if v.flip {
		flip = ".flip"
	}
	return filepath.Join(r.o.Results, unsafe.ReplaceAllString(fmt.Sprintf("%s.%s.%d%s.%.8s.%.8s.jsonl", name, v.protocol, v.scale, flip, sha, r.fingerprint), "_"))
}

// netWork is what a plan wants of one network and its result files don't hold yet.
type netWork struct {
	crew   crew
	files  []*file       // by view
	wanted map[int][]int // views, by image
	todo   []int         // images
	order  []int         // of the classes
}

// open opens a network and its result files; nil if there is no such network.
func (r *reproduction) open(name string) (*netWork, error) {
	net, ok, err := r.o.Find(name)
	if err != nil || !ok {
		return nil, err
	}
	m, err := net.Open()
	if err != nil {
		return nil, err
	}
	views := r.views(name)
	w := &netWork{wanted: map[int][]int{}, files: make([]*file, len(views))}
	if w.order, err = r.check(name, m, views); err != nil {
		return nil, err
	}
	limits, err := newLimits(m.Net, anySize(views), r.o.Memory)
	if err != nil {
		return nil, err
	}
	workers := (&run{o: Options{Workers: r.o.Workers}}).workers()
	w.crew = crew{ranks: r.o.Ranks, pass: pass{model: m, data: r.data, views: views, limits: limits, batch: r.o.Batch, workers: workers}}
	fc := net.FCWeights
	if fc == "" {
		fc = nn.F32
	}
	for i, v := range views {
		f, err := createFile(r.path(name, net.SHA256, v), Header{
			Format: fileFormat, ISA: kernel.Current().Name(), Shard: whole(), Classes: r.classes,
			Data: DataID{Name: r.data.Name, Fingerprint: r.fingerprint, Images: r.data.Len(), Classes: r.data.Classes},
			Nets: []NetID{{net.Weights, net.SHA256, fc, m.Preprocess, Setting{v.protocol, []int{v.scale}, v.flip}}},
		})
		if err != nil {
			return nil, err
		}
		w.files[i] = f
		r.files[netView{name, v}] = f
	}
	r.found[name] = true
	for i := range r.data.Len() {
		for v, f := range w.files {
			if f.has(0, i) != present {
				w.wanted[i] = append(w.wanted[i], v)
			}
		}
		if w.wanted[i] != nil {
			w.todo = append(w.todo, i)
		}
	}
	return w, nil
}

// run makes the result files of one network whole, if there is one.
func (r *reproduction) run(ctx context.Context, name string) error {
	w, err := r.open(name)
	if err != nil || w == nil {
		return err
	}
	done := r.data.Len() - len(w.todo)
	w.crew.done = func(image int, posteriors [][]float32, err error) error {
		s := r.data.Samples[image]
		for j, v := range w.wanted[image] {
			a := Answer{File: s.Name, Label: s.Label, Err: err}
			if err == nil {
				a.Posterior = reorder(posteriors[j], w.order)
			}
			if err := w.files[v].put(0, image, a); err != nil {
				return err
			}
		}
		done++
		if r.o.OnImage != nil {
			r.o.OnImage(name, done, r.data.Len())
		}
		return nil
	}
	if err := w.crew.run(ctx, w.todo, func(i int) []int { return w.wanted[i] }); err != nil {
		return err
	}
	for _, f := range w.files {
		if err := f.sync(); err != nil {
			return err
		}
	}
	return nil
}

// check reports a network that the plan can't be run with, and returns the order of its
// classes.
func (r *reproduction) check(name string, m *vgg.Model, views []view) ([]int, error) {
	side := m.Net.Options().Input
	for _, v := range views {
		if v.scale < side {
			return nil, fmt.Errorf("eval: %s: scale %d, want at least the network's input side %d: a plan of your own has other scales", name, v.scale, side)
		}
	}
	classes := classesFor(m, r.data)
	if r.classes == nil {
		r.classes = classes
		if _, err := matchClasses(r.data.Name, r.data.Classes, classes); err != nil {
			return nil, fmt.Errorf("%w (of %s)", err, name)
		}
		return nil, nil
	}
	if err := sameNames(classes, r.classes); err != nil {
		return nil, fmt.Errorf("eval: %s: %w as the networks before it have", name, err)
	}
	return permutation(classes, r.classes)
}

// table fuses what the files hold.
func (r *reproduction) table() (*Reproduction, error) {
	out := &Reproduction{
		Title: r.plan.Title, Data: r.data.Name, Images: r.data.Len(), ImageNet: IsImageNet(r.data.Classes),
		Labels: r.plan.Labels, Missing: []string{}, Unreadable: []dataset.BadImage{},
	}
	for _, name := range r.plan.Weights() {
		if !r.found[name] {
			out.Missing = append(out.Missing, name)
		}
	}
	bad := map[string]bool{}
	var first *Result
	for _, row := range r.plan.Rows {
		line := ReproducedRow{Labels: row.Labels, Others: len(row.Nets) == 0, Missing: []string{}}
		if out.ImageNet {
			line.Paper = &row.Paper
		}
		for _, n := range row.Nets {
			if !r.found[n.Weights] {
				line.Missing = append(line.Missing, n.Weights)
			}
		}
		if len(row.Nets) > 0 && len(line.Missing) == 0 {
			result, err := r.fuse(row)
			if err != nil {
				return nil, err
			}
			line.Result = &Figure{result.Images, result.Top1Error, result.Top5Error, result.Top1Range, result.Top5Range, nil}
			if first == nil {
				first = result
			} else {
				p := mcnemar(first.outcomes, result.outcomes)
				line.Result.P = &p
			}
			for _, b := range result.Bad {
				if !bad[b.Name] {
					bad[b.Name] = true
					out.Unreadable = append(out.Unreadable, b)
				}
			}
		}
		out.Rows = append(out.Rows, line)
	}
	return out, nil
}

// fuse is a row's result: the mean over scales, protocols and networks, in this order.
func (r *reproduction) fuse(row PlanRow) (*Result, error) {
	h := Header{Classes: r.classes, Shard: whole(), Data: DataID{Name: r.data.Name, Images: r.data.Len(), Classes: r.data.Classes}}
	var st fused
	for _, n := range row.Nets {
		s := r.plan.setting(n)
		h.Nets = append(h.Nets, NetID{Weights: n.Weights, Setting: s})
		var parts meanOf
		for _, p := range s.Protocol.parts() {
			var scales meanOf
			for _, v := range (Setting{p, s.Scales, s.Flip}).views() {
				f := r.files[netView{n.Weights, v}]
				if f == nil {
					return nil, errors.New("eval: a view of a plan was not run")
				}
				scales = append(scales, f.net(0))
			}
			parts = append(parts, scales)
		}
		st = append(st, parts)
	}
	return evaluate(h, st, whole().images(r.data.Len()), Options{})
}

// fused is a store of networks each of which is a mean.
type fused []source

func (f fused) net(n int) source { return f[n] }

// IsImageNet reports whether a set's classes are ILSVRC-2012's thousand, by their
// synsets or their names.
func IsImageNet(classes []string) bool {
	sorted := slices.Sorted(slices.Values(classes))
	return slices.Equal(sorted, slices.Sorted(slices.Values(vgg.ImageNetSynsets()))) ||
		slices.Equal(sorted, slices.Sorted(slices.Values(vgg.ImageNetClasses())))
}

// classesFor are the model's class names as the set's are: ImageNet's classes by their
// synsets where the set's folders are called so.
func classesFor(m *vgg.Model, data *dataset.Dataset) []string {
	if !slices.Equal(m.Classes, vgg.ImageNetClasses()) {
		return m.Classes
	}
	synsets := vgg.ImageNetSynsets()
	for _, c := range data.Classes {
		if !slices.Contains(synsets, c) {
			return m.Classes
		}
	}
	return synsets
}
