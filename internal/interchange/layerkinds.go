package interchange

import (
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/weights"
)

func (r *layerReader) conv(l weights.Layer, a attributes) error {
	if !a.all("strides", 1) || !a.all("dilations", 1) || !a.all("group", 1) {
		return fmt.Errorf("strides %v, dilations %v, groups %v, want 1", a["strides"], a["dilations"], a["group"])
	}
	columns := channelsLastFormat(r.f.Format())
	e, err := r.f.Lookup(l.Tensors["weight"])
	if err != nil {
		return err
	}
	shape := weightShape(e.Shape, columns)
	if len(shape) != 4 {
		return fmt.Errorf("%s: shape %v, want 4 axes", e.Name, e.Shape)
	}
	side := shape[2]
	if columns {
		side = shape[0]
	}
	pad, known := r.padOf(a, side)
	r.pad = 0
	switch {
	case !known || 2*pad == float64(side-1) && !r.head:
	case pad == 0 && (side > 1 || r.head) && len(r.o.layers) > 0:
		r.head = true // a fully connected layer as a convolution
	default:
		return fmt.Errorf("padding %v of %d×%d filters, want %d", pad, side, side, (side-1)/2)
	}
	r.vector = r.vector || r.head && !r.keras()
	_, err = r.weight(l, r.head, columns, columns)
	return err
}

// padOf returns the padding of a convolution, if the file tells it.
func (r *layerReader) padOf(a attributes, side int) (pad float64, known bool) {
	if same, ok := a.one("padding"); ok {
		if same == 1 {
			return float64(side-1) / 2, true
		}
		return r.pad, true
	}
	p := a["pads"]
	if len(p) == 0 {
		if r.f.Format() == weights.CaffeModel {
			// The file has no parameters: the side tells fc6, as a convolution, from the others.
			return 0, side > 5
		}
		return r.pad, true
	}
	for _, v := range p {
		if v != p[0] {
			return math.NaN(), true
		}
	}
	return p[0] + r.pad, true
}

func (r *layerReader) connected(l weights.Layer, a attributes) error {
	columns := channelsLastFormat(r.f.Format())
	if t, ok := a.one("transB"); ok {
		columns = t == 0
	}
	if r.keras() && !r.vector {
		return fmt.Errorf("it is applied to each position of a map, want a flattening or a global pooling before it")
	}
	first := !r.head
	r.head, r.vector = true, true
	first = first || r.flat
	r.flat = false
	_, err := r.weight(l, true, columns, r.channelsLast && first)
	return err
}

// keras tells whether the layers are those of a model of Keras's.
func (r *layerReader) keras() bool { return channelsLastFormat(r.f.Format()) }

// rectify adds a rectification. Maximum pooling before it makes no difference: the two can
// change places.
func (r *layerReader) rectify() error {
	n := len(r.o.layers)
	if n == 0 {
		return fmt.Errorf("a rectification before the first convolution")
	}
	w := &r.o.layers[n-1]
	if w.Kind == architecture.Pooling && n > 1 {
		w = &r.o.layers[n-2]
	}
	if w.Kind == architecture.Convolution {
		w.relu = true
		return nil
	}
	return r.inHead(architecture.Layer{Kind: architecture.Activation, Function: architecture.ReLU})
}

// euclidean adds the division by the Euclidean norm. In Keras it is over given axes, which
// must be all.
func (r *layerReader) euclidean(a attributes) error {
	axis := slices.Sorted(slices.Values(a["axis"]))
	all := len(axis) == 0 || len(axis) == 1 && (axis[0] == -1 || axis[0] == 1)
	if !r.vector {
		all = slices.Equal(axis, []float64{1, 2, 3})
	}
	if r.keras() && !all {
		return fmt.Errorf("over the axes %v, want all of the activation: -1 of a vector, 1, 2 and 3 of a map", axis)
	}
	return r.inHead(architecture.Layer{Kind: architecture.Euclidean})
}

// flatten makes a vector of the map. A vector stays one.
func (r *layerReader) flatten(a attributes) error {
	if to := a["to"]; r.keras() && len(to) > 1 && !(r.vector && !r.flat && len(to) == 3 && to[0] == 1 && to[1] == 1) {
		return fmt.Errorf("to the shape %v, want a vector", to)
	}
	if r.vector {
		return nil
	}
	if r.o.oblong != "" {
		return fmt.Errorf("images of %s pixels, want square ones", r.o.oblong)
	}
	r.head, r.vector, r.flat = true, true, true
	return r.inHead(architecture.Layer{Kind: architecture.Flatten})
}

func (r *layerReader) batchNorm(l weights.Layer, a attributes) error {
	w := r.last()
	tensors, err := r.entries(l)
	if err != nil {
		return err
	}
	last := 3.0
	if r.vector {
		last = 1
	}
	if axis := a["axis"]; r.keras() && len(axis) > 0 && (len(axis) > 1 || axis[0] != -1 && axis[0] != last) {
		return fmt.Errorf("over axis %v, want that of the channels, -1", axis)
	}
	if !r.head && w != nil && w.Kind == architecture.Convolution && !w.BatchNorm && !w.relu {
		for role, e := range tensors {
			w.tensors[role] = e
		}
		w.BatchNorm, w.affine = true, l.Op == "affine"
	} else {
		if !r.head && w != nil && !w.relu {
			return fmt.Errorf("a second batch normalisation of the convolution %s, want one", w.name)
		}
		r.head = r.head || r.vector
		r.o.layers = append(r.o.layers, fileLayer{Layer: architecture.Layer{Kind: architecture.BatchNorm}, name: l.Name, tensors: tensors, affine: l.Op == "affine"})
	}
	if l.Op == "affine" {
		return nil
	}
	eps, ok := a.one("epsilon")
	if !ok {
		eps = network.DefaultBNEps
	}
	if r.o.bnEps != 0 && r.o.bnEps != float32(eps) {
		return fmt.Errorf("epsilon %v, want that of the other normalisations, %v", eps, r.o.bnEps)
	}
	r.o.bnEps = float32(eps)
	return nil
}

func (r *layerReader) maxPool(a attributes) error {
	if r.coversMap(a) && !a.all("kernel_shape", 2) {
		return r.globalPool(architecture.GlobalMax)
	}
	if r.head || len(r.o.layers) == 0 {
		return fmt.Errorf("want it between convolutions")
	}
	strides := a["strides"]
	if !(a.all("kernel_shape", 2) && a.all("strides", 2) && a.all("pads", 0) && a.all("dilations", 1)) || len(strides) == 0 && a["kernel_shape"] != nil {
		return fmt.Errorf("windows %v, strides %v, padding %v, want 2×2 with stride 2", a["kernel_shape"], strides, a["pads"])
	}
	r.o.layers = append(r.o.layers, fileLayer{Layer: architecture.Layer{Kind: architecture.Pooling}})
	poolings := r.o.Count(architecture.Pooling)
	if same, _ := a.one("padding"); same == 1 && r.o.input%(1<<poolings) != 0 || same == 1 && r.o.input == 0 {
		return fmt.Errorf("padding \"same\" of a map of an odd or unknown side, want \"valid\", or an input whose side is a multiple of %d", 1<<poolings)
	}
	return nil
}

// coversMap tells whether a pooling of Keras's is over the whole map, which is one window.
func (r *layerReader) coversMap(a attributes) bool {
	side := r.o.input >> r.o.Count(architecture.Pooling)
	k := a["kernel_shape"]
	return r.keras() && !r.vector && r.o.input > 0 && side > 0 && len(k) == 2 && a.all("kernel_shape", float64(side))
}

// lrn adds local response normalisation in ONNX's form: y = x/(bias + α/size·Σx²)^β.
func (r *layerReader) lrn(a attributes) error {
	v := architecture.LRN{K: 1, Alpha: 1e-4, Beta: 0.75}
	size, ok := a.one("size")
	if !ok || size != math.Trunc(size) || size < 1 || size > architecture.MaxChannels || int(size)%2 == 0 {
		return fmt.Errorf("size %v, want an odd number", a["size"])
	}
	v.Size = int(size)
	for name, to := range map[string]*float32{"bias": &v.K, "alpha": &v.Alpha, "beta": &v.Beta} {
		if x, ok := a.one(name); ok {
			*to = float32(x)
		}
	}
	r.o.layers = append(r.o.layers, fileLayer{Layer: architecture.Layer{Kind: architecture.Normalisation, LRN: v}})
	return nil
}

// normalisations chooses the plainest form of local response normalisation: the paper's
// values in Krizhevsky's form or in Caffe's, else the file's own values.
func (r *layerReader) normalisations() error {
	paper := nn.PaperLRN()
	own := func(alpha float32) architecture.LRN {
		return architecture.LRN{Size: paper.Size, K: paper.K, Alpha: alpha, Beta: paper.Beta}
	}
	krizhevsky, caffe := own(paper.Alpha*float32(paper.Size)), own(paper.Alpha)
	all := func(v architecture.LRN) bool {
		return !slices.ContainsFunc(r.o.layers, func(l fileLayer) bool { return l.Kind == architecture.Normalisation && !l.LRN.Near(v) })
	}
	if r.o.Count(architecture.Normalisation) == 0 {
		return nil
	}
	plain := false
	r.o.lrn = nn.Caffe
	switch {
	case all(krizhevsky):
		r.o.lrn, plain = nn.Krizhevsky, true
	case all(caffe):
		plain = true
	}
	for i := range r.o.layers {
		if plain {
			r.o.layers[i].LRN = architecture.LRN{}
		}
	}
	return nil
}

// transpose follows the order of the activation's axes.
func (r *layerReader) transpose(a attributes) error {
	switch perm := a["perm"]; {
	case slices.Equal(perm, []float64{0, 3, 1, 2}): // to (N,C,H,W)
		r.channelsLast = false
	case slices.Equal(perm, []float64{0, 2, 3, 1}): // to (N,H,W,C)
		r.channelsLast = true
	default:
		return fmt.Errorf("axes %v, want an exchange of (N,C,H,W) and (N,H,W,C)", perm)
	}
	return nil
}

func (r *layerReader) padding(a attributes) error {
	p := a["pads"]
	if len(p) == 8 { // ONNX names all axes: N, C, H, W, first before, then after
		if p[0] != 0 || p[1] != 0 || p[4] != 0 || p[5] != 0 {
			return fmt.Errorf("padding %v, want zeros round the planes alone", p)
		}
		p = []float64{p[2], p[3], p[6], p[7]}
	}
	if len(p) != 4 || p[0] != p[1] || p[1] != p[2] || p[2] != p[3] {
		return fmt.Errorf("padding %v, want the same on all sides", a["pads"])
	}
	r.pad += p[0]
	return nil
}

// unused collects the file's tensors that belong to no layer.
func (r *layerReader) unused() {
	used := map[string]bool{}
	for _, l := range r.f.Layers() {
		if l.Op == "conv" || l.Op == "fc" {
			break
		}
		for _, name := range l.Tensors { // of the layers before the first convolution
			used[name] = true
		}
	}
	for _, l := range r.o.layers {
		for _, e := range l.tensors {
			used[e.Name] = true
		}
	}
	for _, e := range r.f.Tensors() {
		if !used[e.Name] {
			r.o.unused = append(r.o.unused, e.Name)
		}
	}
}
