package train

import (
	"context"
	"fmt"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/nn"
)

// ExchangeForm is what ranks exchange of their gradients.
type ExchangeForm int

const (
	// Sums exchanges gradients, and sums them over the ranks.
	Sums ExchangeForm = iota
	// Factored exchanges, of the gradients of fully connected layers, the factors whose product
	// they are where that moves less: the layer's inputs and the gradients of its outputs, for
	// all images of the batch. Every rank forms the whole batch's gradient of them. The bits
	// are those of Sums.
	Factored
	// Rounded exchanges gradients in bfloat16, 8 significant bits: that of each group, and the
	// sum over all, are rounded to nearest even. Groups are added in float32. The bits depend on
	// the number of groups, not on the ranks that share them.
	Rounded
)

var exchangeNames = [...]string{"float32", "factors", "bf16"}

// String returns the name in recipes.
func (e ExchangeForm) String() string {
	if e < 0 || int(e) >= len(exchangeNames) {
		return fmt.Sprintf("ExchangeForm(%d)", int(e))
	}
	return exchangeNames[e]
}

// MarshalText implements [encoding.TextMarshaler].
func (e ExchangeForm) MarshalText() ([]byte, error) {
	if e < 0 || int(e) >= len(exchangeNames) {
		return nil, fmt.Errorf("exchange: %d, want float32, factors or bf16", int(e))
	}
	return []byte(exchangeNames[e]), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (e *ExchangeForm) UnmarshalText(text []byte) error {
	for i, name := range exchangeNames {
		if string(text) == name {
			*e = ExchangeForm(i)
			return nil
		}
	}
	return fmt.Errorf("exchange: %q, want float32, factors or bf16", text)
}

// factors are the gradients that a rank exchanges as factors.
type factors struct {
	training *nn.Training
	of       map[*nn.Param]*nn.Factors
	order    []int // of the groups' sums, for [nn.Training.Multiply]
	groups   int
	share    func(rank int) comm.Span

	bounds []int // of the groups' images in this step's batch
}

// factorsMoveLess reports whether a rank receives less than half as much where a gradient of so
// many values is exchanged as rows of a batch of n images.
func factorsMoveLess(n, rowLen, values, ranks int) bool {
	return ranks > 1 && (n-n/ranks)*rowLen < values-values/ranks // of twice as many, slices and sums
}

// newFactors returns the factors of those of the parameters for which they pay, in batches of up
// to n images.
func newFactors(e ExchangeForm, chain *nn.Chain, training *nn.Training, params []*nn.Param, group comm.Group, tree comm.Tree, n int) *factors {
	f := &factors{training: training, of: map[*nn.Param]*nn.Factors{}, groups: int(tree)}
	f.share = func(rank int) comm.Span { return tree.Share(rank, group.Size()) }
	tree.Sum(comm.Span{Lo: 0, Hi: int(tree)}, func(i int) error { f.order = append(f.order, i); return nil },
		func() error { f.order = append(f.order, -1); return nil })
	if e != Factored || group.Size() == 1 {
		return f
	}
	for _, p := range params {
		if row, values := chain.FactorLens(p); factorsMoveLess(n, row, values, group.Size()) {
			f.of[p] = training.NewFactors(p, n)
		}
	}
	return f
}

// factorFloats is the memory of a rank's factors in floats: their rows, and the scratch in which
// those of one layer are sorted. spared is that of the gradients that aren't summed.
func factorFloats(e ExchangeForm, chain *nn.Chain, n, ranks int) (floats, spared int) {
	if e != Factored {
		return 0, 0
	}
	most := 0
	for _, p := range chain.Params() {
		if row, values := chain.FactorLens(p); factorsMoveLess(n, row, values, ranks) {
			floats += n * row
			most = max(most, n*row)
			spared += values
		}
	}
	return floats + most, spared
}

// has reports whether a parameter's gradient is exchanged as factors.
func (f *factors) has(p *nn.Param) bool { return f.of[p] != nil }

// begin is called before the backward passes of a step on n images.
func (f *factors) begin(n int) {
	f.bounds = f.bounds[:0]
	for g := range f.groups + 1 {
		f.bounds = append(f.bounds, g*n/f.groups)
	}
}

// gather brings the other ranks' rows of a parameter here.
func (f *factors) gather(ctx context.Context, group comm.Group, p *nn.Param) error {
	x := f.of[p]
	cuts := []int{0}
	for rank := range group.Size() {
		cuts = append(cuts, f.bounds[f.share(rank).Hi]*x.RowLen)
	}
	return group.AllGather(ctx, x.Rows, cuts)
}

// multiply sets a parameter's gradient to that of the whole batch.
func (f *factors) multiply(p *nn.Param) { f.training.Multiply(f.of[p], f.bounds, f.order) }
