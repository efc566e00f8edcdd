package weights

import (
	"math"
	"slices"
)

// Exporters write some functions as several operators that branch and join. fuse replaces
// each such group by one node, so that a chain is left.

// onnxGroup matches groups of nodes.
type onnxGroup struct {
	c    *onnxChain
	made map[string]*onnxNode // by the outputs that nodes make from the layers' values
	uses map[string]int       // by name of a value
	// inner are the nodes of the group that is being matched, but the last.
	inner []*onnxNode
}

// onnxPatterns match a group by its last node and return the node that it is replaced by,
// nil if it is no such group.
var onnxPatterns = map[string][]func(g *onnxGroup, n *onnxNode) *onnxNode{
	"Mul":        {(*onnxGroup).gelu, (*onnxGroup).swish, (*onnxGroup).integerProduct, (*onnxGroup).euclidean},
	"Div":        {(*onnxGroup).euclidean, (*onnxGroup).gelu, (*onnxGroup).softmax},
	"Concat":     {(*onnxGroup).twoClasses, (*onnxGroup).twoPools},
	"ReduceMean": {(*onnxGroup).twoSteps},
	"ReduceMax":  {(*onnxGroup).twoSteps},
	"Squeeze":    {(*onnxGroup).twoSteps},
	"Unsqueeze":  {(*onnxGroup).twoSteps},
	"Max":        {(*onnxGroup).leaky},
}

// fuse replaces the groups among the nodes that follow the graph's input.
func (c *onnxChain) fuse(nodes []*onnxNode) []*onnxNode {
	g := &onnxGroup{c: c, made: map[string]*onnxNode{}, uses: map[string]int{}}
	for _, n := range nodes {
		for _, in := range n.inputs {
			g.uses[in]++
		}
		for _, out := range n.outputs {
			g.made[out] = n
		}
	}
	for _, out := range c.m.graph.outputs {
		g.uses[out.name]++
	}
	gone := map[*onnxNode]bool{}
	for i, n := range nodes {
		for _, pattern := range onnxPatterns[n.op] {
			g.inner = nil
			by := pattern(g, n)
			if by == nil || !g.closed(n) {
				continue
			}
			by.name, by.outputs = n.name, n.outputs
			for _, in := range by.inputs {
				g.uses[in]++
			}
			for _, m := range append(g.inner, n) {
				gone[m] = gone[m] || m != n
				for _, in := range m.inputs {
					g.uses[in]--
				}
			}
			nodes[i], g.made[n.outputs[0]] = by, by
			break
		}
	}
	return slices.DeleteFunc(nodes, func(n *onnxNode) bool {
		idle := n.op == "DynamicQuantizeLinear" && !slices.ContainsFunc(n.outputs, func(out string) bool { return g.uses[out] > 0 })
		return gone[n] || idle
	})
}

// closed reports whether nothing but the group takes what its inner nodes make.
func (g *onnxGroup) closed(last *onnxNode) bool {
	within := map[string]int{}
	for _, m := range append(g.inner, last) {
		for _, in := range m.inputs {
			within[in]++
		}
	}
	for _, m := range g.inner {
		for _, out := range m.outputs {
			if g.uses[out] != within[out] {
				return false
			}
		}
	}
	return true
}

// by returns the node that makes a value, if it is one of these operators, and adds it to
// the group.
func (g *onnxGroup) by(value string, ops ...string) *onnxNode {
	n := g.made[value]
	if n == nil || n.foreign() || !slices.Contains(ops, n.op) || len(n.inputs) == 0 {
		return nil
	}
	if !slices.Contains(g.inner, n) {
		g.inner = append(g.inner, n)
	}
	return n
}

// with returns the node's other input, if one of its two is a constant of one number.
func (g *onnxGroup) with(n *onnxNode) (x string, k float64, ok bool) {
	if n == nil || len(n.inputs) != 2 {
		return "", 0, false
	}
	for i, in := range n.inputs {
		if k, ok := g.c.scalar(in); ok && (i == 1 || n.op != "Div" && n.op != "Sub" && n.op != "Pow") {
			return n.inputs[1-i], k, true
		}
	}
	return "", 0, false
}

// scaled returns the value that a product of it with a number is of, and the number; the
// value itself and 1 if it is no product.
func (g *onnxGroup) scaled(value string) (x string, k float64) {
	kept := len(g.inner)
	n := g.by(value, "Mul", "Div")
	x, k, ok := g.with(n)
	switch {
	case !ok:
		g.inner = g.inner[:kept]
		return value, 1
	case n.op == "Div":
		return x, 1 / k
	}
	return x, k
}

func near(x, want, tolerance float64) bool { return math.Abs(x-want) <= tolerance*math.Abs(want) }

// product returns the factors of a product: numbers as one, and the others.
func (g *onnxGroup) product(n *onnxNode, depth int) (k float64, factors []string) {
	k = 1
	for i, in := range n.inputs {
		number, ok := g.c.scalar(in)
		switch {
		case ok && n.op == "Div" && i == 1:
			k /= number
		case ok:
			k *= number
		default:
			before := len(g.inner)
			if m := g.by(in, "Mul", "Div"); m != nil && depth < 3 && (m.op == "Mul" || g.isScalar(m.inputs[len(m.inputs)-1])) && g.uses[in] == 1 {
				l, more := g.product(m, depth+1)
				k *= l
				factors = append(factors, more...)
			} else {
				g.inner = g.inner[:before]
				factors = append(factors, in)
			}
		}
	}
	return k, factors
}

func (g *onnxGroup) isScalar(name string) bool {
	_, ok := g.c.scalar(name)
	return ok
}

// gelu matches x·(1 + erf(x/√2))/2, and its approximation by tanh.
func (g *onnxGroup) gelu(n *onnxNode) *onnxNode {
	if n.op == "Div" && !g.isScalar(n.inputs[len(n.inputs)-1]) {
		return nil
	}
	k, factors := g.product(n, 0)
	if len(factors) != 2 {
		return nil
	}
	for i, f := range factors {
		inner := g.inner
		x := factors[1-i]
		if g.isErfc(f, x) && near(k, 0.5, 1e-5) {
			return &onnxNode{op: "Gelu", inputs: []string{x}}
		}
		g.inner = inner
		sum := g.by(f, "Add")
		of, one, ok := g.with(sum)
		if !ok {
			g.inner = inner
			continue
		}
		if erf := g.by(of, "Erf"); erf != nil {
			of, root := g.scaled(erf.inputs[0])
			if of == x && near(root, math.Sqrt2/2, 1e-4) && near(k*one, 0.5, 1e-5) && near(one, 1, 1e-5) {
				return &onnxNode{op: "Gelu", inputs: []string{x}}
			}
		} else if tanh := g.by(of, "Tanh"); tanh != nil && near(k*one, 0.5, 1e-5) && g.between(x, tanh.inputs[0], 8) {
			return &onnxNode{op: "Gelu", inputs: []string{x}, attributes: []onnxAttribute{{name: "approximate", text: "tanh"}}}
		}
		g.inner = inner
	}
	return nil
}

// isErfc tells whether a value is erfc(−x/√2), 1 + erf(x/√2), in the operator that tf2onnx
// takes from TensorFlow and ONNX doesn't have.
func (g *onnxGroup) isErfc(value, x string) bool {
	erfc := g.by(value, "Erfc")
	if erfc == nil {
		return false
	}
	of, root := g.scaled(erfc.inputs[0])
	if neg := g.by(of, "Neg"); neg != nil {
		of, root = neg.inputs[0], -root
	}
	return of == x && near(root, -math.Sqrt2/2, 1e-4)
}

// between adds the nodes between two values, at most so many, and reports whether no other
// value is taken.
func (g *onnxGroup) between(from, to string, most int) bool {
	if to == from || g.made[to] == nil && g.c.values[to] != nil {
		return true
	}
	n := g.made[to]
	if n == nil || most == 0 {
		return false
	}
	if slices.Contains(g.inner, n) {
		return true
	}
	g.inner = append(g.inner, n)
	for _, in := range n.inputs {
		if !g.between(from, in, most-1) {
			return false
		}
	}
	return true
}

// swish matches x·σ(x), and functions of the same form that aren't followed.
func (g *onnxGroup) swish(n *onnxNode) *onnxNode {
	if len(n.inputs) != 2 {
		return nil
	}
	for i, in := range n.inputs {
		g.inner = nil
		x := n.inputs[1-i]
		s := g.by(in, "Sigmoid", "HardSigmoid", "Tanh")
		if s == nil {
			continue
		}
		of := s.inputs[0]
		switch {
		case s.op == "Tanh":
			if p := g.by(of, "Softplus"); p != nil && p.inputs[0] == x {
				return &onnxNode{op: "Mish", inputs: []string{x}}
			}
		case of == x && s.op == "Sigmoid":
			return &onnxNode{op: "Swish", inputs: []string{x}}
		case of == x:
			return &onnxNode{op: "HardSwish", inputs: []string{x}}
		default:
			if scaled, k := g.scaled(of); scaled == x && s.op == "Sigmoid" {
				return &onnxNode{op: "Swish", inputs: []string{x}, attributes: []onnxAttribute{{name: "alpha", numbers: []float64{k}}}}
			}
		}
	}
	return nil
}

// leaky matches max(x, a·x).
func (g *onnxGroup) leaky(n *onnxNode) *onnxNode {
	if len(n.inputs) != 2 {
		return nil
	}
	for i, in := range n.inputs {
		g.inner = nil
		if x, k := g.scaled(in); x == n.inputs[1-i] && k >= 0 && k <= 1 && in != x {
			return &onnxNode{op: "LeakyRelu", inputs: []string{x}, attributes: []onnxAttribute{{name: "alpha", numbers: []float64{k}}}}
		}
	}
	return nil
}

// leastNorm is the largest number that a divisor is kept from falling below, or that is
// added to it: under a norm that any picture gives, it changes nothing.
const leastNorm = 2e-6

// euclidean matches x divided by its Euclidean norm, or multiplied by the inverse, with
// numbers that keep the norm from being 0.
func (g *onnxGroup) euclidean(n *onnxNode) *onnxNode {
	if len(n.inputs) != 2 {
		return nil
	}
	for i, in := range n.inputs {
		if n.op == "Div" && i == 0 {
			continue
		}
		g.inner = nil
		x, norm := n.inputs[1-i], in
		most := math.Inf(1) // of the inverse
		if n.op == "Mul" {
			if bound := g.by(norm, "Min"); bound != nil {
				of, k, ok := g.with(bound)
				if !ok {
					continue
				}
				norm, most = of, k
			}
			inverse := g.by(norm, "Reciprocal")
			if inverse == nil {
				continue
			}
			norm = inverse.inputs[0]
		}
		if axes, least, ok := g.norm(norm, x); ok && max(least, 1/most) <= leastNorm {
			return &onnxNode{op: "LpNormalization", inputs: []string{x}, attributes: []onnxAttribute{{name: "axes", ints: axes}}}
		}
	}
	return nil
}

// norm matches the Euclidean norm of x over axes. It is at least the returned number.
func (g *onnxGroup) norm(value, x string) (axes []int64, least float64, ok bool) {
	value, least, ok = g.bounded(value)
	if !ok {
		return nil, 0, false
	}
	sum := g.by(value, "ReduceL2")
	if sum == nil {
		root := g.by(value, "Sqrt")
		if root == nil {
			return nil, 0, false
		}
		inside, square, ok := g.bounded(root.inputs[0])
		if !ok {
			return nil, 0, false
		}
		least = max(least, math.Sqrt(square))
		if sum = g.by(inside, "ReduceSumSquare"); sum == nil {
			if sum = g.by(inside, "ReduceSum"); sum == nil || !g.isSquare(sum.inputs[0], x) {
				return nil, 0, false
			}
			x = sum.inputs[0]
		}
	}
	if sum.inputs[0] != x || sum.number("keepdims", 1) == 0 {
		return nil, 0, false
	}
	axes, err := g.c.ints(sum, "axes", 1)
	return axes, least, err == nil
}

// isSquare tells whether a value is x².
func (g *onnxGroup) isSquare(value, x string) bool {
	m := g.by(value, "Mul", "Pow")
	if m == nil || len(m.inputs) != 2 || m.inputs[0] != x {
		return false
	}
	k, ok := g.c.scalar(m.inputs[1])
	return m.op == "Mul" && m.inputs[1] == x || m.op == "Pow" && ok && k == 2
}

// bounded removes what keeps a value from being 0: a bound from below, a small number that
// is added. It removes an Expand, too, which gives all axes their lengths.
func (g *onnxGroup) bounded(value string) (of string, least float64, ok bool) {
	for range 4 {
		if n := g.by(value, "Expand"); n != nil {
			value = n.inputs[0]
			continue
		}
		if n := g.by(value, "Clip"); n != nil {
			low, high := g.c.bounds(n)
			if !math.IsInf(high, 1) {
				return "", 0, false
			}
			value, least = n.inputs[0], max(least, low)
			continue
		}
		if n := g.by(value, "Max", "Add"); n != nil {
			x, k, ok := g.with(n)
			if !ok || k < 0 {
				return "", 0, false
			}
			value, least = x, max(least, k)
			continue
		}
		break
	}
	return value, least, true
}

// bounds returns the two bounds of a Clip.
func (c *onnxChain) bounds(n *onnxNode) (low, high float64) {
	low, high = n.number("min", math.Inf(-1)), n.number("max", math.Inf(1))
	for i, to := range []*float64{&low, &high} {
		if i+1 < len(n.inputs) && n.inputs[i+1] != "" {
			k, ok := c.scalar(n.inputs[i+1])
			if !ok {
				k = math.NaN()
			}
			*to = k
		}
	}
	return low, high
}

// softmax matches exp(x − max x) divided by its sum.
func (g *onnxGroup) softmax(n *onnxNode) *onnxNode {
	if len(n.inputs) != 2 {
		return nil
	}
	e, sum := g.by(n.inputs[0], "Exp"), g.by(n.inputs[1], "ReduceSum")
	if e == nil || sum == nil || sum.inputs[0] != n.inputs[0] || sum.number("keepdims", 1) == 0 {
		return nil
	}
	x := e.inputs[0]
	if shifted := g.by(x, "Sub"); shifted != nil && len(shifted.inputs) == 2 {
		largest := g.by(shifted.inputs[1], "ReduceMax")
		if largest == nil || largest.inputs[0] != shifted.inputs[0] || largest.number("keepdims", 1) == 0 {
			return nil
		}
		x = shifted.inputs[0]
	}
	axes, err := g.c.ints(sum, "axes", 1)
	if err != nil || len(axes) != 1 {
		return nil
	}
	return &onnxNode{op: "Softmax", inputs: []string{x}, attributes: []onnxAttribute{{name: "axis", numbers: []float64{float64(axes[0])}}, {name: "one", numbers: []float64{1}}}}
}

// twoClasses matches the scores 0 and x of two classes, which this library writes, and the
// probabilities 1 − x and x.
func (g *onnxGroup) twoClasses(n *onnxNode) *onnxNode {
	if len(n.inputs) != 2 {
		return nil
	}
	x := n.inputs[1]
	zero := g.by(n.inputs[0], "Sub")
	if zero == nil || len(zero.inputs) != 2 || zero.inputs[1] != x {
		return nil
	}
	axis := onnxAttribute{name: "axis", numbers: n.numbers("axis", 1)}
	if one, ok := g.c.scalar(zero.inputs[0]); ok && one == 1 {
		return &onnxNode{op: "TwoClasses", inputs: []string{x}, attributes: []onnxAttribute{axis, {name: "probabilities", numbers: []float64{1}}}}
	}
	if zero.inputs[0] == x {
		return &onnxNode{op: "TwoClasses", inputs: []string{x}, attributes: []onnxAttribute{axis}}
	}
	return nil
}

// twoPools matches the maximum and the mean of each channel over the map, one after the
// other.
func (g *onnxGroup) twoPools(n *onnxNode) *onnxNode {
	if len(n.inputs) != 2 {
		return nil
	}
	flat := 0.0
	var of [2]string
	for i, in := range n.inputs {
		if f := g.by(in, "Flatten"); f != nil && f.number("axis", 1) == 1 {
			in = f.inputs[0]
			flat++
		}
		pool := g.by(in, []string{"GlobalMaxPool", "GlobalAveragePool"}[i])
		if pool == nil {
			return nil
		}
		of[i] = pool.inputs[0]
	}
	if axis := n.number("axis", 1); of[0] != of[1] || flat == 1 || axis != 1 && axis != flat-3 && !(flat == 2 && axis == -1) {
		return nil
	}
	return &onnxNode{op: "MaxAveragePool", inputs: of[:1], attributes: []onnxAttribute{{name: "flat", numbers: []float64{flat}}}}
}

// twoSteps matches two reductions, Squeeze or Unsqueeze in a row, of one axis each.
func (g *onnxGroup) twoSteps(n *onnxNode) *onnxNode {
	first := g.by(n.inputs[0], n.op)
	if first == nil {
		return nil
	}
	a, err := g.c.ints(first, "axes", 1)
	b, err2 := g.c.ints(n, "axes", 1)
	keep := first.number("keepdims", 1)
	if err != nil || err2 != nil || len(a) != 1 || len(b) != 1 || n.number("keepdims", 1) != keep {
		return nil
	}
	// Axes of the value before both are counted from the front, of 4 in all.
	const rank = 4
	i, j, left := a[0], b[0], int64(rank)
	if n.op == "Unsqueeze" {
		// From 2 axes to 4: the second tells its place in the result, the first one before it.
		if i < 0 {
			i += rank - 1
		}
		if j < 0 {
			j += rank
		}
		if i >= j {
			i++
		}
		return &onnxNode{op: n.op, inputs: first.inputs[:1], attributes: []onnxAttribute{{name: "axes", ints: []int64{min(i, j), max(i, j)}}}}
	}
	if i < 0 {
		i += rank
	}
	if n.op == "Squeeze" || keep == 0 {
		left--
	}
	if j < 0 {
		j += left
	}
	if left < rank && j >= i {
		j++
	}
	return &onnxNode{op: n.op, inputs: first.inputs[:1], attributes: []onnxAttribute{{name: "axes", ints: []int64{min(i, j), max(i, j)}}, {name: "keepdims", numbers: []float64{keep}}}}
}

// integerProduct matches a convolution or a product of matrices on values that
// DynamicQuantizeLinear quantised, brought back to numbers.
func (g *onnxGroup) integerProduct(n *onnxNode) *onnxNode {
	if len(n.inputs) != 2 {
		return nil
	}
	for i, in := range n.inputs {
		g.inner = nil
		cast := g.by(in, "Cast")
		if cast == nil {
			continue
		}
		product := g.by(cast.inputs[0], "MatMulInteger", "ConvInteger")
		scales := g.by(n.inputs[1-i], "Mul")
		if product == nil || scales == nil || len(product.inputs) < 3 || len(scales.inputs) != 2 {
			continue
		}
		dynamic := g.made[product.inputs[0]]
		if dynamic == nil || dynamic.op != "DynamicQuantizeLinear" || len(dynamic.outputs) != 3 || product.inputs[0] != dynamic.outputs[0] || product.inputs[2] != dynamic.outputs[2] {
			continue
		}
		at := slices.Index(scales.inputs, dynamic.outputs[1])
		if at < 0 {
			continue
		}
		return g.floatProduct(product, dynamic.inputs[0], scales.inputs[1-at])
	}
	return nil
}

// floatProduct returns the node that multiplies x by the weight of product, a
// MatMulInteger or a ConvInteger, in that scale.
func (g *onnxGroup) floatProduct(product *onnxNode, x, scale string) *onnxNode {
	inputs := []string{product.inputs[1], scale}
	if len(product.inputs) > 3 {
		inputs = append(inputs, product.inputs[3])
	}
	axis := 0.0
	op := "Conv"
	if product.op == "MatMulInteger" {
		op, axis = "MatMul", 1
	}
	name := g.c.unused(product.inputs[1] + ".float")
	whole := &onnxNode{name: product.name, op: "DequantizeLinear", inputs: inputs, outputs: []string{name}, attributes: []onnxAttribute{{name: "axis", numbers: []float64{axis}}}}
	v := g.c.constant(whole)
	g.c.values[name] = v
	g.c.dynamic++
	return &onnxNode{op: op, inputs: []string{x, name}, attributes: product.attributes}
}
