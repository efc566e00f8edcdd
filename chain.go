package vgg

import (
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/weights"
)

// chainReader makes an outline of the layers that a file describes.
type chainReader struct {
	f  *weights.File
	ol *outline
	// channelsLast: the activation is (H,W,C) where it is flattened.
	channelsLast bool
	head         bool    // fully connected layers have begun
	pad          float64 // of a layer of its own, for the convolution that follows
	ended        string  // the soft-max
}

// outlineOfLayers follows the chain of layers that a file describes.
func outlineOfLayers(f *weights.File) (*outline, error) {
	r := &chainReader{f: f, ol: &outline{scheme: string(f.Format()), complete: true}}
	r.channelsLast = columnFormat(f.Format())
	for _, l := range f.Layers() {
		if err := r.add(l); err != nil {
			return nil, fmt.Errorf("layer %s (%s): %w", l.Name, l.Op, err)
		}
	}
	r.connectLast()
	if err := r.rectified(); err != nil {
		return nil, err
	}
	r.unused()
	return r.ol, r.normalisations()
}

// columnFormat tells whether the weights of a format lie (in…,out), channels last.
func columnFormat(f weights.Format) bool {
	return f == weights.Keras || f == weights.TFJS
}

func (r *chainReader) add(l weights.Layer) error {
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
		if w := r.last(); w != nil {
			w.relu = true
			return nil
		}
		return fmt.Errorf("a rectification before the first convolution")
	case "maxpool":
		return r.maxPool(a)
	case "avgpool", "globalavgpool", "globalmaxpool":
		return r.averagePool(l.Op, a)
	case "lrn":
		return r.lrn(a)
	case "transpose":
		return r.transpose(a)
	case "pad":
		return r.padding(a)
	case "dropout":
		if r.head {
			if x, ok := a.one("ratio"); ok && x > 0 && x < 1 {
				r.ol.dropout = float32(x)
			}
		}
		return nil
	case "softmax":
		r.ended = l.Name
		return nil
	case "flatten", "reshape", "linear", "identity":
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

// last is the link that what follows belongs to: the last one with tensors, unless a
// pooling or another layer came after it.
func (r *chainReader) last() *link {
	if n := len(r.ol.links); n > 0 && (r.ol.links[n-1].kind == convolution || r.ol.links[n-1].kind == connected) {
		return &r.ol.links[n-1]
	}
	return nil
}

// connectLast takes 1×1 convolutions at the end, the last of which gives scores, for the
// fully connected layers that they are where the features have come down to a pixel.
func (r *chainReader) connectLast() {
	links := r.ol.links
	if n := len(links); n == 0 || links[n-1].kind != convolution || links[n-1].relu {
		return
	}
	for i := len(links) - 1; i >= 0 && links[i].kind == convolution && links[i].r == 1; i-- {
		links[i].kind, links[i].r = connected, 0
	}
}

// rectified checks that all layers with tensors are rectified but the last fully
// connected one.
func (r *chainReader) rectified() error {
	n := len(r.ol.links)
	for i, l := range r.ol.links {
		last := i == n-1 && l.kind == connected
		switch {
		case l.kind != convolution && l.kind != connected:
		case last && l.relu:
			return fmt.Errorf("layer %s: the last fully connected layer is rectified, want scores", l.name)
		case !last && !l.relu:
			return fmt.Errorf("layer %s: no rectification after it", l.name)
		}
	}
	return nil
}

func (r *chainReader) input(a attributes) error {
	s := a["shape"]
	if len(s) != 3 {
		return nil
	}
	h, w := s[0], s[1]
	if !r.channelsLast {
		h, w = s[1], s[2]
	}
	if h == w && h > 0 && h <= maxInput {
		r.ol.input = int(h)
	}
	return nil
}

// rescaling is y = x·scale + offset of the pixels.
func (r *chainReader) rescaling(a attributes) error {
	if len(r.ol.links) > 0 || r.ol.rescale != nil {
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
	r.ol.rescale = &s
	return nil
}

// entries looks the layer's tensors up.
func (r *chainReader) entries(l weights.Layer) (map[string]weights.Entry, error) {
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

func (r *chainReader) weight(l weights.Layer, head, columns, channelsLast bool) (*link, error) {
	tensors, err := r.entries(l)
	if err != nil {
		return nil, err
	}
	w, ok := tensors["weight"]
	if !ok {
		return nil, fmt.Errorf("no weight among the tensors")
	}
	k, err := weightLink(l.Name, w, head, columns, channelsLast)
	if err != nil {
		return nil, err
	}
	k.tensors = tensors
	r.ol.links = append(r.ol.links, k)
	return &r.ol.links[len(r.ol.links)-1], nil
}

func (r *chainReader) conv(l weights.Layer, a attributes) error {
	if a["channels_first"] != nil {
		return fmt.Errorf("channels first, want Keras's default, channels last")
	}
	if !a.all("strides", 1) || !a.all("dilations", 1) || !a.all("group", 1) {
		return fmt.Errorf("strides %v, dilations %v, groups %v, want 1", a["strides"], a["dilations"], a["group"])
	}
	columns := columnFormat(r.f.Format())
	e, err := r.f.Lookup(l.Tensors["weight"])
	if err != nil {
		return err
	}
	if len(e.Shape) != 4 {
		return fmt.Errorf("%s: shape %v, want 4 axes", e.Name, e.Shape)
	}
	side := e.Shape[2]
	if columns {
		side = e.Shape[0]
	}
	pad, known := r.padOf(a, side)
	r.pad = 0
	switch {
	case !known || 2*pad == float64(side-1) && !(r.head && side == 1):
	case pad == 0 && (side > 1 || r.head) && len(r.ol.links) > 0:
		r.head = true // a fully connected layer as a convolution
	default:
		return fmt.Errorf("padding %v of %d×%d filters, want %d", pad, side, side, (side-1)/2)
	}
	_, err = r.weight(l, r.head, columns, columns)
	return err
}

// padOf is the border of a convolution, where the file tells.
func (r *chainReader) padOf(a attributes, side int) (pad float64, known bool) {
	if same, ok := a.one("padding"); ok {
		if same == 1 {
			return float64(side-1) / 2, true
		}
		return r.pad, true
	}
	p := a["pads"]
	if len(p) == 0 {
		if r.f.Format() == weights.CaffeModel {
			// Without its parameters: fc6 as a convolution is told by its even or large side.
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

func (r *chainReader) connected(l weights.Layer, a attributes) error {
	columns := columnFormat(r.f.Format())
	if t, ok := a.one("transB"); ok {
		columns = t == 0
	}
	first := !r.head
	r.head = true
	_, err := r.weight(l, true, columns, r.channelsLast && first)
	return err
}

func (r *chainReader) batchNorm(l weights.Layer, a attributes) error {
	w := r.last()
	if w == nil || w.bn || w.relu {
		return fmt.Errorf("want batch normalisation between a convolution and its rectification")
	}
	tensors, err := r.entries(l)
	if err != nil {
		return err
	}
	for role, e := range tensors {
		w.tensors[role] = e
	}
	w.bn = true
	eps, ok := a.one("epsilon")
	if !ok {
		eps = defaultBNEps
	}
	if r.ol.bnEps != 0 && r.ol.bnEps != float32(eps) {
		return fmt.Errorf("epsilon %v, want that of the other normalisations, %v", eps, r.ol.bnEps)
	}
	r.ol.bnEps = float32(eps)
	return nil
}

func (r *chainReader) maxPool(a attributes) error {
	if r.head || len(r.ol.links) == 0 {
		return fmt.Errorf("want it between convolutions")
	}
	strides := a["strides"]
	if !(a.all("kernel_shape", 2) && a.all("strides", 2) && a.all("pads", 0) && a.all("dilations", 1)) || len(strides) == 0 && a["kernel_shape"] != nil {
		return fmt.Errorf("windows %v, strides %v, padding %v, want 2×2 with stride 2", a["kernel_shape"], strides, a["pads"])
	}
	r.ol.links = append(r.ol.links, link{layerSpec: layerSpec{kind: pooling}})
	return nil
}

// averagePool passes over the pooling that torchvision's export leaves, which changes
// nothing at the side that the classifier was made for.
func (r *chainReader) averagePool(op string, a attributes) error {
	if op == "avgpool" && len(a["kernel_shape"]) > 0 && a.all("kernel_shape", 1) && a.all("strides", 1) && a.all("pads", 0) {
		return nil
	}
	return fmt.Errorf("windows %v: want max-pooling, 2×2 with stride 2", a["kernel_shape"])
}

// lrn is as ONNX has it: y = x/(bias + α/size·Σx²)^β.
func (r *chainReader) lrn(a attributes) error {
	v := lrnValues{k: 1, alpha: 1e-4, beta: 0.75}
	size, ok := a.one("size")
	if !ok || size != math.Trunc(size) || size < 1 || size > maxChannels || int(size)%2 == 0 {
		return fmt.Errorf("size %v, want an odd number", a["size"])
	}
	v.size = int(size)
	for name, to := range map[string]*float32{"bias": &v.k, "alpha": &v.alpha, "beta": &v.beta} {
		if x, ok := a.one(name); ok {
			*to = float32(x)
		}
	}
	r.ol.links = append(r.ol.links, link{layerSpec: layerSpec{kind: normalisation, lrn: v}})
	return nil
}

// normalisations finds the form of local response normalisation that is the plainest to
// say: the paper's values in Krizhevsky's form or Caffe's, else the file's own.
func (r *chainReader) normalisations() error {
	paper := nn.PaperLRN()
	own := func(alpha float32) lrnValues { return lrnValues{paper.Size, paper.K, alpha, paper.Beta} }
	krizhevsky, caffe := own(paper.Alpha*float32(paper.Size)), own(paper.Alpha)
	all := func(v lrnValues) bool {
		return !slices.ContainsFunc(r.ol.links, func(l link) bool { return l.kind == normalisation && !l.lrn.near(v) })
	}
	if r.ol.count(normalisation) == 0 {
		return nil
	}
	plain := false
	r.ol.lrn = nn.Caffe
	switch {
	case all(krizhevsky):
		r.ol.lrn, plain = nn.Krizhevsky, true
	case all(caffe):
		plain = true
	}
	for i := range r.ol.links {
		if plain {
			r.ol.links[i].lrn = lrnValues{}
		}
	}
	return nil
}

// near tells whether two sets of values differ by rounding alone.
func (v lrnValues) near(w lrnValues) bool {
	close := func(a, b float32) bool { return math.Abs(float64(a-b)) <= 1e-6*math.Abs(float64(b)) }
	return v.size == w.size && close(v.k, w.k) && close(v.alpha, w.alpha) && close(v.beta, w.beta)
}

// transpose follows the order of the activation's axes.
func (r *chainReader) transpose(a attributes) error {
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

func (r *chainReader) padding(a attributes) error {
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

// unused lists the file's tensors that belong to no layer.
func (r *chainReader) unused() {
	used := map[string]bool{}
	for _, l := range r.ol.links {
		for _, e := range l.tensors {
			used[e.Name] = true
		}
	}
	for _, e := range r.f.Tensors() {
		if !used[e.Name] {
			r.ol.unused = append(r.ol.unused, e.Name)
		}
	}
}
