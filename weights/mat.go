package weights

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/verydeep/vgg/internal/matfile"
)

// A file of MATLAB has variables. In MatConvNet's releases
// (https://www.vlfeat.org/matconvnet/pretrained) these are a network's fields, or the one
// variable net that has them: the cells layers, and in the first releases classes and
// normalization, which are fields of meta in later ones. Tensors are named after the layer
// and their role, as Caffe's are: conv1_1/weight of shape (K,C,R,R), conv1_1/bias of (K).
//
// A file without such layers is read as the arrays of numbers among its variables, under
// their names and with their axes.

// isMAT reports whether a file is MATLAB's, of level 5 or of version 7.3.
func isMAT(head []byte, r io.ReaderAt, size int64) bool {
	return bytes.HasPrefix(head, []byte("MATLAB 5.0 MAT-file")) || matfile.Is(head[:min(len(head), matfile.HeaderBytes)]) || isMAT73(head)
}

func readMAT(r io.ReaderAt, size int64, _ *folder) (*header, error) {
	head := make([]byte, min(size, matfile.HeaderBytes))
	if err := readFull(r, head, 0); err != nil {
		return nil, err
	}
	m := &matReader{r: r, size: size, h: &header{meta: map[string]string{}}, names: map[string]bool{}}
	var variables []*matfile.Array
	var err error
	if isMAT73(head) {
		variables, err = readMAT73(r, size)
	} else {
		variables, err = matfile.Open(r, size)
	}
	if err != nil {
		return nil, matError(err)
	}
	return m.h, m.read(variables)
}

// matError turns an error of package matfile into a *FormatError.
func matError(err error) error {
	if e, ok := errors.AsType[*matfile.FormatError](err); ok {
		return &FormatError{Reason: e.Reason}
	}
	return hdf5Error(err)
}

// matReader makes a header of a file's variables.
type matReader struct {
	r       io.ReaderAt
	size    int64
	h       *header
	names   map[string]bool // of layers
	bytes   int64           // of all tensors so far
	strides []float64       // of the convolutions
	sides   []int           // of their filters
}

// network has the fields of a MatConvNet network that are read.
type matNetwork struct{ layers, meta, classes, normalization, params *matfile.Array }

func (m *matReader) read(variables []*matfile.Array) error {
	var n matNetwork
	find := func(name string, a *matfile.Array) {
		if to := map[string]**matfile.Array{"layers": &n.layers, "meta": &n.meta, "classes": &n.classes,
			"normalization": &n.normalization, "params": &n.params}[name]; to != nil {
			*to = a
		}
	}
	for _, v := range variables {
		if v.Class == "struct" && v.Len() == 1 && v.Field(0, "layers") != nil {
			for i, name := range v.Fields {
				if i < len(v.Elements) {
					find(name, v.Elements[i])
				}
			}
		}
		find(v.Name, v)
	}
	switch {
	case n.layers == nil:
		return m.arrays(variables)
	case n.layers.Class != "cell":
		return refused("", "a DagNN of MatConvNet, want a SimpleNN, whose layers are cells: in Python, scipy.io.loadmat reads its params, "+
			"and numpy.savez writes them as conv1_1_W of shape (3,3,in,out), conv1_1_b, … to an .npz, which is read")
	}
	if n.meta != nil {
		if a := n.meta.Field(0, "classes"); a != nil {
			n.classes = a
		}
		if a := n.meta.Field(0, "normalization"); a != nil {
			n.normalization = a
		}
	}
	side, err := m.normalization(n.normalization)
	if err != nil {
		return err
	}
	if side > 0 {
		m.h.layers = append(m.h.layers, Layer{Name: "data", Op: "input", Attributes: map[string][]float64{"shape": {3, float64(side), float64(side)}}})
	}
	m.classes(n.classes)
	if len(n.layers.Elements) > maxProtoLayers {
		return malformed("", "more than %d layers", maxProtoLayers)
	}
	for i, l := range n.layers.Elements {
		if err := m.layer(i, l); err != nil {
			return err
		}
	}
	return m.devils()
}

// devils refuses the networks of "Return of the Devil in the Details" (Chatfield et al.,
// 2014), which the same authors' group released beside these.
func (m *matReader) devils() error {
	if len(m.strides) < 2 || m.strides[0] == 1 {
		return nil
	}
	name := "imagenet-vgg-s"
	switch {
	case m.sides[0] == 11:
		name = "imagenet-vgg-f"
	case m.strides[1] == 2:
		name = "imagenet-vgg-m"
	}
	return refused("", "%s or a network like it (CNN-F, -M and -S of Chatfield et al., 2014): its first convolution has %d×%d filters with stride %g, "+
		"want the stride of 1 that every convolution of the VGG networks has, as in imagenet-vgg-verydeep-16", name, m.sides[0], m.sides[0], m.strides[0])
}

// arrays lists the variables that are arrays of numbers.
func (m *matReader) arrays(variables []*matfile.Array) error {
	for _, v := range variables {
		if !v.Numeric() || v.Complex || v.Len() == 0 {
			continue
		}
		if m.names[v.Name] {
			return malformed(v.Name, "name given twice")
		}
		m.names[v.Name] = true
		strides := make([]int, len(v.Shape))
		step := 1
		for i, n := range v.Shape {
			strides[i] = step
			step *= n
		}
		if _, err := m.add(v.Name, v, v.Shape, strides); err != nil {
			return err
		}
	}
	if len(m.h.entries) == 0 {
		return &UnsupportedError{Kind: "matlab", Found: "a MATLAB file without a network of MatConvNet (cells layers) or arrays of numbers",
			Convert: "save the network as MatConvNet's vl_simplenn has it"}
	}
	return nil
}

// add lists an array as a tensor of that shape and those strides. It returns the function
// that reads it.
func (m *matReader) add(name string, a *matfile.Array, shape, strides []int) (read func(int, []float32) error, err error) {
	v := &view{dtype: "F64", shape: shape, strides: strides}
	if a.Class == "single" {
		v.dtype = "F32"
	}
	width := int64(dtypeBits(v.dtype) / 8)
	n := int64(a.Len())
	if n > math.MaxInt64/16/width {
		return nil, malformed(name, "shape %v has too many elements", a.Shape)
	}
	// Tensors of HDF5 may share their data, but in no sound file do they exceed this limit.
	if m.bytes += n * width; m.bytes > npzSlack+npzRatio*m.size {
		return nil, malformed(name, "tensors of %d bytes in a file of %d: compressed beyond what weights can be", m.bytes, m.size)
	}
	var inFile bool
	v.r, v.begin, inFile = a.Floats()
	v.end = v.begin + n*width
	v.compressed = !inFile
	if why := v.check(); why != "" {
		return nil, malformed(name, "%s: shape %v", why, a.Shape)
	}
	m.h.entries = append(m.h.entries, v.entry(name, inFile))
	return v.read, nil
}

// filters lists an array of (height,width,in,out) as (out,in,height,width). MATLAB drops
// axes of length 1 at the end.
func (m *matReader) filters(name string, a *matfile.Array) ([]int, error) {
	s := slices.Clone(a.Shape)
	for len(s) > 4 && s[len(s)-1] == 1 {
		s = s[:len(s)-1]
	}
	for len(s) < 4 {
		s = append(s, 1)
	}
	if !a.Numeric() || a.Complex || len(s) != 4 || a.Len() == 0 {
		return nil, malformed(name, "%s of shape %v, want numbers with axes (height,width,in,out)", a.Class, a.Shape)
	}
	shape := []int{s[3], s[2], s[0], s[1]}
	_, err := m.add(name, a, shape, []int{s[0] * s[1] * s[2], s[0] * s[1], 1, s[0]})
	return shape, err
}

// vector lists elements begin to begin + n of an array as a vector.
func (m *matReader) vector(name string, a *matfile.Array, begin, n int) (read func(int, []float32) error, err error) {
	if !a.Numeric() || a.Complex || begin+n > a.Len() {
		return nil, malformed(name, "%s of shape %v, want %d numbers", a.Class, a.Shape, begin+n)
	}
	part := *a
	size := (a.Data.End - a.Data.Begin) / int64(a.Len())
	part.Shape = []int{n}
	part.Data.Begin += int64(begin) * size
	part.Data.End = part.Data.Begin + int64(n)*size
	return m.add(name, &part, []int{n}, []int{1})
}

// layer adds layer i of the cells.
func (m *matReader) layer(i int, l *matfile.Array) error {
	typ, ok := l.Field(0, "type").Text()
	if l.Class != "struct" || !ok {
		return malformed("", "layer %d: %s, want a struct with a type", i+1, l.Class)
	}
	name, _ := l.Field(0, "name").Text()
	if name == "" {
		name = fmt.Sprintf("layer%d", i+1)
	}
	if m.names[name] {
		return malformed(name, "name given to two layers")
	}
	m.names[name] = true
	layer := Layer{Name: name, Tensors: map[string]string{}, Attributes: map[string][]float64{}}
	var err error
	switch typ {
	case "conv":
		err = m.convolution(&layer, l)
	case "bnorm":
		err = m.batchNorm(&layer, l)
	case "relu":
		layer.Op = "relu"
		if leak := matNumber(l, "leak", 0); leak != 0 {
			layer.Op, layer.Attributes["alpha"] = "leakyrelu", []float64{leak}
		}
	case "pool":
		err = matPooling(&layer, l)
	case "normalize", "lrn":
		layer.Op = "lrn"
		p, _ := l.Field(0, "param").Numbers()
		if len(p) != 4 {
			return malformed(name, "%d parameters, want n, κ, α and β", len(p))
		}
		// α isn't divided by n here.
		layer.Attributes = map[string][]float64{"size": {p[0]}, "bias": {p[1]}, "alpha": {p[2] * p[0]}, "beta": {p[3]}}
	case "dropout":
		layer.Op, layer.Attributes["ratio"] = "dropout", []float64{matNumber(l, "rate", 0.5)}
	case "softmax", "softmaxloss":
		layer.Op = "softmax"
	default:
		layer.Op = strings.ToLower(typ)
	}
	m.h.layers = append(m.h.layers, layer)
	return err
}

// tensorsOf returns a layer's arrays: the cells weights, or the fields of those names.
func tensorsOf(l *matfile.Array, names ...string) []*matfile.Array {
	if w := l.Field(0, "weights"); w != nil && w.Class == "cell" {
		return w.Elements
	}
	var all []*matfile.Array
	for _, name := range names {
		if a := l.Field(0, name); a != nil {
			all = append(all, a)
		}
	}
	return all
}

func (m *matReader) convolution(layer *Layer, l *matfile.Array) error {
	layer.Op = "conv"
	tensors := tensorsOf(l, "filters", "biases")
	if len(tensors) == 0 {
		return malformed(layer.Name, "a convolution without weights")
	}
	name := layer.Name + "/weight"
	shape, err := m.filters(name, tensors[0])
	if err != nil {
		return err
	}
	layer.Tensors["weight"] = name
	if len(tensors) > 1 && tensors[1].Len() > 0 {
		name = layer.Name + "/bias"
		if tensors[1].Len() != shape[0] {
			return malformed(name, "shape %v, want %d numbers for filters of shape %v", tensors[1].Shape, shape[0], tensors[0].Shape)
		}
		if _, err := m.vector(name, tensors[1], 0, shape[0]); err != nil {
			return err
		}
		layer.Tensors["bias"] = name
	}
	a := layer.Attributes
	a["kernel_shape"] = []float64{float64(shape[2]), float64(shape[3])}
	if a["strides"], err = matPair(l, layer.Name, "stride", 1); err != nil {
		return err
	}
	if a["dilations"], err = matPair(l, layer.Name, "dilate", 1); err != nil {
		return err
	}
	m.strides, m.sides = append(m.strides, a["strides"][0]), append(m.sides, shape[2])
	a["pads"], err = matPads(l, layer.Name)
	return err
}

// batchNorm adds a layer y = γ·(x−μ)/σ + β. Its moments are μ and σ = √(variance + ε).
func (m *matReader) batchNorm(layer *Layer, l *matfile.Array) error {
	layer.Op = "batchnorm"
	tensors := tensorsOf(l, "filters", "biases", "moments")
	if len(tensors) != 3 {
		return malformed(layer.Name, "%d arrays of a normalisation, want factors, offsets and moments", len(tensors))
	}
	n := tensors[0].Len()
	if n == 0 || tensors[1].Len() != n || tensors[2].Len() != 2*n {
		return malformed(layer.Name, "shapes %v, %v and %v, want as many factors and offsets, and two moments of each",
			tensors[0].Shape, tensors[1].Shape, tensors[2].Shape)
	}
	epsilon := matNumber(l, "epsilon", 1e-4)
	layer.Attributes["epsilon"] = []float64{epsilon}
	var sigma func(int, []float32) error
	for i, role := range []string{"scale", "shift", "mean", "variance"} {
		name := layer.Name + "/" + role
		var err error
		if sigma, err = m.vector(name, tensors[min(i, 2)], max(0, i-2)*n, n); err != nil {
			return err
		}
		layer.Tensors[role] = name
	}
	m.h.entries[len(m.h.entries)-1].read = func(start int, dst []float32) error {
		if err := sigma(start, dst); err != nil {
			return err
		}
		for i, s := range dst {
			dst[i] = float32(math.Max(0, float64(s)*float64(s)-epsilon))
		}
		return nil
	}
	return nil
}

func matPooling(layer *Layer, l *matfile.Array) error {
	method, _ := l.Field(0, "method").Text()
	switch method {
	case "", "max":
		layer.Op = "maxpool"
	case "avg":
		layer.Op = "avgpool"
	default:
		return malformed(layer.Name, "pooling %s, want max or avg", display(method))
	}
	a := layer.Attributes
	var err error
	if a["kernel_shape"], err = matPair(l, layer.Name, "pool", 1); err != nil {
		return err
	}
	if a["strides"], err = matPair(l, layer.Name, "stride", 1); err != nil {
		return err
	}
	if a["pads"], err = matPads(l, layer.Name); err != nil {
		return err
	}
	// A row and a column at the end only complete a window, as rounding sizes up does.
	if slices.Equal(a["pads"], []float64{0, 0, 1, 1}) && a["kernel_shape"][0] == 2 && a["strides"][0] == 2 && layer.Op == "maxpool" {
		a["pads"], a["ceil_mode"] = []float64{0, 0, 0, 0}, []float64{1}
	}
	return nil
}

// matNumber returns a field that is one number, or its default.
func matNumber(l *matfile.Array, field string, otherwise float64) float64 {
	if v, err := l.Field(0, field).Numbers(); err == nil && len(v) == 1 {
		return v[0]
	}
	return otherwise
}

// matPair returns a field for height and width, which may be one number for both.
func matPair(l *matfile.Array, layer, field string, otherwise float64) ([]float64, error) {
	a := l.Field(0, field)
	if a == nil || a.Len() == 0 {
		return []float64{otherwise, otherwise}, nil
	}
	v, err := a.Numbers()
	switch {
	case err == nil && len(v) == 1:
		return []float64{v[0], v[0]}, nil
	case err == nil && len(v) == 2:
		return v, nil
	}
	return nil, malformed(layer, "%s of shape %v, want one number or two", field, a.Shape)
}

// matPads returns the padding in the order of ONNX: top, left, bottom, right. MatConvNet
// has top, bottom, left, right, or one number for all.
func matPads(l *matfile.Array, layer string) ([]float64, error) {
	a := l.Field(0, "pad")
	if a == nil || a.Len() == 0 {
		return []float64{0, 0, 0, 0}, nil
	}
	v, err := a.Numbers()
	switch {
	case err == nil && len(v) == 1:
		return []float64{v[0], v[0], v[0], v[0]}, nil
	case err == nil && len(v) == 4:
		return []float64{v[0], v[2], v[1], v[3]}, nil
	}
	return nil, malformed(layer, "pad of shape %v, want one number or four", a.Shape)
}

// classes adds the names of the classes to the metadata: their descriptions, and as
// synsets their names if these are others.
func (m *matReader) classes(a *matfile.Array) {
	texts := func(field string) []string {
		cells := a.Field(0, field)
		if cells == nil || cells.Class != "cell" {
			return nil
		}
		var all []string
		for _, c := range cells.Elements {
			text, ok := c.Text()
			if !ok {
				return nil
			}
			all = append(all, text)
		}
		return all
	}
	names, descriptions := texts("name"), texts("description")
	put := func(key string, list []string) {
		if text, err := json.Marshal(list); err == nil && list != nil {
			m.h.meta[key] = string(text)
		}
	}
	if descriptions == nil {
		put("classes", names)
		return
	}
	put("classes", descriptions)
	put("synsets", names)
}

// matPreprocess is the form in which the metadata have the preprocessing, that of
// preprocess.Spec.
type matPreprocess struct {
	Name   string     `json:"name"`
	Scale  float64    `json:"scale"`
	Mean   [3]float64 `json:"mean"`
	Std    [3]float64 `json:"std"`
	Filter string     `json:"filter"`
	Crop   int        `json:"crop"`
	Resize int        `json:"resize"`
	Fit    string     `json:"fit,omitempty"`
}

// normalization adds the preprocessing to the metadata: RGB minus the mean, of an image
// the mean over its pixels. It returns the side of the input, 0 if the file has none.
func (m *matReader) normalization(a *matfile.Array) (side int, err error) {
	if a == nil || a.Class != "struct" {
		return 0, nil
	}
	size, _ := a.Field(0, "imageSize").Numbers()
	if len(size) >= 2 && size[0] == size[1] && size[0] >= 1 && size[0] <= math.MaxInt16 && size[0] == math.Trunc(size[0]) {
		side = int(size[0])
	}
	average := a.Field(0, "averageImage")
	if average == nil || average.Len() == 0 || side == 0 {
		return side, nil
	}
	p := matPreprocess{Name: "matconvnet", Scale: 1, Std: [3]float64{1, 1, 1}, Filter: "bilinear", Crop: side, Resize: side}
	values, err := average.Numbers()
	if err != nil {
		return side, malformed("", "averageImage of shape %v: %v", average.Shape, matError(err))
	}
	if len(values)%3 != 0 || len(values) > 3 && (len(average.Shape) != 3 || average.Shape[2] != 3) {
		return side, malformed("", "averageImage of shape %v, want (height,width,3) or three numbers", average.Shape)
	}
	pixels := len(values) / 3
	for c := range 3 {
		for _, v := range values[c*pixels : (c+1)*pixels] {
			p.Mean[c] += v
		}
		p.Mean[c] /= float64(pixels)
	}
	if pixels > 1 {
		m.h.meta["averageImage"] = fmt.Sprintf("an image of %d×%d pixels, of which the mean is subtracted", average.Shape[0], average.Shape[1])
	}
	if filter, _ := a.Field(0, "interpolation").Text(); filter == "bicubic" {
		p.Filter = filter
	}
	border, _ := a.Field(0, "border").Numbers()
	share := matNumber(a, "cropSize", 0)
	switch {
	case len(border) > 0 && border[0] >= 1 && border[0] <= math.MaxInt16:
		p.Resize += int(border[0])
	case share > 0.01 && share < 1:
		p.Resize = int(math.Round(float64(side) / share))
	}
	if v, err := a.Field(0, "keepAspect").Numbers(); err == nil && len(v) == 1 && v[0] == 0 {
		p.Fit = "squash"
	}
	text, err := json.Marshal(p)
	if err != nil { // a mean that is no number
		return side, malformed("", "averageImage: mean %v", p.Mean)
	}
	m.h.meta["vgg.preprocess"] = string(text)
	return side, nil
}
