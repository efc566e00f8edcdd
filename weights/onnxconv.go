package weights

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// conv follows a convolution.
func (c *onnxChain) conv(n *onnxNode) error {
	pads, err := c.border()
	if err != nil {
		return err
	}
	if err := c.images(n); err != nil {
		return err
	}
	v, err := c.constantInput(n, 1)
	if err != nil {
		return err
	}
	if v == nil || len(v.tensor.Shape) != 4 {
		return n.refuse("want a weight of 4 axes")
	}
	t := v.tensor
	if v.perm != nil {
		if t, err = t.transposed(n.inputs[1], c.m.r, v.perm); err != nil {
			return n.refuse("%v", err)
		}
	}
	tensors := map[string]string{"weight": c.use(t)}
	bias, err := c.vector(n, 2, t.Shape[0])
	if err != nil {
		return err
	}
	if bias != "" {
		tensors["bias"] = bias
	}
	kernel := n.numbers("kernel_shape", float64(t.Shape[2]), float64(t.Shape[3]))
	if !slices.Equal(kernel, []float64{float64(t.Shape[2]), float64(t.Shape[3])}) {
		return n.refuse("kernel_shape %v, but a weight of shape %v", kernel, t.Shape)
	}
	a, err := c.windowed(n, kernel)
	if err != nil {
		return err
	}
	for i, p := range pads {
		a["pads"][i] += p
	}
	for _, name := range []string{"group", "dilations"} {
		for _, v := range n.numbers(name) {
			if v != 1 {
				a[name] = n.numbers(name)
			}
		}
	}
	c.emit(n, "conv", tensors, a)
	c.slide(a, int64(t.Shape[0]))
	return nil
}

// slide sets the shape after a window has moved over the map, to so many channels; to as
// many as before if that is -1.
func (c *onnxChain) slide(a map[string][]float64, channels int64) {
	if len(c.shape) != 4 {
		c.shape = []int64{-1, -1, -1, -1}
	}
	c.shape = slices.Clone(c.shape)
	if channels >= 0 {
		c.shape[1] = channels
	}
	for i := range 2 {
		side := &c.shape[2+i]
		if *side < 0 || a["dilations"] != nil {
			*side = -1
			continue
		}
		steps := (float64(*side) + a["pads"][i] + a["pads"][i+2] - a["kernel_shape"][i]) / a["strides"][i]
		if *side = int64(math.Floor(steps)) + 1; *side < 1 || steps > math.MaxInt32 {
			*side = -1
		}
	}
}

// windowed returns the attributes that convolution and pooling share: kernel, strides and
// pads.
func (c *onnxChain) windowed(n *onnxNode, kernel []float64) (map[string][]float64, error) {
	strides := n.numbers("strides", 1, 1)
	if slices.ContainsFunc(strides, func(s float64) bool { return s < 1 }) {
		return nil, n.refuse("strides %v, want 1 or more", strides)
	}
	pads := slices.Clone(n.numbers("pads", 0, 0, 0, 0))
	if len(kernel) != 2 || len(strides) != 2 || len(pads) != 4 {
		return nil, n.refuse("a window over %d axes, want 2", len(kernel))
	}
	switch mode := n.text("auto_pad", "NOTSET"); mode {
	case "NOTSET":
	case "VALID":
		pads = []float64{0, 0, 0, 0}
	case "SAME_UPPER", "SAME_LOWER":
		if err := c.images(n); err != nil {
			return nil, err
		}
		known := len(c.shape) == 4 && min(c.shape[2], c.shape[3]) > 0
		if !known && (strides[0] != 1 || strides[1] != 1) || slices.ContainsFunc(n.numbers("dilations"), func(d float64) bool { return d != 1 }) {
			return nil, n.refuse("auto_pad %s with strides %v, want pads, or an input of known size", mode, strides)
		}
		for i, k := range kernel {
			total := k - 1
			if s := strides[i]; s != 1 {
				side := float64(c.shape[2+i])
				total = max((math.Ceil(side/s)-1)*s+k-side, 0)
			}
			small, large := math.Floor(total/2), math.Ceil(total/2)
			pads[i], pads[i+2] = small, large
			if mode == "SAME_LOWER" {
				pads[i], pads[i+2] = large, small
			}
		}
	default:
		return nil, n.refuse("auto_pad %s", display(mode))
	}
	return map[string][]float64{"kernel_shape": kernel, "strides": strides, "pads": pads}, nil
}

// pool follows a pooling. One over single pixels changes nothing; exporters write it for
// adaptive pooling to the size that the image has.
func (c *onnxChain) pool(n *onnxNode) (same bool, err error) {
	kernel := n.numbers("kernel_shape")
	a, err := c.windowed(n, kernel)
	if err != nil {
		return false, err
	}
	one := []float64{1, 1}
	if slices.Equal(kernel, one) && slices.Equal(a["strides"], one) && slices.Equal(a["pads"], []float64{0, 0, 0, 0}) {
		return true, nil
	}
	if err := c.images(n); err != nil {
		return false, err
	}
	for _, d := range n.numbers("dilations") {
		if d != 1 {
			return false, n.refuse("dilations %v, want 1", n.numbers("dilations"))
		}
	}
	if n.number("ceil_mode", 0) != 0 && !c.exact(a) {
		return false, n.refuse("ceil_mode 1, which rounds the size of the map up, want 0, or an input whose maps have even sides")
	}
	op := "maxpool"
	if n.op == "AveragePool" {
		op = "avgpool"
		a["count_include_pad"] = n.numbers("count_include_pad", 0)
	}
	if len(c.shape) == 4 && slices.Equal(kernel, []float64{float64(c.shape[2]), float64(c.shape[3])}) && slices.Equal(a["pads"], []float64{0, 0, 0, 0}) && (op == "avgpool" || !isPooling(a)) {
		c.whole(n, "global"+op[:3]+"pool") // the window is the whole map
		return false, nil
	}
	c.emit(n, op, nil, a)
	c.slide(a, -1)
	return false, nil
}

// exact tells whether windows cover the map to its last pixel, so that sizes need no
// rounding.
func (c *onnxChain) exact(a map[string][]float64) bool {
	for i := range 2 {
		if len(c.shape) != 4 || c.shape[2+i] < 1 {
			return false
		}
		if math.Mod(float64(c.shape[2+i])+a["pads"][i]+a["pads"][i+2]-a["kernel_shape"][i], a["strides"][i]) != 0 {
			return false
		}
	}
	return true
}

// maxAverage follows the maximum of each channel over the map, then the mean of each.
func (c *onnxChain) maxAverage(n *onnxNode) error {
	if err := c.images(n); err != nil {
		return err
	}
	c.whole(n, "globalmaxavgpool")
	c.layers[len(c.layers)-1].Attributes["size"] = []float64{1, 1}
	if c.shape[1] > 0 {
		c.shape[1] *= 2
	}
	if n.number("flat", 0) != 0 {
		c.flatten(n)
	}
	return nil
}

// isPooling tells whether a window is 2×2 pixels with stride 2.
func isPooling(a map[string][]float64) bool {
	two := []float64{2, 2}
	return slices.Equal(a["kernel_shape"], two) && slices.Equal(a["strides"], two)
}

// whole appends a pooling of the whole map.
func (c *onnxChain) whole(n *onnxNode, op string) {
	c.emit(n, op, nil, nil)
	if len(c.shape) != 4 {
		c.shape = []int64{-1, -1, 1, 1}
	}
	c.shape = []int64{c.shape[0], c.shape[1], 1, 1}
}

// globalPool follows an average or a maximum over all pixels.
func (c *onnxChain) globalPool(n *onnxNode) error {
	keep := true
	if strings.HasPrefix(n.op, "Reduce") {
		keep = n.number("keepdims", 1) != 0
		axes, err := c.ints(n, "axes", 1)
		if err != nil {
			return err
		}
		if c.spatial(axes) != nil {
			return n.refuse("the mean or maximum over axes %v, want the two of the image", axes)
		}
		if err := c.wantChannelsAfter(n); err != nil {
			return err
		}
		if !keep {
			c.perm = nil // N and C are left, always in this order
		}
	} else if err := c.images(n); err != nil {
		return err
	}
	op := "globalavgpool"
	if strings.HasSuffix(n.op, "Max") || n.op == "GlobalMaxPool" {
		op = "globalmaxpool"
	}
	c.whole(n, op)
	if !keep {
		c.emit(n, "flatten", nil, nil)
		c.rank, c.shape = 2, c.shape[:2]
	}
	return nil
}

// wantChannelsAfter refuses an operator that pools pixels.
func (c *onnxChain) wantChannelsAfter(n *onnxNode) error {
	if !slices.ContainsFunc(c.layers, func(l Layer) bool { return l.Op == "conv" }) {
		return n.refuse("before the first convolution")
	}
	return nil
}

// spatial returns an error unless axes are those of height and width in the value's order.
func (c *onnxChain) spatial(axes []int64) error {
	var got []int
	for _, a := range axes {
		if a < 0 {
			a += 4
		}
		if a < 0 || a > 3 {
			return fmt.Errorf("axis %d of 4", a)
		}
		i := int(a)
		if c.perm != nil {
			i = c.perm[i]
		}
		got = append(got, i)
	}
	slices.Sort(got)
	if c.rank == 2 || !slices.Equal(got, []int{2, 3}) {
		return fmt.Errorf("axes %v", axes)
	}
	return nil
}

// pad collects the zero padding of a Pad node for the next convolution.
func (c *onnxChain) pad(n *onnxNode) error {
	pads, err := c.ints(n, "pads", 1)
	if err != nil {
		return err
	}
	if mode := n.text("mode", "CONSTANT"); mode != "CONSTANT" {
		return n.refuse("mode %s, want constant", display(mode))
	}
	if n.number("value", 0) != 0 {
		return n.refuse("pads with %v, want 0", n.number("value", 0))
	}
	if v, err := c.constantInput(n, 2); err != nil {
		return err
	} else if v != nil {
		if few := c.few(v.tensor); len(few) != 1 || few[0] != 0 {
			return n.refuse("pads with %v, want 0", few)
		}
	}
	axes, err := c.ints(n, "axes", 3)
	if err != nil {
		return err
	}
	if axes == nil {
		axes = []int64{0, 1, 2, 3}
	}
	if c.rank == 2 || len(pads) != 2*len(axes) {
		return n.refuse("pads %v of %d axes", pads, len(axes))
	}
	sum := make([]float64, 8)
	for i, a := range axes {
		if a < 0 {
			a += 4
		}
		if a < 0 || a > 3 {
			return n.refuse("pads axis %d of 4", a)
		}
		if pads[i] < 0 || pads[i+len(axes)] < 0 || pads[i] >= 1<<16 || pads[i+len(axes)] >= 1<<16 {
			return n.refuse("pads %v, want 0 or more", pads)
		}
		to := c.base(int(a))
		sum[to] += float64(pads[i])
		sum[to+4] += float64(pads[i+len(axes)])
	}
	if slices.Max(sum) == 0 {
		return nil
	}
	c.pads, c.padNode = sum, n
	return nil
}

// border takes the collected zero padding and returns it as pads: top, left, bottom, right;
// nil if there is none.
func (c *onnxChain) border() ([]float64, error) {
	if c.padNode == nil {
		return nil, nil
	}
	n := c.padNode
	c.padNode = nil
	var pads []float64
	for _, from := range []int{0, 4} {
		for axis := range 4 {
			p := c.pads[from+c.base(axis)]
			if axis >= 2 {
				pads = append(pads, p)
			} else if p != 0 {
				return nil, n.refuse("pads %v, want zeros around images only", c.pads)
			}
		}
	}
	return pads, nil
}

// base returns the axis of the last layer's output that an axis of the chain's value is.
func (c *onnxChain) base(axis int) int {
	if c.perm == nil {
		return axis
	}
	return c.perm[axis]
}
