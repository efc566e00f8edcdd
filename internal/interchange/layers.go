package interchange

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/weights"
)

// layerReader makes an outline of the layers that a file describes.
type layerReader struct {
	f *weights.File
	o *Outline
	// channelsLast: the activation is flattened in (H,W,C) order.
	channelsLast bool
	index        int     // of the layer that is read
	head         bool    // whether the head has begun: a flattening, a global pooling, a fully connected layer
	flat         bool    // whether the activation is a flattened map
	pad          float64 // padding by a layer of its own, for the convolution that follows
	ended        string  // name of the soft-max
}

// readLayers recognises the network in the chain of layers that a file describes.
func readLayers(f *weights.File) (*Outline, error) {
	r := &layerReader{f: f, o: &Outline{Complete: true}}
	r.channelsLast = channelsLastFormat(f.Format())
	r.o.input = onnxSide(f.Metadata()["onnx.input"])
	_, guessed := f.Metadata()[weights.MetaLayerOrder]
	for i, l := range f.Layers() {
		r.index = i
		if guessed && len(l.Tensors) == 0 && slices.Contains([]string{"conv", "fc", "batchnorm"}, l.Op) {
			continue // left out by --ignore or --prefix
		}
		if err := r.add(l); err != nil {
			return nil, fmt.Errorf("layer %s (%s): %w", l.Name, l.Op, err)
		}
	}
	r.connectLast()
	if err := r.rectified(); err != nil {
		return nil, err
	}
	r.end()
	r.o.ended = r.ended != "" || r.o.ending != architecture.Softmax
	r.unused()
	r.o.leaveEnd()
	return r.o, r.normalisations()
}

// onnxSide returns the side of the input of an ONNX graph, "N 3 224 224" or "N 224 224 3";
// 0 where it isn't square or not told.
func onnxSide(shape string) int {
	axes := strings.Fields(shape)
	if len(axes) != 4 {
		return 0
	}
	h, w := axes[2], axes[3]
	if axes[1] != "3" && w == "3" {
		h, w = axes[1], axes[2]
	}
	side, err := strconv.Atoi(h)
	if err != nil || h != w || side < 1 || side > network.MaxInput {
		return 0
	}
	return side
}

// channelsLastFormat tells whether the weights of a format have axes (in…,out), channels
// last.
func channelsLastFormat(f weights.Format) bool {
	return f == weights.Keras || f == weights.TFJS
}

func (r *layerReader) add(l weights.Layer) error {
	if r.ended != "" && len(l.Tensors) > 0 {
		return fmt.Errorf("after the soft-max %s, want it last", r.ended)
	}
	a := attributes(l.Attributes)
	switch l.Op {
	case "input":
		return r.input(a)
	case "rescaling":
		return r.rescaling(a)
	case "conv":
		return r.conv(l, a)
	case "fc":
		return r.connected(l, a)
	case "batchnorm":
		return r.batchNorm(l, a)
	case "relu":
		if w := r.last(); w != nil && w.Kind == architecture.Convolution {
			w.relu = true
			return nil
		}
		if len(r.o.layers) == 0 {
			return fmt.Errorf("a rectification before the first convolution")
		}
		return r.inHead(architecture.Layer{Kind: architecture.Activation, Function: architecture.ReLU})
	case "leakyrelu", "elu", "gelu", "silu", "tanh", "sigmoid":
		return r.activation(l.Op, a)
	case "l2":
		return r.inHead(architecture.Layer{Kind: architecture.Euclidean})
	case "maxpool":
		return r.maxPool(a)
	case "globalavgpool":
		return r.globalPool(architecture.GlobalAverage)
	case "globalmaxpool":
		return r.globalPool(architecture.GlobalMax)
	case "avgpool":
		return r.averagePool(a)
	case "globalmaxavgpool":
		return r.adaptivePool(architecture.GlobalMaxAverage, a)
	case "adaptiveavgpool":
		return r.adaptivePool(architecture.GlobalAverage, a)
	case "adaptivemaxpool":
		return r.adaptivePool(architecture.GlobalMax, a)
	case "normalize":
		return r.normalize()
	case "lrn":
		return r.lrn(a)
	case "transpose":
		return r.transpose(a)
	case "pad":
		return r.padding(a)
	case "dropout":
		if x, ok := a.one("ratio"); ok && x > 0 && x < 1 && r.head {
			return r.inHead(architecture.Layer{Kind: architecture.Dropout, Value: float32(x)})
		}
		return nil
	case "softmax", "logsoftmax":
		r.ended = l.Name
		if l.Op == "logsoftmax" {
			r.o.ending = architecture.LogSoftmax
		}
		return nil
	case "flatten", "reshape":
		if !r.head {
			r.head, r.flat = true, true
			return r.inHead(architecture.Layer{Kind: architecture.Flatten})
		}
		return nil
	case "linear", "identity":
		return nil
	}
	return fmt.Errorf("no layer of a VGG network: want convolutions, rectifications, max-poolings, normalisations and fully connected layers, one after another")
}

// attributes are a layer's numbers.
type attributes map[string][]float64

func (a attributes) one(name string) (float64, bool) {
	if v := a[name]; len(v) == 1 {
		return v[0], true
	}
	return 0, false
}

// all tells whether every number of an attribute, if it is there, is x.
func (a attributes) all(name string, x float64) bool {
	for _, v := range a[name] {
		if v != x {
			return false
		}
	}
	return true
}

// last returns the layer that a normalisation or a rectification belongs to: the last
// layer, if it has tensors.
func (r *layerReader) last() *fileLayer {
	if n := len(r.o.layers); n > 0 && r.o.layers[n-1].hasWeight() {
		return &r.o.layers[n-1]
	}
	return nil
}

// connectLast makes fully connected layers of 1×1 convolutions at the end, if the last of
// them gives scores: it isn't rectified.
func (r *layerReader) connectLast() {
	layers := r.o.layers
	for len(layers) > 0 && layers[len(layers)-1].Kind == architecture.Flatten {
		layers = layers[:len(layers)-1]
	}
	if n := len(layers); n == 0 || layers[n-1].Kind != architecture.Convolution || layers[n-1].relu {
		return
	}
	for i := len(layers) - 1; i >= 0 && layers[i].Kind == architecture.Convolution && layers[i].Side == 1; i-- {
		layers[i].Kind, layers[i].Side = architecture.Connected, 0
	}
	r.o.layers = layers
}

// rectified checks that every convolution is rectified, and the last fully connected layer
// is not.
func (r *layerReader) rectified() error {
	n := len(r.o.layers)
	for i, l := range r.o.layers {
		switch {
		case l.Kind == architecture.Convolution && !l.relu:
			return fmt.Errorf("layer %s: no rectification after it", l.name)
		case l.Kind == architecture.Connected && i == n-2 && r.o.layers[n-1].Function == architecture.ReLU:
			return fmt.Errorf("layer %s: the last fully connected layer is rectified, want scores", l.name)
		}
	}
	return nil
}

// inHead appends a layer of the head, which has no tensors.
func (r *layerReader) inHead(l architecture.Layer) error {
	switch w := r.last(); {
	case len(r.o.layers) == 0:
		return fmt.Errorf("want it after the convolutions")
	case !r.head && w != nil && l.Kind == architecture.Activation:
		return fmt.Errorf("%s after the convolution %s, want a rectification", l.Function, w.name)
	}
	r.head = true
	r.o.layers = append(r.o.layers, fileLayer{Layer: l})
	return nil
}

// activation appends an activation function.
func (r *layerReader) activation(op string, a attributes) error {
	l := architecture.Layer{Kind: architecture.Activation, Function: map[string]architecture.Function{
		"leakyrelu": architecture.Leaky, "elu": architecture.ELU, "gelu": architecture.GELU,
		"silu": architecture.SiLU, "tanh": architecture.Tanh, "sigmoid": architecture.Sigmoid,
	}[op]}
	alpha, ok := a.one("alpha")
	switch {
	case op == "leakyrelu" && !(ok && alpha >= 0 && alpha <= 1):
		return fmt.Errorf("slope %v, want 0 to 1", a["alpha"])
	case op == "leakyrelu":
		l.Value = float32(alpha)
	case op == "elu" && ok && alpha != 1:
		return fmt.Errorf("alpha %v, want 1", alpha)
	case op == "gelu" && !a.all("approximate", 0):
		return fmt.Errorf("an approximation of GELU, want the function itself")
	}
	return r.inHead(l)
}

// globalPool appends a global pooling.
func (r *layerReader) globalPool(k architecture.Kind) error {
	if slices.ContainsFunc(r.o.layers, fileLayer.isConnected) { // of the one pixel that is left, as timm's
		return nil
	}
	if w := r.last(); w != nil && w.Kind == architecture.Convolution && !w.relu {
		return fmt.Errorf("it follows the convolution %s without a rectification, want one", w.name)
	}
	return r.inHead(architecture.Layer{Kind: k})
}

// end takes a sigmoid at the end for the ending.
func (r *layerReader) end() {
	if n := len(r.o.layers); r.ended == "" && n > 0 && r.o.layers[n-1].Function == architecture.Sigmoid {
		r.o.layers, r.o.ending = r.o.layers[:n-1], architecture.Sigmoids
	}
}

func (r *layerReader) input(a attributes) error {
	s := a["shape"]
	if len(s) != 3 {
		return nil
	}
	h, w := s[0], s[1]
	if !r.channelsLast {
		h, w = s[1], s[2]
	}
	if h == w && h > 0 && h <= network.MaxInput {
		r.o.input = int(h)
	}
	return nil
}

// rescaling adds y = x·scale + offset of the pixels x.
func (r *layerReader) rescaling(a attributes) error {
	if len(r.o.layers) > 0 || r.o.Rescale != nil {
		return fmt.Errorf("want it once, before the first convolution")
	}
	scale, ok := a.one("scale")
	if !ok || !(scale > 0) {
		return fmt.Errorf("scale %v, want one number above 0", a["scale"])
	}
	s := preprocess.Spec{Name: "rescaling", Scale: float32(scale), Std: [3]float32{1, 1, 1}, Filter: preprocess.Bilinear}
	for c := range 3 {
		switch offset := a["offset"]; len(offset) {
		case 0:
		case 1:
			s.Mean[c] = -float32(offset[0])
		case 3:
			s.Mean[c] = -float32(offset[c])
		default:
			return fmt.Errorf("offset %v, want one number or three", offset)
		}
	}
	r.o.Rescale = &s
	return nil
}

// entries returns the layer's tensors by role.
func (r *layerReader) entries(l weights.Layer) (map[string]weights.Entry, error) {
	m := map[string]weights.Entry{}
	for role, name := range l.Tensors {
		e, err := r.f.Lookup(name)
		if err != nil {
			return nil, err
		}
		m[role] = e
	}
	return m, nil
}

func (r *layerReader) weight(l weights.Layer, head, columns, channelsLast bool) (*fileLayer, error) {
	tensors, err := r.entries(l)
	if err != nil {
		return nil, err
	}
	w, ok := tensors["weight"]
	if !ok {
		return nil, fmt.Errorf("no weight among the tensors")
	}
	k, err := newFileLayer(l.Name, w, head, columns, channelsLast)
	if err != nil {
		return nil, err
	}
	k.tensors = tensors
	r.o.layers = append(r.o.layers, k)
	return &r.o.layers[len(r.o.layers)-1], nil
}

func (r *layerReader) conv(l weights.Layer, a attributes) error {
	if a["channels_first"] != nil {
		return fmt.Errorf("channels first, want Keras's default, channels last")
	}
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
	case !known || 2*pad == float64(side-1) && !(r.head && side == 1):
	case pad == 0 && (side > 1 || r.head) && len(r.o.layers) > 0:
		r.head = true // a fully connected layer as a convolution
	default:
		return fmt.Errorf("padding %v of %d×%d filters, want %d", pad, side, side, (side-1)/2)
	}
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
	first := !r.head
	r.head = true
	first = first || r.flat
	r.flat = false
	_, err := r.weight(l, true, columns, r.channelsLast && first)
	return err
}

func (r *layerReader) batchNorm(l weights.Layer, a attributes) error {
	w := r.last()
	tensors, err := r.entries(l)
	if err != nil {
		return err
	}
	switch {
	case r.head && r.flat && r.channelsLast:
		return fmt.Errorf("batch normalisation of a map flattened in (H,W,C) order, want it before the flattening or after a fully connected layer")
	case r.head:
		r.o.layers = append(r.o.layers, fileLayer{Layer: architecture.Layer{Kind: architecture.BatchNorm}, name: l.Name, tensors: tensors})
	case w == nil || w.BatchNorm || w.relu:
		return fmt.Errorf("want batch normalisation between a convolution and its rectification")
	default:
		for role, e := range tensors {
			w.tensors[role] = e
		}
		w.BatchNorm = true
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
	if r.head || len(r.o.layers) == 0 {
		return fmt.Errorf("want it between convolutions")
	}
	strides := a["strides"]
	if !(a.all("kernel_shape", 2) && a.all("strides", 2) && a.all("pads", 0) && a.all("dilations", 1)) || len(strides) == 0 && a["kernel_shape"] != nil {
		return fmt.Errorf("windows %v, strides %v, padding %v, want 2×2 with stride 2", a["kernel_shape"], strides, a["pads"])
	}
	r.o.layers = append(r.o.layers, fileLayer{Layer: architecture.Layer{Kind: architecture.Pooling}})
	return nil
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
