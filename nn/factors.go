package nn

import "github.com/verydeep/vgg/internal/kernel"

// Factors is the gradient of a fully connected layer's weights as the two factors whose product
// it is: of every image of a batch, the layer's input and the gradient of its output. They are
// far smaller than the product, so ranks may exchange them instead.
type Factors struct {
	// Rows holds a row of RowLen values for every image, by its place in the batch.
	Rows   []float32
	RowLen int

	param *Param
	g     kernel.Conv
}

// factored returns the fully connected layer of which p is the learnt weight and has a gradient
// that is such a product; nil if there is none.
func (c *Chain) factored(p *Param) *Conv {
	for _, l := range c.layers {
		if conv, ok := l.(*Conv); ok && conv.Weight == p && conv.connected() && p.Learnt() && conv.g.FactorLen() > 0 {
			return conv
		}
	}
	return nil
}

// FactorLens returns the length of a row of a parameter's factors and that of its gradient, in
// floats; 0 if it has no factors.
func (c *Chain) FactorLens(p *Param) (row, gradient int) {
	if l := c.factored(p); l != nil {
		return l.g.FactorLen(), p.packed
	}
	return 0, 0
}

// NewFactors returns the factors of batches of up to n images; nil if p has none.
func (t *Training) NewFactors(p *Param, n int) *Factors {
	l := t.chain.factored(p)
	if l == nil {
		return nil
	}
	length := l.g.FactorLen()
	return &Factors{Rows: kernel.Alloc(n * length), RowLen: length, param: p, g: l.g}
}

// Param is the weights.
func (f *Factors) Param() *Param { return f.param }

// add writes the rows of images from the given place on.
func (f *Factors) add(w *kernel.Work, x, dy *kernel.Act, image int) {
	w.FCFactors(f.g, x, dy, f.Rows[image*f.RowLen:])
}

// Multiply sets the gradient of the weights to the product of the rows. Group i of the batch has
// the images bounds[i] … bounds[i+1]−1, whose terms are added in order. order says how groups'
// sums are added: i stands for group i, −1 for adding the last sum to the one before it. The
// result has the bits of gradients that [Training.Step] computes of each group and are then
// added so.
func (t *Training) Multiply(f *Factors, bounds, order []int) {
	t.work.FCGradient(f.g, f.Rows, bounds, order, f.param.Grad)
}
