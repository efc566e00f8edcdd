package nn

// Field is the receptive field of a layer: the part of the input that a value of its output
// depends on. The value at row i and column j sees the Size×Size pixels whose upper left corner
// is at row Start+i·Stride and column Start+j·Stride. Pixels beyond the input are zeros.
type Field struct {
	Size   int `json:"size"`
	Stride int `json:"stride"`
	Start  int `json:"start"` // negative where layers before it have borders of zeros
	// Whole says that a value depends on the whole input, because a layer pools over all of
	// it; the others are then zero.
	Whole bool `json:"whole,omitempty"`
}

// Fields returns the receptive field of each layer, in the order of [Chain.Layers].
func (c *Chain) Fields() []Field {
	f := Field{Size: 1, Stride: 1}
	fields := make([]Field, 0, len(c.layers))
	for _, l := range c.layers {
		switch l := l.(type) {
		case *Conv:
			f.Size += (l.g.R - 1) * f.Stride
			f.Start -= l.g.Pad * f.Stride
		case *MaxPool:
			f.Size += f.Stride
			f.Stride *= 2
		case *AdaptivePool, *GlobalPool, *GlobalMaxAverage, *Flatten:
			f.Whole = true
		case *Euclidean:
			f.Whole = f.Whole || l.side > 1
		}
		if f.Whole {
			f = Field{Whole: true}
		}
		fields = append(fields, f)
	}
	return fields
}
