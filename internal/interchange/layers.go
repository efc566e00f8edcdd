package interchange

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
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
	if r.keras() && r.vector {
		return fmt.Errorf("a global pooling of a vector, want it of a map: one pixel stays as it is, so save the model without this layer")
	}
	var last []fileLayer
	if w := r.last(); w != nil && w.Kind == architecture.Convolution && !w.relu {
		if k != architecture.GlobalAverage || w.Side != 1 || w.BatchNorm || len(r.o.layers) < 2 {
			return fmt.Errorf("it follows the convolution %s without a rectification, want one", w.name)
		}
		// The mean of what 1×1 filters give is what they give of the mean.
		last = w.connected()
		r.o.layers = r.o.layers[:len(r.o.layers)-1]
	}
	r.vector = true
	if err := r.inHead(architecture.Layer{Kind: k}); err != nil {
		return err
	}
	r.o.layers = append(r.o.layers, last...)
	return nil
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
