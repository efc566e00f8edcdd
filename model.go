package vgg

import (
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
	Classes    []string        // by index of fc8's outputs; of a localisation network, by index of the class
	Preprocess preprocess.Spec // carried by the weights
	Provenance map[string]string
	// Localisation is what makes the outputs boxes; nil where they are scores of classes.
	Localisation *Localisation
}

// Keys of the metadata in a file of weights. Each value is JSON.
const (
	metaOptions    = "vgg.options"
	metaClasses    = "vgg.classes"
	metaPreprocess = "vgg.preprocess"
	metaProvenance = "vgg.provenance"

	metaLocalisation = "vgg.localisation" // of localisation networks only
)

// checkModel reports class names or preprocessing that a network of options o has no
// use for.
func checkModel(o Options, classes []string, s preprocess.Spec, l *Localisation) error {
	if l != nil {
		if err := l.check(o.Classes, len(classes)); err != nil {
			return err
		}
	} else if len(classes) != o.Classes {
		return fmt.Errorf("%d class names, want %d", len(classes), o.Classes)
	}
	return s.Validate()
}

// Load reads all parameters from f, which must hold them under their names and shapes
// and nothing else.
func (n *Network) Load(f *weights.File) error {
	from, err := nativeSupplies(f, n.Params(), false)
	if err != nil {
		return err
	}
	return load(f, n.Params(), from)
}

// rowFloats is about how many values are converted at a time between the packed
// parameters and a file.
const rowFloats = 1 << 20

// rowsAtOnce is how many rows of p are converted at a time.
func rowsAtOnce(p *nn.Param) int { return max(1, rowFloats*p.Shape[0]/p.Len()) }

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
	if err := checkModel(m.Net.opts, m.Classes, m.Preprocess, m.Localisation); err != nil {
		return fmt.Errorf("vgg: %s: %w", path, err)
	}
	meta, err := m.metadata()
	if err != nil {
		return fmt.Errorf("vgg: %s: %w", path, err)
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
	if m.Localisation != nil {
		return nil, fmt.Errorf("vgg: %w", m.Localisation.errLocaliser(len(m.Classes)))
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
