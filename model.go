package vgg

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
	"github.com/verydeep/vgg/weights"
)

// Model is a network with what is needed to use it: the names of its classes and the
// preprocessing of its input. Any number of goroutines may use one at once.
type Model struct {
	Net        *Network
	Classes    []string        // by index of fc8's outputs
	Preprocess preprocess.Spec // carried by the weights
	Provenance map[string]string
}

// Keys of the metadata in a file of weights. Each value is JSON.
const (
	metaOptions    = "vgg.options"
	metaClasses    = "vgg.classes"
	metaPreprocess = "vgg.preprocess"
	metaProvenance = "vgg.provenance"
)

// Open reads a model from a safetensors file that [Model.Save] wrote. Errors name the
// file and the tensor that doesn't fit.
func Open(path string) (*Model, error) { return OpenStored(path, nn.F32) }

// OpenStored is [Open] with the weights of fc6, fc7 and fc8 in memory as fc says; see
// [NewStored].
func OpenStored(path string, fc nn.Storage) (*Model, error) {
	f, err := weights.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m := &Model{}
	var o Options
	for key, to := range map[string]any{metaOptions: &o, metaClasses: &m.Classes, metaPreprocess: &m.Preprocess, metaProvenance: &m.Provenance} {
		text, ok := f.Metadata()[key]
		if !ok {
			if key == metaProvenance {
				continue
			}
			return nil, fmt.Errorf("vgg: %s: no %s in the metadata: not a model written by this library", path, key)
		}
		if err := json.Unmarshal([]byte(text), to); err != nil {
			return nil, fmt.Errorf("vgg: %s: metadata %s: %w", path, key, err)
		}
	}
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("vgg: %s: %w", path, err)
	}
	if err := m.check(o); err != nil {
		return nil, fmt.Errorf("vgg: %s: %w", path, err)
	}
	// The file must hold what its options claim before memory is taken for it.
	_, layers, err := o.layers()
	if err != nil {
		return nil, err
	}
	if err := checkTensors(f, nn.Plan(3, layers...).Params()); err != nil {
		return nil, err
	}
	if m.Net, err = NewStored(o, fc); err != nil {
		return nil, err
	}
	if err := m.Net.Load(f); err != nil {
		return nil, err
	}
	return m, nil
}

// check reports class names or preprocessing that a network of options o has no use for.
func (m *Model) check(o Options) error {
	if len(m.Classes) != o.Classes {
		return fmt.Errorf("%d class names, want %d", len(m.Classes), o.Classes)
	}
	return m.Preprocess.Validate()
}

// checkTensors compares the file's tensors with the parameters and reports all that
// don't fit.
func checkTensors(f *weights.File, params []*nn.Param) error {
	var errs []error
	want := map[string]bool{}
	for _, p := range params {
		want[p.Name] = true
		e, err := f.Lookup(p.Name)
		if err != nil {
			errs = append(errs, err)
		} else if !slices.Equal(e.Shape, p.Shape) {
			errs = append(errs, &weights.ShapeError{File: f.Name(), Tensor: p.Name, Shape: e.Shape, Want: p.Shape})
		}
	}
	for _, e := range f.Tensors() {
		if !want[e.Name] {
			errs = append(errs, fmt.Errorf("vgg: %s: %s: the network has no such parameter", f.Name(), e.Name))
		}
	}
	const most = 8
	if len(errs) > most {
		errs = append(errs[:most], fmt.Errorf("vgg: %s: and %d more", f.Name(), len(errs)-most))
	}
	return errors.Join(errs...)
}

// rowFloats is about how many values are converted at a time between a file and the
// packed parameters.
const rowFloats = 1 << 20

// rowsAtOnce is how many rows of p are converted at a time.
func rowsAtOnce(p *nn.Param) int { return max(1, rowFloats*p.Shape[0]/p.Len()) }

// Load reads all parameters from f, which must hold them under their names and shapes
// and nothing else.
func (n *Network) Load(f *weights.File) error {
	if err := checkTensors(f, n.Params()); err != nil {
		return err
	}
	var buf []float32
	for _, p := range n.Params() {
		row, rows := p.Len()/p.Shape[0], rowsAtOnce(p)
		for k := 0; k < p.Shape[0]; k += rows {
			buf = slices.Grow(buf[:0], rows*row)[:min(rows, p.Shape[0]-k)*row]
			if err := f.ReadRange(p.Name, k*row, buf); err != nil {
				return err
			}
			if err := p.SetRows(k, buf); err != nil {
				return err
			}
		}
	}
	return nil
}

// Tensors lists the parameters as sources to write, under their names and in
// canonical order.
func (n *Network) Tensors() []weights.Source {
	var sources []weights.Source
	var buf []float32
	for _, p := range n.Params() {
		sources = append(sources, weights.Source{Name: p.Name, Shape: p.Shape, Data: func(yield func([]float32) bool) {
			row, rows := p.Len()/p.Shape[0], rowsAtOnce(p)
			for k := 0; k < p.Shape[0]; k += rows {
				buf = slices.Grow(buf[:0], rows*row)[:min(rows, p.Shape[0]-k)*row]
				if p.GetRows(k, buf) != nil || !yield(buf) {
					return
				}
			}
		}})
	}
	return sources
}

// Save writes the model to a safetensors file, which appears under its name only when
// it is complete; an earlier file stays until then. A model that [Open] would refuse is
// an error.
func (m *Model) Save(path string) error {
	if err := m.check(m.Net.opts); err != nil {
		return fmt.Errorf("vgg: %s: %w", path, err)
	}
	meta := map[string]string{}
	for key, v := range map[string]any{metaOptions: m.Net.opts, metaClasses: m.Classes, metaPreprocess: m.Preprocess, metaProvenance: m.Provenance} {
		text, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("vgg: %s: metadata %s: %w", path, key, err)
		}
		meta[key] = string(text)
	}
	return weights.WriteSafetensors(path, meta, m.Net.Tensors())
}

// errHeadless is what asking a headless network for classes gives.
var errHeadless = errors.New("vgg: the network has features only and no classifier: no classes to tell")

// Prediction is a class with its probability.
type Prediction struct {
	Class       string  `json:"class"`
	Index       int     `json:"index"`
	Probability float32 `json:"probability"`
}

// Classify returns the k most probable classes of an image, best first, by its central
// crop: the image is rescaled isotropically to smallest side Preprocess.Resize, and
// the soft-max is taken over the scores of the central square of Options.Input pixels.
func (m *Model) Classify(im *preprocess.Image, k int) ([]Prediction, error) {
	p, err := m.Posteriors(im, m.Preprocess.Resize)
	if err != nil {
		return nil, err
	}
	return m.Top(p, k), nil
}

// Top names the k best of the posteriors p, best first.
func (m *Model) Top(p []float32, k int) []Prediction {
	var top []Prediction
	for _, i := range metrics.TopK(p, min(k, len(p))) {
		top = append(top, Prediction{m.Classes[i], i, p[i]})
	}
	return top
}

// Posteriors returns the soft-max class posteriors of the central crop of an image
// rescaled isotropically to smallest side q.
func (m *Model) Posteriors(im *preprocess.Image, q int) ([]float32, error) {
	if m.Net.opts.Headless() {
		return nil, errHeadless
	}
	side := m.Net.opts.Input
	if q < side {
		return nil, fmt.Errorf("vgg: scale %d, want at least the network's input side %d", q, side)
	}
	w, h := preprocess.ShortSide(im.W, im.H, q)
	x0, y0 := preprocess.CentreCrop(w, h, side)
	crop, err := preprocess.ResizeRegion(im, w, h, m.Preprocess.Filter, x0, y0, x0+side, y0+side)
	if err != nil {
		return nil, err
	}
	x := tensor.New(1, 3, side, side)
	m.Preprocess.Tensor(x.Data, crop, [3]float32{})
	y, err := m.Net.Forward(x)
	if err != nil {
		return nil, err
	}
	p := make([]float32, len(y.Data))
	metrics.Softmax(p, y.Data)
	return p, nil
}

// ClassifyFile is [Model.Classify] on an image file, turned upright as its EXIF
// orientation says.
func (m *Model) ClassifyFile(path string, k int) ([]Prediction, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	im, err := preprocess.Decode(data, preprocess.DecodeOptions{AutoOrient: true})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m.Classify(im, k)
}
