package weights

import "slices"

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
	if n.number("transA", 0) != 0 || n.number("alpha", 1) != 1 || n.number("beta", 1) != 1 {
		return n.refuse("transA %v, alpha %v, beta %v, want 0, 1, 1", n.number("transA", 0), n.number("alpha", 1), n.number("beta", 1))
	}
	tensors, out, a, err := c.weight(n, n.number("transB", 0) != 0)
	if err != nil {
		return err
	}
	bias, err := c.vector(n, 2, out)
	if err != nil {
		return err
	}
	if bias != "" {
		tensors["bias"] = bias
	}
	c.emit(n, "fc", tensors, a)
	return nil
}

// matmul follows a fully connected layer without a bias, which an Add may give it.
func (c *onnxChain) matmul(n *onnxNode) error {
	if err := c.vectors(n); err != nil {
		return err
	}
	tensors, _, a, err := c.weight(n, false)
	if err != nil {
		return err
	}
	c.emit(n, "fc", tensors, a)
	return nil
}

// add follows an Add that gives a convolution or a fully connected layer its bias.
func (c *onnxChain) add(n *onnxNode, chain int) error {
	v, err := c.constantInput(n, 1-chain)
	if err != nil {
		return err
	}
	if len(n.inputs) != 2 || v == nil || len(c.layers) == 0 {
		return n.refuse("want it to add a bias")
	}
	last := &c.layers[len(c.layers)-1]
	if last.Op != "conv" && last.Op != "fc" || last.Tensors["bias"] != "" {
		return n.refuse("adds to a layer that takes no bias (%s), want a convolution or a product of matrices before it", last.Op)
	}
	weight := c.entries[c.listed[last.Tensors["weight"]]]
	out, axis := weight.Shape[0], 1 // axis of the value that the bias is along
	if last.Op == "fc" && last.Attributes["transB"][0] == 0 {
		out = weight.Shape[1]
	}
	if c.perm != nil {
		axis = slices.Index(c.perm, 1)
	}
	rank := 2
	if last.Op == "conv" {
		rank = 4
	}
	shape := v.axes()
	if at := len(shape) - rank + axis; v.perm != nil || len(shape) > rank || at < 0 || at >= len(shape) || shape[at] != out {
		return n.refuse("adds a constant of shape %v, want a bias of %d channels on axis %d of %d", shape, out, axis, rank)
	}
	bias, err := c.vector(n, 1-chain, out)
	if err != nil {
		return err
	}
	last.Tensors["bias"] = bias
	return nil
}

// flatten joins all axes but the first. It reports whether the value is flat already.
func (c *onnxChain) flatten(n *onnxNode) (same bool) {
	if c.rank == 2 {
		return true
	}
	c.settle()
	c.emit(n, "flatten", nil, nil)
	c.rank = 2
	return false
}

// reshape follows a Reshape that flattens the value or changes nothing. Any other is an
// error.
func (c *onnxChain) reshape(n *onnxNode) (same bool, err error) {
	target, err := c.target(n)
	if err != nil {
		return false, err
	}
	if len(target) == 2 {
		b := target[0]
		if b.of == batch || b.of == known && (b.n == 0 || b.n == -1 || b.n == 1 || b.n == c.batch) {
			return c.flatten(n), nil
		}
	}
	var shape []any
	for _, d := range target {
		if d.of != known {
			shape = append(shape, "?")
		} else {
			shape = append(shape, d.n)
		}
	}
	return false, n.refuse("reshapes to %v, want a flattening to (N, …)", shape)
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
		return n.refuse("perm %v moves the batch, want it first", perm)
	}
	c.perm, c.permName = composed(c.perm, perm), n.label()
	return nil
}
