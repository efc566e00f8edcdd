package interchange

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/weights"
)

// layerReader makes an outline of the layers that a file describes.
type layerReader struct {
	f *weights.File
	o *Outline
	// channelsLast: the activation is flattened in (H,W,C) order.
	channelsLast bool
	index        int         // of the layer that is read
	pixels       pixelReader // of the layers before the first convolution
	head         bool        // whether the head has begun: a flattening, a global pooling, a fully connected layer
	vector       bool        // whether the activation is a vector
	flat         bool        // whether the activation is a flattened map
	pad          float64     // padding by a layer of its own, for the convolution that follows
	ended        string      // name of the soft-max
}

// readLayers recognises the network in the chain of layers that a file describes. A layer of
// the head that can't be followed ends the outline, whose use is then without its head.
func readLayers(f *weights.File) (*Outline, error) {
	r := &layerReader{f: f, o: &Outline{Complete: true, keras: channelsLastFormat(f.Format()), Left: f.Notes()}, pixels: newPixelReader()}
	r.channelsLast = channelsLastFormat(f.Format())
	r.o.input = onnxSide(f.Metadata()["onnx.input"])
	_, guessed := f.Metadata()[weights.MetaLayerOrder]
	layers := f.Layers()
	for i, l := range layers {
		r.index = i
		if guessed && len(l.Tensors) == 0 && slices.Contains([]string{"conv", "fc", "batchnorm"}, l.Op) {
			continue // left out by --ignore or --prefix
		}
		err := r.add(l)
		if err == nil {
			continue
		}
		if err = fmt.Errorf("layer %s (%s): %w", l.Name, l.Op, err); l.Op == "no chain" {
			err = fmt.Errorf("%s: %s", l.Name, l.Problem)
		}
		if !r.keras() || slices.ContainsFunc(layers[i:], func(l weights.Layer) bool { return l.Op == "conv" }) || len(r.o.layers) == 0 {
			return nil, err
		}
		r.o.broken = err
		break
	}
	r.o.between()
	r.o.Steps = r.pixels.steps()
	if r.o.broken == nil {
		r.connectLast()
	}
	if err := r.rectified(); err != nil {
		return nil, cmp.Or(r.o.broken, err)
	}
	r.end()
	r.o.ended = r.o.ended || r.ended != "" || r.o.ending != architecture.Softmax
	r.unused()
	r.dropTail()
	return r.o, r.normalisations()
}

// between marks the batch normalisations that stand between layers of the features.
func (o *Outline) between() {
	last := len(o.layers) - 1
	for last >= 0 && o.layers[last].inHead() {
		last--
	}
	for i := range o.layers[:max(0, last)] {
		if o.layers[i].Kind == architecture.BatchNorm {
			o.layers[i].between = true
		}
	}
}

// dropTail leaves out what follows the last map of a model that has no fully connected
// layer: a global pooling, as of an extractor of features.
func (r *layerReader) dropTail() {
	i := slices.IndexFunc(r.o.layers, fileLayer.inHead)
	if r.o.broken != nil || i < 0 || r.o.Count(architecture.Connected) > 0 {
		return
	}
	tail := r.o.layers[i:]
	var tokens []string
	for _, l := range tail {
		tokens = append(tokens, l.Layer.String())
	}
	r.o.layers = r.o.layers[:i]
	r.o.Left = append(r.o.Left, strings.Join(tokens, " ")+": no fully connected layer follows, and the network ends with the last map")
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
	a := attributes(l.Attributes)
	switch {
	case r.ended != "" && !slices.Contains([]string{"identity", "linear", "dropout", "flatten", "reshape"}, l.Op):
		return fmt.Errorf("after the soft-max %s, want it last", r.ended)
	case l.Op == "no chain":
		return errors.New(l.Problem)
	case len(r.o.layers) == 0 && (slices.Contains(pixelOps, l.Op) || l.Problem != "" || l.Op == "batchnorm"):
		r.pixels.add(r, l)
		return nil
	case l.Problem != "":
		return errors.New(l.Problem)
	case a["channels_first"] != nil:
		return fmt.Errorf("channels first, want Keras's default, channels last")
	case r.pad != 0 && !slices.Contains([]string{"conv", "pad", "dropout", "identity", "linear"}, l.Op):
		return fmt.Errorf("padding of a layer before it, want that before a convolution alone")
	}
	switch l.Op {
	case "input":
		return r.input(a)
	case "rescaling", "normalization", "channels", "resizing", "centercrop":
		return fmt.Errorf("want it before the first convolution")
	case "conv":
		return r.conv(l, a)
	case "fc":
		return r.connected(l, a)
	case "batchnorm", "affine":
		return r.batchNorm(l, a)
	case "relu":
		return r.rectify()
	case "leakyrelu", "elu", "gelu", "silu", "tanh", "sigmoid":
		return r.activation(l.Op, a)
	case "l2":
		return r.euclidean(a)
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
	case "preprocess":
		return r.preprocess(l.Name, a)
	case "twoclasses":
		return r.twoClasses()
	case "softmax", "logsoftmax":
		if axis := a["axis"]; r.keras() && len(axis) > 0 && (len(axis) > 1 || axis[0] != -1 && axis[0] != 1) {
			return fmt.Errorf("over axis %v, want the last one, -1", axis)
		}
		r.ended = l.Name
		if l.Op == "logsoftmax" && r.o.ending == architecture.Softmax {
			r.o.ending = architecture.LogSoftmax
		}
		return nil
	case "flatten", "reshape":
		return r.flatten(a)
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
	first := len(layers)
	for first > 0 && layers[first-1].Kind == architecture.Convolution && layers[first-1].Side == 1 {
		first--
	}
	r.o.layers = slices.Clone(layers[:first])
	for _, l := range layers[first:] {
		r.o.layers = append(r.o.layers, l.connected()...)
	}
}

// connected returns a convolution of 1×1 filters as a fully connected layer, with its
// normalisation and its rectification as layers of their own.
func (l fileLayer) connected() []fileLayer {
	fc := l
	fc.Layer = architecture.Layer{Kind: architecture.Connected, Channels: l.Channels}
	fc.relu, fc.affine, fc.tensors = false, false, map[string]weights.Entry{}
	norm := fileLayer{Layer: architecture.Layer{Kind: architecture.BatchNorm}, name: l.name, affine: l.affine, tensors: map[string]weights.Entry{}}
	for role, e := range l.tensors {
		if role == "weight" || role == "bias" {
			fc.tensors[role] = e
		} else {
			norm.tensors[role] = e
		}
	}
	list := []fileLayer{fc}
	if l.BatchNorm {
		list = append(list, norm)
	}
	if l.relu {
		list = append(list, fileLayer{Layer: architecture.Layer{Kind: architecture.Activation, Function: architecture.ReLU}})
	}
	return list
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
	case !r.head && w != nil && !w.relu && l.Kind == architecture.Activation:
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
	if r.keras() && r.vector {
		return fmt.Errorf("a global pooling of a vector, want it of a map")
	}
	r.vector = true
	return r.inHead(architecture.Layer{Kind: k})
}

// end tells the ending: a soft-max, or a sigmoid at the end. A model of Keras's that ends with
// neither was trained with a loss function that takes its scores.
func (r *layerReader) end() {
	n := len(r.o.layers)
	switch {
	case r.ended != "":
	case n > 0 && r.o.layers[n-1].Function == architecture.Sigmoid:
		r.o.layers, r.o.ending = r.o.layers[:n-1], architecture.Sigmoids
	case r.keras():
		r.endByLoss()
	}
}

// endByLoss tells the ending by the loss function in the file's metadata, if that tells it.
func (r *layerReader) endByLoss() {
	loss, logits := strings.CutSuffix(r.f.Metadata()[weights.MetaLoss], " from_logits")
	categorical, binary := strings.Contains(loss, "categorical"), strings.Contains(loss, "binary")
	switch {
	case logits && (categorical || binary):
		r.o.ended = true
		r.o.infer("ending", fmt.Sprintf("no activation at the end, and the loss function %s takes scores", loss))
		if binary {
			r.o.ending = architecture.Sigmoids
		}
	case slices.Contains(regressions, loss):
		r.o.ended, r.o.ending = true, architecture.Scores
		r.o.infer("ending", fmt.Sprintf("no activation at the end, and the loss function %s", loss))
	}
}

// regressions are loss functions whose outputs are no classes' scores before a soft-max.
var regressions = []string{
	"mse", "mean_squared_error", "mae", "mean_absolute_error", "mape", "mean_absolute_percentage_error", "msle", "mean_squared_logarithmic_error",
	"huber", "log_cosh", "logcosh", "hinge", "squared_hinge", "categorical_hinge", "cosine_similarity",
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
	if r.keras() && h != w && h > 0 && w > 0 {
		r.o.oblong = fmt.Sprintf("%v×%v", h, w)
	}
	if h == w && h > 0 && h <= network.MaxInput {
		r.o.input = int(h)
	}
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
