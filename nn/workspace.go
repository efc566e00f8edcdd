package nn

// FilterFloats is the most memory, in floats, that transformed weights take once images of
// many sizes have been through the chain: a copy of the weights for each form of Winograd's
// algorithm that some image size requires, and one with the batch normalisation folded in.
func (c *Chain) FilterFloats() int {
	// F(6×6,3×3) pays most where whole tiles cover the map, F(4×4,3×3) where only its tiles do.
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
			if p, ok := conv.winograd(1, Shape{conv.g.C, side, side}, c.Threads(), false); ok && !conv.passing {
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
	threads := c.Threads()
	steps, shapes, err := c.inferenceSteps(n, h, w, threads)
	if err != nil {
		return 0, err
	}
	lens, s, _ := inferenceLens(steps, shapes, n, threads)
	return lens[0] + lens[1] + s.Floats(threads), nil
}

// Release frees the buffers that are kept for further passes.
func (c *Chain) Release() {
	c.mu.Lock()
	c.free = nil
	c.mu.Unlock()
}

// MACs counts the multiplications of the convolutions and fully connected layers for one
// image of h × w by the direct algorithm.
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

// ParamBytes is the memory of the parameters in bytes, in the format that they are stored
// in.
func (c *Chain) ParamBytes() int64 {
	var total int64
	for _, p := range c.Params() {
		size := int64(4)
		switch {
		case p.inFile:
			size = 0
		case p.format != 0:
			size = 2
		}
		total += size * int64(p.packed)
	}
	return total
}
