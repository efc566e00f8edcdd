package weights

import (
	"fmt"
	"math"
	"slices"
)

// onnxPixels is a value that is made of the input's pixels alone, before the first layer:
// channels that are chosen, scaled and shifted. The preprocessing that a graph begins with
// is such values, whatever operators it has.
type onnxPixels struct {
	planes []onnxPlane // along the axis of the channels
	// axes are the input's axes that the value's are. That of the channels may be missing
	// where one channel was taken.
	axes []int
}

// onnxPlane is scale·x + shift of the input's channel number of.
type onnxPlane struct {
	of           int
	scale, shift float64
}

// inputPixels returns the value of the graph's input, nil if it isn't one of 3 channels.
func (c *onnxChain) inputPixels(dims []int64) *onnxPixels {
	switch {
	case len(dims) == 4 && dims[1] == 3 && dims[3] != 3:
		c.channels = 1
	case len(dims) == 4 && dims[3] == 3 && dims[1] != 3:
		c.channels = 3
	case len(dims) == 4 && dims[1] > 0 && dims[3] > 0, len(dims) == 2:
		return nil
	}
	return &onnxPixels{planes: []onnxPlane{{0, 1, 0}, {1, 1, 0}, {2, 1, 0}}, axes: []int{0, 1, 2, 3}}
}

// clone returns a copy.
func (p *onnxPixels) clone() *onnxPixels {
	return &onnxPixels{planes: slices.Clone(p.planes), axes: slices.Clone(p.axes)}
}

// pixels follows a node all of whose inputs but constants are pixels. It reports false
// where the node is a layer, or a part of the network that begins with one.
func (c *onnxChain) pixelNode(n *onnxNode) (done bool, err error) {
	v := c.values[n.inputs[0]]
	if n.foreign() || v == nil {
		return false, nil // no preprocessing: node says what is wrong, or follows it
	}
	switch n.op {
	case "Concat":
		return c.joinPixels(n)
	case "Add", "Sub", "Mul", "Div":
		return c.scalePixels(n)
	}
	if v.pixels == nil {
		return false, nil
	}
	var p *onnxPixels
	switch n.op {
	case "Identity":
		c.values[n.outputs[0]] = v
		return true, nil
	case "Cast":
		if to := int64(n.number("to", 0)); !isFloat(to) {
			return false, n.refuse("casts the pixels to type %d, want floating point", to)
		}
		c.values[n.outputs[0]] = v
		return true, nil
	case "Split":
		return c.splitPixels(n)
	case "BatchNormalization":
		return c.normalizePixels(n)
	case "Resize", "Upsample":
		return false, n.refuse("resizes the pictures inside the graph: resizing is a part of the preprocessing here. Export the model without it, and say --resize squash if it doesn't keep the aspect")
	case "Transpose":
		perm, err := n.permutation(len(v.pixels.axes))
		if err != nil {
			return false, err
		}
		p = v.pixels.clone()
		for i, a := range perm {
			p.axes[i] = v.pixels.axes[a]
		}
		if p.axes[0] != 0 {
			return false, n.refuse("perm %v moves the batch, want it first", perm)
		}
	case "Gather":
		p, err = c.gatherPixels(n, v.pixels)
	case "Slice":
		p, err = c.slicePixels(n, v.pixels)
	case "Squeeze", "Unsqueeze":
		p, err = c.reframePixels(n, v.pixels)
	default:
		return false, nil
	}
	if p != nil && err == nil {
		c.values[n.outputs[0]] = &onnxValue{pixels: p}
		c.touch(n)
	}
	return p != nil, err
}

// touch notes the first node of the preprocessing.
func (c *onnxChain) touch(n *onnxNode) {
	if c.pixelsNode == nil {
		c.pixelsNode = n
	}
}

// isFloat tells whether a type of TensorProto.DataType is of floating point.
func isFloat(to int64) bool { return to == 1 || to == 10 || to == 11 || to == 16 }

// channelsAre takes the input's axis for that of the channels. It reports whether it is
// that one, as far as the file tells.
func (c *onnxChain) channelsAre(axis int) bool {
	if c.channels < 0 && (axis == 1 || axis == 3) {
		c.channels = axis
	}
	return c.channels == axis
}

// axisOf returns the input's axis that the value's axis a is.
func (p *onnxPixels) axisOf(a int64) (axis int, ok bool) {
	if a < 0 {
		a += int64(len(p.axes))
	}
	if a < 0 || a >= int64(len(p.axes)) {
		return 0, false
	}
	return p.axes[a], true
}

// gatherPixels takes channels by their indices.
func (c *onnxChain) gatherPixels(n *onnxNode, p *onnxPixels) (*onnxPixels, error) {
	axis, ok := p.axisOf(int64(n.number("axis", 0)))
	at := c.values[n.inputs[1]]
	if !ok || at.dims == nil || !c.channelsAre(axis) {
		return nil, n.refuse("takes a part of the pixels, want channels alone")
	}
	q := &onnxPixels{axes: slices.Clone(p.axes)}
	for _, d := range at.dims {
		i := d.n
		if i < 0 {
			i += int64(len(p.planes))
		}
		if d.of != known || i < 0 || i >= int64(len(p.planes)) {
			return nil, n.refuse("an index outside the %d channels", len(p.planes))
		}
		q.planes = append(q.planes, p.planes[i])
	}
	if at.scalar {
		q.axes = slices.DeleteFunc(q.axes, func(a int) bool { return a == axis })
	}
	return q, nil
}

// slicePixels takes a run of channels, perhaps backwards. All of the other axes must be
// taken.
func (c *onnxChain) slicePixels(n *onnxNode, p *onnxPixels) (*onnxPixels, error) {
	var part [4][]int64
	for i, name := range []string{"starts", "ends", "axes", "steps"} {
		v, err := c.ints(n, name, i+1)
		if err != nil {
			return nil, err
		}
		part[i] = v
	}
	for i := range part[0] {
		part[2] = append(part[2], int64(i))[:max(len(part[2]), i+1)]
		part[3] = append(part[3], 1)[:max(len(part[3]), i+1)]
	}
	if len(part[1]) != len(part[0]) || len(part[2]) != len(part[0]) || len(part[3]) != len(part[0]) {
		return nil, n.refuse("%d starts and %d ends", len(part[0]), len(part[1]))
	}
	q := p.clone()
	for i, start := range part[0] {
		end, step := part[1][i], part[3][i]
		axis, ok := p.axisOf(part[2][i])
		whole := start == 0 && step == 1 && end >= 1<<30
		switch {
		case !ok:
			return nil, n.refuse("axis %d of %d", part[2][i], len(p.axes))
		case whole:
			continue
		case !c.channelsAre(axis):
			return nil, n.refuse("takes a part of the pictures: cropping is a part of the preprocessing here. Export the model without it")
		case step != 1 && step != -1:
			return nil, n.refuse("steps %v, want 1 or -1", part[3])
		}
		q.planes = run(q.planes, start, end, step)
	}
	return q, nil
}

// run returns a slice of all in the sense of ONNX, with a step of 1 or -1.
func run(all []onnxPlane, start, end, step int64) []onnxPlane {
	length := int64(len(all))
	if step > 0 {
		from, to := bounds(start, end, len(all))
		return slices.Clone(all[from:max(from, to)])
	}
	if start < 0 {
		start += length
	}
	if end < 0 {
		end = max(end+length, -1)
	}
	var out []onnxPlane
	for i := min(start, length-1); i > end; i-- {
		out = append(out, all[i])
	}
	return out
}

// reframePixels removes or restores the axis of the channels of a single channel.
func (c *onnxChain) reframePixels(n *onnxNode, p *onnxPixels) (*onnxPixels, error) {
	axes, err := c.ints(n, "axes", 1)
	if err != nil {
		return nil, err
	}
	q := p.clone()
	at := int64(-1)
	if len(axes) == 1 && len(p.planes) == 1 {
		if at = axes[0]; at < 0 {
			at += 4
		}
	}
	switch {
	case n.op == "Unsqueeze" && len(p.axes) == 3 && at >= 0 && at <= 3 && c.channels >= 0:
		q.axes = slices.Insert(q.axes, int(at), c.channels)
	case n.op == "Squeeze" && len(p.axes) == 4 && at >= 0 && at <= 3 && c.channelsAre(p.axes[at]):
		q.axes = slices.Delete(q.axes, int(at), int(at)+1)
	default:
		return nil, n.refuse("axes %v of the pixels, want that of a single channel", axes)
	}
	return q, nil
}

// splitPixels gives each output its channels.
func (c *onnxChain) splitPixels(n *onnxNode) (bool, error) {
	p := c.values[n.inputs[0]].pixels
	sizes, err := c.ints(n, "split", 1)
	if err != nil {
		return false, err
	}
	axis, ok := p.axisOf(int64(n.number("axis", 0)))
	if !ok || !c.channelsAre(axis) {
		return false, n.refuse("splits the pictures, want channels alone")
	}
	if sizes == nil {
		for range n.outputs {
			sizes = append(sizes, int64(len(p.planes)/len(n.outputs)))
		}
	}
	at := int64(0)
	for i, out := range n.outputs {
		if i >= len(sizes) || sizes[i] < 0 || at+sizes[i] > int64(len(p.planes)) {
			return false, n.refuse("splits %d channels into %v", len(p.planes), sizes)
		}
		c.values[out] = &onnxValue{pixels: &onnxPixels{planes: slices.Clone(p.planes[at : at+sizes[i]]), axes: slices.Clone(p.axes)}}
		at += sizes[i]
	}
	if at != int64(len(p.planes)) {
		return false, n.refuse("splits %d channels into %v", len(p.planes), sizes)
	}
	c.touch(n)
	return true, nil
}

// joinPixels joins channels.
func (c *onnxChain) joinPixels(n *onnxNode) (bool, error) {
	q := &onnxPixels{}
	for i, in := range n.inputs {
		v := c.values[in]
		if v == nil || v.pixels == nil {
			return false, n.refuse("joins pixels and something else")
		}
		axis, ok := v.pixels.axisOf(int64(n.number("axis", 0)))
		if i == 0 {
			q.axes = slices.Clone(v.pixels.axes)
		}
		if !ok || !c.channelsAre(axis) || !slices.Equal(q.axes, v.pixels.axes) {
			return false, n.refuse("joins pictures, want channels alone")
		}
		if q.planes = append(q.planes, v.pixels.planes...); len(q.planes) > 3 {
			return false, n.refuse("joins more than 3 channels")
		}
	}
	c.values[n.outputs[0]] = &onnxValue{pixels: q}
	c.touch(n)
	return true, nil
}

// scalePixels applies a Mul, Add, Sub or Div with constants.
func (c *onnxChain) scalePixels(n *onnxNode) (bool, error) {
	if len(n.inputs) != 2 {
		return false, n.refuse("%d inputs, want 2", len(n.inputs))
	}
	at := 0
	if c.values[n.inputs[0]].pixels == nil {
		at = 1
	}
	p := c.values[n.inputs[at]].pixels
	v, err := c.constantInput(n, 1-at)
	if err != nil {
		return false, err
	}
	shape := v.axes()
	by, err := c.elements(n, v.tensor)
	if err != nil {
		return false, err
	}
	for i, d := range shape {
		a := i - len(shape) + len(p.axes)
		if d != 1 && (a < 0 || !c.channelsAre(p.axes[a]) || d != len(p.planes)) || len(shape) > len(p.axes) {
			if k := len(shape); k >= 2 && shape[k-1] > 1 && shape[k-2] > 1 && shape[k-1]*shape[k-2] > 64 {
				return false, n.refuse("a constant of shape %v for pixels, want one number for each channel: a mean image, with a number for each pixel, isn't read. Its mean by channel (--preprocess) is an approximation of it: export the model without it, and measure", shape)
			}
			return false, n.refuse("a constant of shape %v for pixels, want one number for each channel", shape)
		}
	}
	q := p.clone()
	for i := range q.planes {
		k := by[min(i, len(by)-1)]
		scale, shift, ok := n.affine(k, at)
		if !ok {
			return false, n.refuse("divides by pixels or by 0")
		}
		q.planes[i].scale *= scale
		q.planes[i].shift = q.planes[i].shift*scale + shift
	}
	c.values[n.outputs[0]] = &onnxValue{pixels: q}
	c.touch(n)
	return true, nil
}

// normalizePixels applies a BatchNormalization of pixels.
func (c *onnxChain) normalizePixels(n *onnxNode) (bool, error) {
	p := c.values[n.inputs[0]].pixels
	if p == nil || len(p.axes) != 4 || !c.channelsAre(p.axes[1]) || n.number("training_mode", 0) != 0 {
		return false, n.refuse("want batch normalisation of the channels, for inference")
	}
	var of [4][]float64
	for i := range of {
		v, err := c.constantInput(n, i+1)
		if err != nil {
			return false, err
		}
		if v != nil {
			if of[i], err = c.elements(n, v.tensor); err != nil {
				return false, err
			}
		}
		if len(of[i]) != len(p.planes) {
			return false, n.refuse("%d values for %d channels", len(of[i]), len(p.planes))
		}
	}
	q := p.clone()
	for i := range q.planes {
		scale := of[0][i] / math.Sqrt(of[3][i]+n.number("epsilon", 1e-5))
		q.planes[i].scale *= scale
		q.planes[i].shift = (q.planes[i].shift-of[2][i])*scale + of[1][i]
	}
	c.values[n.outputs[0]] = &onnxValue{pixels: q}
	c.touch(n)
	return true, nil
}

// begin makes pixels the chain's value, for n, the first node that isn't preprocessing. What
// was done to the pixels becomes the first layer, "preprocess": value j of the network's
// input is scale[j]·x + shift[j] of channel order[j].
func (c *onnxChain) begin(n *onnxNode, v *onnxValue) error {
	if c.step > 1 {
		return n.refuse("a second branch from the pixels: want a chain of layers")
	}
	p := v.pixels
	if len(p.axes) != 4 || len(p.planes) != 3 || p.axes[0] != 0 {
		return n.refuse("takes %d channels on %d axes of the pixels, want all 3", len(p.planes), len(p.axes))
	}
	if !slices.Equal(p.axes, []int{0, 1, 2, 3}) {
		c.perm, c.permName = p.axes, n.label()
		if c.pixelsNode != nil {
			c.permName = c.pixelsNode.label()
		}
	}
	a := map[string][]float64{}
	same := true
	for i, plane := range p.planes {
		same = same && plane == onnxPlane{i, 1, 0}
		a["scale"], a["shift"], a["order"] = append(a["scale"], plane.scale), append(a["shift"], plane.shift), append(a["order"], float64(plane.of))
	}
	c.step++
	v.pixels, v.step, c.rank = nil, c.step, 4
	if c.shape == nil {
		c.shape = []int64{-1, -1, -1, -1}
	}
	if same && !c.bytePixels {
		c.channels = -1
		return nil
	}
	if c.bytePixels {
		a["bytes"] = []float64{1}
	}
	if c.pixelsNode == nil {
		c.pixelsNode = n
	}
	c.layers = append(c.layers, Layer{Name: c.pixelsNode.label(), Op: "preprocess", Tensors: map[string]string{}, Attributes: a})
	return nil
}

// wantChannels checks, at the first operator on (N,C,H,W), that the channels which the
// preprocessing took for such are on axis 1.
func (c *onnxChain) wantChannels(n *onnxNode) error {
	at := c.channels
	c.channels = -1
	if at >= 0 && c.base(1) != at {
		return n.refuse("takes axis %d of the pixels for channels, but the preprocessing before it axis %d", c.base(1), at)
	}
	return nil
}

// String describes the planes for an error.
func (p onnxPlane) String() string { return fmt.Sprintf("%g·x%d + %g", p.scale, p.of, p.shift) }
