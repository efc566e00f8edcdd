package train

import (
	"context"
	"slices"
	"time"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/nn"
)

// exchange sums a rank's gradients over all ranks, parameter after parameter, while the
// backward pass of the rank's last group goes on; small ones are put together, as each sum costs
// the network's latency. Of some, it brings the factors of all ranks here; their products are
// formed when the backward pass has ended. The order is that in which they become complete, the
// last layer's first: the fully connected ones, most of a network, then have the whole backward
// pass of the convolutions to hide behind. It is the same on all ranks.
type exchange struct {
	comm   comm.Group
	tree   comm.Tree
	sums   *sums
	order  []int             // parameters by their places in sums.params
	place  map[*nn.Param]int // in sums.params
	folds  int               // of sums, after the last leaf of the rank's share
	round  bool              // gradients travel in bfloat16
	small  []int             // parameters that wait for enough to be summed together
	packed [][]float32       // their gradients
	*factors

	sent  []bool   // parameters that are known to be complete
	ready chan int // nil outside the last group of a step
	ended chan error
	come  chan *nn.Param // parameters whose factors are those of all ranks
	cause error          // why the rank can't go on; read when ready is closed

	busy   time.Duration // in the step's all-reduces, with waiting for other ranks
	waited time.Duration // after the backward pass, until they were done
}

// newExchange returns the exchange of a rank's sums.
func newExchange(form ExchangeForm, group comm.Group, tree comm.Tree, s *sums, f *factors) *exchange {
	x := &exchange{comm: group, tree: tree, sums: s, factors: f, round: form == Rounded, place: map[*nn.Param]int{}, sent: make([]bool, len(s.params))}
	for i, p := range s.params {
		x.order = append(x.order, i)
		x.place[p] = i
	}
	slices.Reverse(x.order)
	tree.Sum(tree.Share(group.Rank(), group.Size()), func(int) error { x.folds = 0; return nil }, func() error { x.folds++; return nil })
	return x
}

// begin starts summing, before the backward pass of the rank's last group, whose sum is on the
// stack.
func (x *exchange) begin(ctx context.Context) {
	clear(x.sent)
	x.small = x.small[:0]
	x.busy, x.waited, x.cause = 0, 0, nil
	x.ready, x.ended, x.come = make(chan int, len(x.sent)), make(chan error, 1), make(chan *nn.Param, len(x.sent))
	parts := make([][][]float32, len(x.sent))
	for i := range parts {
		parts[i] = x.sums.grads(i)
	}
	go func(ready <-chan int, come chan<- *nn.Param, ended chan<- error) {
		err := x.run(ctx, ready, come, parts)
		close(come)
		ended <- err
	}(x.ready, x.come, x.ended)
}

// spent is the time of the last step's exchange.
func (x *exchange) spent() ExchangeTime { return ExchangeTime{x.busy.Seconds(), x.waited.Seconds()} }

// exchanged is the time of the last step's exchange.
func (s *stepper) exchanged() ExchangeTime {
	if s.device != nil {
		t := s.device.Times()
		return ExchangeTime{t.Exchange.Seconds(), t.ExchangeWaited.Seconds()}
	}
	return s.ranks[0].exchange.spent()
}

// begun tells that the sums' gradients are the exchange's.
func (x *exchange) begun() bool { return x.ready != nil }

// complete tells that the gradient of a parameter is complete, for [nn.Pass].
func (x *exchange) complete(p *nn.Param) {
	i := x.place[p]
	x.sent[i] = true
	x.ready <- i
}

// end waits until all gradients are summed, in the first sum; err is why the rank can't go on.
func (x *exchange) end(err error) error {
	if !x.begun() {
		if err != nil {
			x.comm.Abort(err) // otherwise the others would wait for this rank
		}
		return err
	}
	x.cause = err
	for _, i := range x.order {
		if err == nil && !x.sent[i] { // of a group without images
			x.ready <- i
		}
	}
	close(x.ready)
	x.ready = nil
	from, multiplied := time.Now(), time.Duration(0)
	for p := range x.come {
		if err == nil {
			began := time.Now()
			x.multiply(p)
			multiplied += time.Since(began)
		}
	}
	ended := <-x.ended
	x.waited = time.Since(from) - multiplied
	if err != nil {
		return err
	}
	return ended
}

// run sums the gradients in order, as soon as they are complete.
func (x *exchange) run(ctx context.Context, ready <-chan int, come chan<- *nn.Param, parts [][][]float32) error {
	complete := make([]bool, len(parts))
	for _, i := range x.order {
		for !complete[i] {
			j, ok := <-ready
			if !ok {
				x.comm.Abort(x.cause)
				return x.cause
			}
			complete[j] = true
		}
		p := x.sums.params[i]
		if !x.has(p) {
			if err := x.sum(ctx, i, parts); err != nil {
				return err
			}
			continue
		}
		from := time.Now()
		err := x.gather(ctx, x.comm, p)
		x.busy += time.Since(from)
		if err != nil {
			return err
		}
		come <- p
	}
	return x.flush(ctx, parts)
}

// bundle is the number of values that small parameters are summed together for: 64 KiB, which
// take about as long to move as a message takes to start. All biases of D are 13416.
const bundle = 1 << 14

// sum sums the gradients of parameter i, or leaves them for the next flush.
func (x *exchange) sum(ctx context.Context, i int, parts [][][]float32) error {
	if x.round {
		x.sums.round(parts[i][len(parts[i])-1])
	}
	for range x.folds {
		last := len(parts[i]) - 1
		x.sums.add(parts[i][last-1], parts[i][last])
		parts[i] = parts[i][:last]
	}
	if len(parts[i][0]) >= bundle || x.comm.Size() == 1 {
		return x.reduce(ctx, parts[i])
	}
	x.small = append(x.small, i)
	n := 0
	for _, i := range x.small {
		n += len(parts[i][0])
	}
	if n < bundle {
		return nil
	}
	return x.flush(ctx, parts)
}

// flush sums the small parameters' gradients, packed one after the other.
func (x *exchange) flush(ctx context.Context, parts [][][]float32) error {
	if len(x.small) == 0 {
		return nil
	}
	if n := len(parts[x.small[0]]); len(x.packed) != n { // the same in every step
		x.packed = make([][]float32, n)
	}
	for k := range x.packed {
		x.packed[k] = x.packed[k][:0]
		for _, i := range x.small {
			x.packed[k] = append(x.packed[k], parts[i][k]...)
		}
	}
	if err := x.reduce(ctx, x.packed); err != nil {
		return err
	}
	rest := x.packed[0]
	for _, i := range x.small {
		rest = rest[copy(parts[i][0], rest):]
	}
	x.small = x.small[:0]
	return nil
}

// reduce sums the parts over all ranks, into the first.
func (x *exchange) reduce(ctx context.Context, parts [][]float32) error {
	from := time.Now()
	all := x.comm.AllReduce
	if x.round {
		all = x.comm.AllReduceBF16
	}
	err := all(ctx, x.tree, parts)
	x.busy += time.Since(from)
	return err
}
