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

// NewFactors returns the factors of batches of up to n images; nil if p isn't the learnt weight
// of a fully connected layer whose gradient is such a product.
func (t *Training) NewFactors(p *Param, n int) *Factors {
	for _, l := range t.chain.layers {
		conv, ok := l.(*Conv)
		if !ok || conv.Weight != p || !conv.connected() || !p.Learnt() || conv.g.FactorLen() == 0 {
			continue
		}
		length := conv.g.FactorLen()
		return &Factors{Rows: kernel.Alloc(n * length), RowLen: length, param: p, g: conv.g}
	}
	return nil
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
