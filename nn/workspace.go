package nn

// FilterFloats is the most memory, in floats, that the transformed weights come to once
// images of many sizes have been through the chain: those of each size of Winograd's
// tiles that some image size commands, and those that have taken in a batch
// normalisation.
func (c *Chain) FilterFloats() int {
	// F(6×6,3×3) pays most where its tiles come out even, F(4×4,3×3) where only its do.
	const even6, even4 = 60, 64
	total := 0
	for i, l := range c.layers {
		conv, ok := l.(*Conv)
		if !ok {
			continue
		}
		if i+1 < len(c.layers) {
			if _, ok := conv.foldsInto(c.layers[i+1]); ok {
				total += conv.Weight.packed
			}
		}
		tiles := map[int]int{}
		for _, side := range []int{even6, even4, 8, 4} {
			if p, ok := conv.winograd(1, Shape{conv.g.C, side, side}, c.Threads(), false); ok {
				tiles[p.M] = p.FilterLen(conv.g)
			}
		}
		for _, n := range tiles {
			total += n
		}
	}
	return total
}

// WorkspaceFloats is the memory, in floats, of the buffers and scratch of a forward
// pass over n images of h × w: [Chain.InferenceFloats] without transformed weights.
func (c *Chain) WorkspaceFloats(n, h, w int) (int, error) {
	steps, shapes, err := c.inferring(n, h, w)
	if err != nil {
		return 0, err
	}
	lens, s, _ := inferenceLens(steps, shapes, n, c.Threads())
	return lens[0] + lens[1] + s.Floats(c.Threads()), nil
}

// Release lets go of the buffers kept for further passes.
func (c *Chain) Release() {
	c.mu.Lock()
	c.free = nil
	c.mu.Unlock()
}

// MACs counts the multiplications of the convolutions and fully connected layers for
// one image of h × w, whatever algorithm computes them.
func (c *Chain) MACs(h, w int) (int64, error) {
	shapes, err := c.Shapes(h, w)
	if err != nil {
		return 0, err
	}
	var total int64
	for i, l := range c.layers {
		if conv, ok := l.(*Conv); ok {
			total += int64(conv.Weight.Len()) * int64(shapes[i].H) * int64(shapes[i].W)
		}
	}
	return total, nil
}

// ParamBytes is the memory of the parameters, as they lie in it.
func (c *Chain) ParamBytes() int64 {
	var total int64
	for _, p := range c.Params() {
		size := int64(4)
		if p.format != 0 {
			size = 2
		}
		total += size * int64(p.packed)
	}
	return total
}
