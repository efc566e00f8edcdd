package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// Describer computes descriptors of images that are decoded already, one at a time. The
// numbers are, to the bit, those that [Extract] writes for the same pixels. Several goroutines
// may use one at once.
type Describer struct {
	header Header
	o      Options
	models []*vgg.Model // up to the layer, in the order of header.Nets
}

// NewDescriber opens the networks. Of the options those count that change the descriptors.
func NewDescriber(nets []Net, o Options) (*Describer, error) {
	if len(o.Regions) > 0 && !slices.Equal(o.Regions, []Region{WholeImage}) {
		return nil, errors.New("transfer: descriptors of boxes, want those of whole images")
	}
	// The header's data are of some images or other.
	d, err := dataset.FromPictures("pictures", []string{"any"}, []dataset.Picture{{Image: preprocess.NewImage(1, 1)}})
	if err != nil {
		return nil, err
	}
	var opened []*vgg.Model
	nets = slices.Clone(nets)
	for i := range nets {
		open := nets[i].Open
		if open == nil {
			continue // an error of newExtraction
		}
		nets[i].Open = func() (*vgg.Model, error) {
			m, err := open()
			opened = append(opened, m)
			return m, err
		}
	}
	p, err := newExtraction(nets, &Images{Dataset: d}, o)
	if err != nil {
		return nil, err
	}
	out := &Describer{header: p.header, o: p.o}
	for i, n := range p.nets {
		m, err := until(opened[i], n, p.o)
		if err != nil {
			return nil, err
		}
		out.models = append(out.models, m)
	}
	return out, nil
}

// DescriberOf opens the networks of a file with the header h, to describe images in its way.
// open returns a network that the header names.
func DescriberOf(h Header, open func(NetID) (*vgg.Model, error)) (*Describer, error) {
	nets, o, err := h.way(open)
	if err != nil {
		return nil, err
	}
	d, err := NewDescriber(nets, o)
	if err != nil {
		return nil, err
	}
	if diff := d.header.recipe(h); diff != "" {
		return nil, fmt.Errorf("transfer: %s: the descriptors can't be made again: %s", h.Data.Name, diff)
	}
	return d, nil
}

// way returns the networks and the options by which the descriptors of h were made.
func (h Header) way(open func(NetID) (*vgg.Model, error)) ([]Net, Options, error) {
	switch {
	case len(h.Nets) == 0:
		return nil, Options{}, errors.New("transfer: a header without networks, want that of a file of descriptors")
	case open == nil:
		return nil, Options{}, errors.New("transfer: no function that opens networks")
	case !slices.Equal(h.Regions, []Region{WholeImage}):
		return nil, Options{}, errors.New("transfer: descriptors of boxes, want those of whole images")
	}
	var nets []Net
	for _, n := range h.Nets {
		nets = append(nets, Net{Weights: n.Weights, SHA256: n.SHA256, FCWeights: n.FCWeights, Layer: n.Layer, Scales: n.Scales,
			Open: func() (*vgg.Model, error) { return open(n) }})
	}
	return nets, Options{Flip: h.Flip, Average: h.Average, Raw: h.Raw, Max: h.Max, Crop: h.Crop, Unrectified: !h.Nets[0].Rectified}, nil
}

// Dim is the number of numbers of a descriptor.
func (d *Describer) Dim() int { return d.header.Dim }

// Orients lists the ways up that the networks want images, each once.
func (d *Describer) Orients() []preprocess.Orient {
	var ways []preprocess.Orient
	for _, n := range d.header.Nets {
		if !slices.Contains(ways, n.Preprocess.Orient) {
			ways = append(ways, n.Preprocess.Orient)
		}
	}
	return ways
}

// PassBytes is the memory of the largest pass over an image of w×h pixels, beside the
// parameters.
func (d *Describer) PassBytes(w, h int) (int64, error) {
	var most int64
	for i, n := range d.header.Nets {
		for _, q := range n.Scales {
			sw, sh := n.Preprocess.Fit.Size(w, h, q)
			if d.o.Crop {
				sw, sh = d.models[i].Net.Options().Input, d.models[i].Net.Options().Input
			}
			floats, err := d.models[i].Net.Chain().InferenceFloats(d.views(), sh, sw)
			if err != nil {
				return 0, fmt.Errorf("transfer: an image of %d×%d pixels at scale %d: %w", w, h, q, err)
			}
			most = max(most, 4*int64(floats))
		}
	}
	return most, nil
}

// views is the number of inputs that an image gives at a scale.
func (d *Describer) views() int {
	if d.o.Flip {
		return 2
	}
	return 1
}

// Describe returns the descriptor of an image, Dim numbers. images has it decoded each way up
// that Orients lists. Activations that are NaN or infinite are [vgg.ErrNotFinite].
func (d *Describer) Describe(ctx context.Context, images map[preprocess.Orient]*preprocess.Image) ([]float32, error) {
	out := make([]float32, 0, d.header.Dim)
	for i, n := range d.header.Nets {
		im := images[n.Preprocess.Orient]
		if im == nil {
			return nil, fmt.Errorf("transfer: no image that is %v", n.Preprocess.Orient)
		}
		var scales [][]float32
		for _, q := range n.Scales {
			x, err := d.activation(ctx, d.models[i], im, q)
			if err != nil {
				return nil, err
			}
			scales = append(scales, x)
		}
		out = append(out, d.o.combine(scales, len(d.header.Nets))...)
	}
	return out, nil
}

// shown returns what a network is shown of an image at scale q.
func (d *Describer) shown(m *vgg.Model, im *preprocess.Image, q int) (*preprocess.Image, error) {
	if d.o.Crop {
		return m.Preprocess.CentreWindow(im.W, im.H, q, m.Net.Options().Input).Cut(im, m.Preprocess.Filter)
	}
	w, h := m.Preprocess.Fit.Size(im.W, im.H, q)
	return preprocess.Resize(im, w, h, m.Preprocess.Filter)
}

// activation returns the activation of a network's last layer for an image at scale q, reduced
// over space and averaged with that of the mirror image.
func (d *Describer) activation(ctx context.Context, m *vgg.Model, im *preprocess.Image, q int) ([]float32, error) {
	im, err := d.shown(m, im, q)
	if err != nil {
		return nil, err
	}
	n, w, h := d.views(), im.W, im.H
	x := tensor.New(n, 3, h, w)
	m.Preprocess.Tensor(x.Index(0).Data, im, [3]float32{})
	if n > 1 {
		m.Preprocess.Tensor(x.Index(1).Data, preprocess.FlipH(im), [3]float32{})
	}
	shape, err := m.Net.OutputShape(n, h, w)
	if err != nil {
		return nil, err
	}
	y := tensor.New(shape...)
	if err := m.Net.ForwardContext(ctx, y, x); err != nil {
		return nil, err
	}
	if !tensor.Finite(y.Data) {
		return nil, vgg.ErrNotFinite
	}
	sum, one := make([]float64, shape[1]), make([]float32, shape[1])
	for i := range n {
		eval.OverSpace(one, y.Index(i).Data, d.o.Max)
		for k, v := range one {
			sum[k] += float64(v)
		}
	}
	for k, v := range sum {
		one[k] = float32(v / float64(n))
	}
	return one, nil
}
