package nn

import (
	"fmt"
	"slices"
)

// Front returns the number of layers at the beginning whose output depends on the image alone,
// in any iteration of training: those before the first learnt parameter or dropout.
func (c *Chain) Front() int {
	n := c.firstLearnt()
	if i := slices.IndexFunc(c.layers[:n], func(l Layer) bool { _, ok := l.(*Dropout); return ok }); i >= 0 {
		return i
	}
	return n
}

// Split returns the chain of the first n layers, that of the others, and the shape between
// them for an input of h × w. Both chains share c's parameters and have its threads. It is an
// error if one of them has no layers, or if c can't run on such an input.
func (c *Chain) Split(n, h, w int) (front, rest *Chain, between Shape, err error) {
	if n < 1 || n >= len(c.layers) {
		return nil, nil, between, fmt.Errorf("nn: a chain of %d layers split after %d, want 1 to %d", len(c.layers), n, len(c.layers)-1)
	}
	shapes, err := c.Shapes(h, w)
	if err != nil {
		return nil, nil, between, err
	}
	between = shapes[n-1]
	return c.derived(c.in, c.layers[:n:n]), c.derived(between.C, c.layers[n:]), between, nil
}

// Stages returns chains that follow one another: the first has c's input, the next ones the
// output before them, and each ends with the rectified activation of one of the layers, as
// [Chain.Until] does. order says of which: stages[i] ends with layers[order[i]]. Outputs are, to
// the bit, those of Until. The stages share c's parameters and have its threads. They are not for
// training. It is an error if a layer is unknown or named twice, or if c can't run on an input of
// h × w.
func (c *Chain) Stages(h, w int, layers ...string) (stages []*Chain, order []int, err error) {
	shapes, err := c.Shapes(h, w)
	if err != nil {
		return nil, nil, err
	}
	ends := make([]int, len(layers))
	for k, name := range layers {
		i, err := c.find(name)
		if err != nil {
			return nil, nil, err
		}
		if slices.Contains(layers[:k], name) {
			return nil, nil, fmt.Errorf("nn: layer %q twice, want each once", name)
		}
		ends[k], order = c.end(i), append(order, k)
	}
	slices.SortFunc(order, func(a, b int) int { return ends[a] - ends[b] })
	from, channels := 0, c.in
	for _, k := range order {
		to := ends[k] + 1
		stages = append(stages, c.derived(channels, c.layers[from:to:to]))
		from, channels = to, shapes[to-1].C
	}
	return stages, order, nil
}
