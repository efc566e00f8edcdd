package weights

import (
	"fmt"
	"slices"
	"strings"
)

// weight lists input 1 of a node as a layer's matrix. It returns the layer's tensors, its
// outputs, and the attribute transB: 1 if the tensor in the file is (out,in), 0 if it is
// (in,out).
func (c *onnxChain) weight(n *onnxNode, transB bool) (tensors map[string]string, out int, attributes map[string][]float64, err error) {
	v, err := c.constantInput(n, 1)
	if err != nil {
		return nil, 0, nil, err
	}
	if v == nil || len(v.tensor.Shape) != 2 {
		return nil, 0, nil, n.refuse("want a weight of 2 axes")
	}
	if slices.Equal(v.perm, []int{1, 0}) {
		transB = !transB
	}
	trans, out := 0.0, v.tensor.Shape[1]
	if transB {
		trans, out = 1, v.tensor.Shape[0]
	}
	return map[string]string{"weight": c.use(v.tensor)}, out, map[string][]float64{"transB": {trans}}, nil
}

// gemm follows a fully connected layer with its bias.
func (c *onnxChain) gemm(n *onnxNode) error {
	if err := c.vectors(n); err != nil {
		return err
	}
	if n.number("transA", 0) != 0 {
		return n.refuse("transA %v multiplies across pictures, want 0", n.number("transA", 0))
	}
	tensors, out, a, err := c.weight(n, n.number("transB", 0) != 0)
	if err != nil {
		return err
	}
	if tensors["weight"], err = c.multiplied(n, tensors["weight"], n.number("alpha", 1)); err != nil {
		return err
	}
	beta := n.number("beta", 1)
	bias := ""
	if beta != 0 {
		if bias, err = c.vector(n, 2, out); err != nil {
			return err
		}
	}
	if bias != "" {
		if tensors["bias"], err = c.multiplied(n, bias, beta); err != nil {
			return err
		}
	}
	c.connected(n, tensors, out, a)
	return nil
}

// multiplied lists a listed tensor times a number, and returns the name.
func (c *onnxChain) multiplied(n *onnxNode, name string, by float64) (string, error) {
	if by == 1 {
		return name, nil
	}
	t := c.entries[c.listed[name]]
	read := c.m.reader(&onnxTensor{entry: t})
	if read == nil {
		return "", n.refuse("%s: dtype %s times %g, want F32, F16, BF16 or F64", display(name), t.DType, by)
	}
	t.Name, t.DType = c.unused(name+".scaled"), "F32"
	t.read = func(start int, dst []float32) error {
		if err := read(start, dst); err != nil {
			return err
		}
		for i := range dst {
			dst[i] = float32(float64(dst[i]) * by)
		}
		return nil
	}
	return c.use(&onnxTensor{entry: t}), nil
}

// connected appends a fully connected layer.
func (c *onnxChain) connected(n *onnxNode, tensors map[string]string, out int, a map[string][]float64) {
	c.emit(n, "fc", tensors, a)
	c.shape = []int64{c.batch, int64(out)}
}

// matmul follows a fully connected layer without a bias, which an Add may give it.
func (c *onnxChain) matmul(n *onnxNode) error {
	if err := c.vectors(n); err != nil {
		return err
	}
	tensors, out, a, err := c.weight(n, false)
	if err != nil {
		return err
	}
	c.connected(n, tensors, out, a)
	return nil
}

// flattenAxis follows a Flatten.
func (c *onnxChain) flattenAxis(n *onnxNode) (same bool, err error) {
	if axis := n.number("axis", 1); axis != 1 && axis != 1-float64(c.rank) {
		return false, n.refuse("axis %v, want 1", axis)
	}
	return c.flatten(n), nil
}

// flatten joins all axes but the first. It reports whether the value is flat already.
func (c *onnxChain) flatten(n *onnxNode) (same bool) {
	if c.rank == 2 {
		return true
	}
	c.settle()
	c.emit(n, "flatten", nil, nil)
	c.rank = 2
	units := int64(-1)
	if len(c.shape) == 4 && min(c.shape[1], c.shape[2], c.shape[3]) > 0 && max(c.shape[1], c.shape[2], c.shape[3]) < 1<<20 {
		units = c.shape[1] * c.shape[2] * c.shape[3]
	}
	c.shape = []int64{c.batch, units}
	return false
}

// reshape follows a Reshape that flattens the value, makes a map of one pixel of it, or
// changes nothing. Any other is an error.
func (c *onnxChain) reshape(n *onnxNode) (same bool, err error) {
	target, err := c.target(n)
	if err != nil {
		return false, err
	}
	isBatch := func(b onnxDim) bool {
		return b.of == batch || b.of == known && (b.n == 0 || b.n == -1 || b.n == 1 && c.batch < 0 || b.n == c.batch)
	}
	is := func(i int, n int64) bool { return target[i].of == known && target[i].n == n }
	units := func(i int) bool {
		return target[i].of != known || target[i].n == -1 || c.units() < 0 || target[i].n == c.units()
	}
	switch {
	case len(target) == 2 && isBatch(target[0]) && (units(1) || is(1, 0) && c.rank == 2):
		return c.flatten(n), nil
	case len(target) == 4 && isBatch(target[0]) && is(2, 1) && is(3, 1) && units(1):
		return false, c.onePixel(n, []int64{2, 3})
	case len(target) == 4 && isBatch(target[0]) && is(1, 1) && is(2, 1) && units(3):
		return false, c.onePixel(n, []int64{1, 2})
	}
	var shape []any
	for _, d := range target {
		if d.of != known {
			shape = append(shape, "?")
		} else {
			shape = append(shape, d.n)
		}
	}
	of := ""
	if c.units() >= 0 {
		of = fmt.Sprintf(" of %d", c.units())
	}
	return false, n.refuse("reshapes to %v, want a flattening to (N, …)%s", shape, of)
}

// units returns the number of values of a picture, -1 if it isn't known.
func (c *onnxChain) units() int64 {
	if len(c.shape) < 2 {
		return -1
	}
	product := int64(1)
	for _, d := range c.shape[1:] {
		if d < 0 || d > 1<<20 {
			return -1
		}
		product *= d
	}
	return product
}

// onePixel makes a map of one pixel of units, with axes of length 1 at those places: 2 and 3
// in (N,C,H,W), 1 and 2 in (N,H,W,C).
func (c *onnxChain) onePixel(n *onnxNode, ones []int64) error {
	if c.rank != 2 && !(c.rank == 4 && len(c.shape) == 4 && c.shape[2] == 1 && c.shape[3] == 1) {
		return n.refuse("makes one pixel of a map, want it of a vector, or of a map of one pixel")
	}
	if !slices.ContainsFunc(c.layers, func(l Layer) bool { return l.Op == "flatten" || strings.HasPrefix(l.Op, "global") }) {
		return n.refuse("before a flattening or a global pooling")
	}
	c.perm, c.permName = nil, n.label()
	if slices.Equal(ones, []int64{1, 2}) {
		c.perm = []int{0, 2, 3, 1}
	}
	if c.rank == 2 {
		c.shape = []int64{c.batch, c.shape[1], 1, 1}
	}
	c.rank = 4
	return nil
}

// unsqueeze follows an Unsqueeze of a vector to a map of one pixel.
func (c *onnxChain) unsqueeze(n *onnxNode) error {
	axes, err := c.ints(n, "axes", 1)
	if err != nil {
		return err
	}
	at := slices.Clone(axes)
	for i, a := range at {
		if a < 0 {
			at[i] += 4
		}
	}
	slices.Sort(at)
	if c.rank != 2 || !slices.Equal(at, []int64{2, 3}) && !slices.Equal(at, []int64{1, 2}) {
		return n.refuse("axes %v, want the two of a map of one pixel", axes)
	}
	return c.onePixel(n, at)
}

// target returns the shape that a Reshape gives.
func (c *onnxChain) target(n *onnxNode) ([]onnxDim, error) {
	if len(n.inputs) < 2 || n.inputs[1] == "" {
		return nil, n.refuse("no shape to reshape to")
	}
	v := c.values[n.inputs[1]]
	if v.bad != nil {
		return nil, v.bad
	}
	if v.dims == nil || v.scalar {
		return nil, n.refuse("a shape that isn't known, want one made of constants and the input's batch")
	}
	return v.dims, nil
}

// squeeze follows a Squeeze of height and width, which must be 1: a flattening.
func (c *onnxChain) squeeze(n *onnxNode) (same bool, err error) {
	axes, err := c.ints(n, "axes", 1)
	if err != nil {
		return false, err
	}
	if c.spatial(axes) != nil {
		return false, n.refuse("squeezes axes %v, want the two of the image", axes)
	}
	if len(c.shape) == 4 && (c.shape[2] > 1 || c.shape[3] > 1) {
		return false, n.refuse("squeezes a map of %d×%d pixels, want one", c.shape[2], c.shape[3])
	}
	c.perm = nil // one pixel, in whatever order
	return c.flatten(n), nil
}

// ints returns the whole numbers of an attribute, which later opsets have as input i.
func (c *onnxChain) ints(n *onnxNode, attribute string, i int) ([]int64, error) {
	if a := n.attribute(attribute); a != nil {
		return a.ints, nil
	}
	if i >= len(n.inputs) || n.inputs[i] == "" {
		return nil, nil
	}
	v := c.values[n.inputs[i]]
	if v == nil { // made by a node that isn't followed yet
		return nil, n.refuse("%s: %s isn't a constant", attribute, display(n.inputs[i]))
	}
	if v.bad != nil {
		return nil, v.bad
	}
	var ints []int64
	for _, d := range v.dims {
		if d.of != known {
			return nil, n.refuse("%s depend on the input's shape", attribute)
		}
		ints = append(ints, d.n)
	}
	if v.dims == nil {
		return nil, n.refuse("%s: %s isn't a constant vector of whole numbers", attribute, display(n.inputs[i]))
	}
	return ints, nil
}

// permutation returns the node's perm over rank axes. Without one it reverses them.
func (n *onnxNode) permutation(rank int) ([]int, error) {
	var perm []int
	a := n.attribute("perm")
	for i := range rank {
		p := rank - 1 - i
		if a != nil {
			if len(a.ints) != rank || a.ints[i] < 0 || a.ints[i] >= int64(rank) {
				return nil, n.refuse("perm %v, want the %d axes in some order", a.ints, rank)
			}
			p = int(a.ints[i])
		}
		if slices.Contains(perm, p) {
			return nil, n.refuse("perm %v, want the %d axes in some order", a.ints, rank)
		}
		perm = append(perm, p)
	}
	return perm, nil
}

// composed returns the permutation that does before, then perm; nil for the identity.
func composed(before, perm []int) []int {
	out, same := make([]int, len(perm)), true
	for i, p := range perm {
		if out[i] = p; before != nil {
			out[i] = before[p]
		}
		same = same && out[i] == i
	}
	if same {
		return nil
	}
	return out
}

// transpose follows a Transpose, which it collects.
func (c *onnxChain) transpose(n *onnxNode) error {
	if c.rank == 0 {
		c.rank = 4
	}
	perm, err := n.permutation(c.rank)
	if err != nil {
		return err
	}
	if perm[0] != 0 {
		if slices.Equal(perm, []int{2, 3, 0, 1}) {
			return n.refuse("perm %v moves the batch, want it first: torch.onnx.export(dynamo=True) writes AdaptiveAvgPool2d((7, 7)) so, unless its map has 7×7 pixels already: export the model with an input of 224×224 pixels", perm)
		}
		return n.refuse("perm %v moves the batch, want it first", perm)
	}
	c.perm, c.permName = composed(c.perm, perm), n.label()
	return nil
}
