package interchange

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/weights"
)

// Steps is what a model does to the pixels 0 … 255 of its input before the first
// convolution.
type Steps struct {
	// Source names the layers.
	Source string
	// Spec is the preprocessing in the terms of RGB. Its values count if Valued, and its
	// filter, crop, resize and fit if Sized.
	Spec          preprocess.Spec
	Valued, Sized bool
	// BGR tells that the first convolution takes BGR.
	BGR bool
	// Refused says which of the layers isn't followed; nil if all are. The other fields then
	// don't count.
	Refused error
}

// Values tells whether there are steps that give the values of the network's input.
func (s *Steps) Values() bool { return s != nil && s.Valued }

// pixelReader follows the layers before the first convolution: channel c of their result is
// (x·scale − mean[c])/std[c] for the channel x = order[c] of the pixels.
type pixelReader struct {
	names         []string
	scale         float64
	mean, std     [3]float64
	order         [3]int
	valued, sized bool
	fit           preprocess.Fit
	filter        preprocess.Filter
	resize, crop  int // pixels; 0 if no layer says it
	refused       error
	cropsFirst    string // a layer that cuts out the central square before it rescales
}

func newPixelReader() pixelReader {
	return pixelReader{scale: 1, std: [3]float64{1, 1, 1}, order: [3]int{0, 1, 2}}
}

// pixelOps are the operations on pixels.
var pixelOps = []string{"rescaling", "normalization", "channels", "resizing", "centercrop", "randomcrop"}

// add follows a layer. Its error is kept, since a caller may give the preprocessing in place
// of all these layers.
func (p *pixelReader) add(r *layerReader, l weights.Layer) {
	err := errors.New(l.Problem)
	if l.Problem == "" {
		err = p.follow(r, l)
	}
	if err != nil && p.refused == nil {
		p.refused = fmt.Errorf("layer %s (%s) before the first convolution: %w; say the preprocessing in place of the model's own layers (--preprocess)", l.Name, l.Op, err)
	}
	p.names = append(p.names, l.Name)
}

func (p *pixelReader) follow(r *layerReader, l weights.Layer) error {
	a := attributes(l.Attributes)
	switch l.Op {
	case "rescaling":
		return p.rescale(a["scale"], a["offset"])
	case "normalization":
		return p.normalise(r, l)
	case "batchnorm":
		return p.batchNorm(r, l)
	case "channels":
		return p.exchange(a["order"])
	case "resizing":
		return p.resizing(r, a)
	case "centercrop", "randomcrop":
		return p.centreCrop(r, l.Op, a)
	}
	return errors.New("want layers that scale, shift, exchange channels, resize or crop")
}

// three returns an attribute's value of each channel.
func three(v []float64, missing float64) (x [3]float64, err error) {
	for c := range x {
		switch len(v) {
		case 0:
			x[c] = missing
		case 1:
			x[c] = v[0]
		case 3:
			x[c] = v[c]
		default:
			return x, fmt.Errorf("%d numbers, want one or three", len(v))
		}
		if math.IsNaN(x[c]) || math.IsInf(x[c], 0) {
			return x, fmt.Errorf("%v, want finite numbers", v)
		}
	}
	return x, nil
}

// rescale follows y = x·scale + offset.
func (p *pixelReader) rescale(scale, offset []float64) error {
	p.valued = true
	by, err := three(scale, 1)
	if err != nil {
		return fmt.Errorf("scale: %w", err)
	}
	shift, err := three(offset, 0)
	if err != nil {
		return fmt.Errorf("offset: %w", err)
	}
	same := by[0] == by[1] && by[1] == by[2]
	plain := p.mean == [3]float64{} && p.std == [3]float64{1, 1, 1}
	for c := range 3 {
		if !(by[c] > 0) {
			return fmt.Errorf("scale %v, want numbers above 0", by)
		}
		if !same || !plain {
			p.std[c] /= by[c]
		}
	}
	if same && plain {
		p.scale *= by[0]
	}
	for c := range 3 {
		p.mean[c] -= shift[c] * p.std[c]
	}
	return nil
}

// values returns a small tensor of the layer.
func (r *layerReader) values(l weights.Layer, role string) ([]float64, error) {
	name, ok := l.Tensors[role]
	if !ok {
		return nil, nil
	}
	e, err := r.f.Lookup(name)
	if err != nil {
		return nil, err
	}
	n := 1
	for _, d := range e.Shape {
		if n *= d; n < 1 || n > 3 {
			return nil, fmt.Errorf("%s: shape %v, want one number or three", name, e.Shape)
		}
	}
	v := make([]float32, n)
	if err := r.f.ReadInto(name, v); err != nil {
		return nil, err
	}
	x := make([]float64, n)
	for i := range v {
		x[i] = float64(v[i])
	}
	return x, nil
}

// kerasLeastDeviation is the least standard deviation of Keras's Normalization.
const kerasLeastDeviation = 1e-7

// normalise follows Keras's Normalization, (x − mean)/√variance, whose numbers are in the
// model's config, or among its weights once it was adapted to data.
func (p *pixelReader) normalise(r *layerReader, l weights.Layer) error {
	a := attributes(l.Attributes)
	numbers := map[string][]float64{"mean": a["mean"], "variance": a["variance"]}
	for role := range numbers {
		if numbers[role] != nil {
			continue
		}
		v, err := r.values(l, role)
		if err != nil {
			return err
		}
		if v == nil {
			return fmt.Errorf("no %s in the model's config or among its weights", role)
		}
		numbers[role] = v
	}
	if axis := a["axis"]; len(axis) > 1 || len(axis) == 1 && axis[0] != -1 && axis[0] != 3 {
		return fmt.Errorf("axis %v, want that of the channels, -1", axis)
	}
	mean, err := three(numbers["mean"], 0)
	if err != nil {
		return fmt.Errorf("mean: %w", err)
	}
	variance, err := three(numbers["variance"], 1)
	if err != nil {
		return fmt.Errorf("variance: %w", err)
	}
	scale, offset := make([]float64, 3), make([]float64, 3)
	for c := range 3 {
		deviation := max(math.Sqrt(variance[c]), kerasLeastDeviation)
		scale[c], offset[c] = 1/deviation, -mean[c]/deviation
		if a["invert"] != nil {
			scale[c], offset[c] = deviation, mean[c]
		}
	}
	p.valued = true
	if a["invert"] == nil && p.std == [3]float64{1, 1, 1} { // the same numbers, with less rounding
		for c := range 3 {
			p.mean[c] += mean[c]
			p.std[c] = 1 / scale[c]
		}
		return nil
	}
	return p.rescale(scale, offset)
}

// batchNorm follows a batch normalisation of pixels.
func (p *pixelReader) batchNorm(r *layerReader, l weights.Layer) error {
	var of [4][3]float64
	for i, role := range []string{"scale", "shift", "mean", "variance"} {
		v, err := r.values(l, role)
		if err != nil {
			return err
		}
		if v == nil && i > 1 {
			return fmt.Errorf("no %s among the tensors", role)
		}
		if of[i], err = three(v, float64(1-i%2)); err != nil {
			return err
		}
	}
	eps, ok := attributes(l.Attributes).one("epsilon")
	if !ok {
		eps = network.DefaultBNEps
	}
	scale, offset := make([]float64, 3), make([]float64, 3)
	for c := range 3 {
		scale[c] = of[0][c] / math.Sqrt(of[3][c]+eps)
		offset[c] = of[1][c] - of[2][c]*scale[c]
	}
	return p.rescale(scale, offset)
}

// exchange follows an exchange of channels.
func (p *pixelReader) exchange(order []float64) error {
	if !slices.Equal(order, []float64{2, 1, 0}) && !slices.Equal(order, []float64{0, 1, 2}) {
		return fmt.Errorf("channels in the order %v, want an exchange of the first and the third", order)
	}
	q := *p
	for c := range 3 {
		from := int(order[c])
		p.mean[c], p.std[c], p.order[c] = q.mean[from], q.std[from], q.order[from]
	}
	return nil
}

// square returns the side of a square.
func square(size []float64) (int, error) {
	if len(size) != 2 || size[0] != size[1] || size[0] != math.Trunc(size[0]) || !(size[0] >= 1 && size[0] <= network.MaxInput) {
		return 0, fmt.Errorf("size %v, want a square of at most %d pixels a side", size, network.MaxInput)
	}
	return int(size[0]), nil
}

// resizing follows a rescaling of the image. Images of the side that the model already
// takes stay as they are.
func (p *pixelReader) resizing(r *layerReader, a attributes) error {
	side, err := square(a["size"])
	switch {
	case err != nil:
		return err
	case side == r.o.input:
		return nil
	case p.resize != 0 || p.crop != 0 || r.o.input != 0:
		return fmt.Errorf("to %d pixels, after another size of %d, want one rescaling", side, max(p.resize, p.crop, r.o.input))
	}
	p.sized, p.resize, p.fit = true, side, preprocess.Squash
	if a["crop_to_aspect"] != nil {
		p.fit, p.cropsFirst = preprocess.Keep, r.f.Layers()[r.index].Name
	}
	p.filter = preprocess.BilinearAliased
	switch cubic, smooth := a["bicubic"] != nil, a["antialias"] != nil; {
	case cubic && smooth:
		p.filter = preprocess.Bicubic
	case cubic:
		p.filter = preprocess.BicubicAliased
	case smooth:
		p.filter = preprocess.Bilinear
	}
	r.o.input = side
	return nil
}

// centreCrop follows a central crop. In inference RandomCrop is one of the image rescaled, so
// it changes nothing only where the image has the crop's size.
func (p *pixelReader) centreCrop(r *layerReader, op string, a attributes) error {
	side, err := square(a["size"])
	switch {
	case err != nil:
		return err
	case side == r.o.input:
		return nil
	case op == "randomcrop":
		return fmt.Errorf("to %d pixels, of images of another size, which it rescales in inference: want a Resizing and a CenterCrop", side)
	case r.o.input == 0 || side > r.o.input:
		return fmt.Errorf("to %d pixels, of images of unknown or smaller size, want a rescaling before it", side)
	}
	if p.resize == 0 { // the model's input
		p.resize = r.o.input
	}
	p.sized, p.crop, r.o.input = true, side, side
	return nil
}

// steps returns the steps, nil if there are none.
func (p *pixelReader) steps() *Steps {
	if len(p.names) == 0 {
		return nil
	}
	s := &Steps{Source: "the model's layers " + strings.Join(p.names, ", "), Valued: p.valued, Sized: p.sized, Refused: p.refused}
	if len(p.names) == 1 {
		s.Source = "the model's layer " + p.names[0]
	}
	s.BGR = p.order == [3]int{2, 1, 0}
	s.Spec = preprocess.Spec{Name: "model", Scale: float32(p.scale), Filter: p.filter, Fit: p.fit, Resize: p.resize, Crop: p.crop}
	for c, x := range p.order {
		s.Spec.Mean[x], s.Spec.Std[x] = float32(p.mean[c]), float32(p.std[c])
	}
	if p.crop == 0 {
		s.Spec.Crop = p.resize
	}
	if p.cropsFirst != "" && s.Refused == nil {
		s.Refused = fmt.Errorf("layer %s (resizing) before the first convolution: crop_to_aspect_ratio cuts out the central square and then rescales it, and images here are rescaled and then cropped, which for images that aren't square is up to a pixel apart: say that this will do (--preprocess '%s')", p.cropsFirst, s.asJSON())
	}
	return s
}

// asJSON returns the preprocessing as a caller would give it.
func (s *Steps) asJSON() string {
	spec := s.Spec
	if s.BGR { // whose name says so
		spec.Name = "caffe"
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return "{…}"
	}
	return string(text)
}
