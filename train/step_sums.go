package train

import (
	"github.com/verydeep/vgg/internal/bfloat16"
	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/nn"
)

// sums is the stack of a rank's sums over groups, and the buffers for further ones. The
// parameters' gradients are those of the last sum.
type sums struct {
	params   []*nn.Param
	factored func(*nn.Param) bool // has no sum, but one gradient, which is formed of all groups
	statsLen int                  // of a groupSum
	team     *kernel.Team
	stack    []*groupSum
	unused   []*groupSum
	task     addTask
	rounding roundTask
}

// groupSum is the sum over one or more groups.
type groupSum struct {
	grads [][]float32 // of every learnt parameter, packed
	stats []float64   // the loss, the ranks that are to stop, then the running statistics
}

// Places in groupSum.stats.
const (
	lossStat = iota
	stopStat
	runningStats // and following
)

// newSums returns empty sums for an optimiser's parameters and a number of statistics.
func newSums(sgd *nn.SGD, factored func(*nn.Param) bool, statistics, threads int) sums {
	return sums{params: sgd.Params(), factored: factored, statsLen: runningStats + statistics, team: kernel.NewTeam(threads)}
}

// push begins a new sum, whose gradients become the parameters'.
func (s *sums) push() *groupSum {
	var g *groupSum
	if n := len(s.unused); n > 0 {
		g, s.unused = s.unused[n-1], s.unused[:n-1]
		clear(g.stats)
	} else {
		g = &groupSum{stats: make([]float64, s.statsLen)}
		for _, p := range s.params {
			// The first sum uses the buffers that the parameters have.
			grad := p.Grad
			if grad == nil || len(s.stack) > 0 && !s.factored(p) {
				grad = kernel.Alloc(len(p.Value))
			}
			g.grads = append(g.grads, grad)
		}
	}
	for i, p := range s.params {
		p.Grad = g.grads[i]
	}
	s.stack = append(s.stack, g)
	return g
}

// fold adds the last sum to the one before it, and removes it; without gradients if the
// exchange adds those.
func (s *sums) fold(gradients bool) {
	a, b := s.stack[len(s.stack)-2], s.stack[len(s.stack)-1]
	for i := range a.grads {
		if gradients && !s.factored(s.params[i]) {
			s.add(a.grads[i], b.grads[i])
		}
	}
	for i, v := range b.stats {
		a.stats[i] += v
	}
	s.stack = s.stack[:len(s.stack)-1]
	s.unused = append(s.unused, b)
}

// add adds b to a.
func (s *sums) add(a, b []float32) {
	s.task = addTask{a, b}
	s.team.Run((len(a)+addLen-1)/addLen, &s.task)
}

// round rounds x to bfloat16.
func (s *sums) round(x []float32) {
	s.rounding = roundTask{x}
	s.team.Run((len(x)+addLen-1)/addLen, &s.rounding)
}

// grads returns the gradients of parameter i in all sums.
func (s *sums) grads(i int) [][]float32 {
	var all [][]float32
	for _, g := range s.stack {
		all = append(all, g.grads[i])
	}
	return all
}

// stats returns the losses and statistics of all sums.
func (s *sums) stats() [][]float64 {
	var all [][]float64
	for _, g := range s.stack {
		all = append(all, g.stats)
	}
	return all
}

// total returns the first sum, which an all-reduce makes the sum over all groups.
func (s *sums) total() *groupSum { return s.stack[0] }

// free removes all sums and keeps their buffers.
func (s *sums) free() {
	s.unused = append(s.unused, s.stack...)
	s.stack = s.stack[:0]
}

// addTask adds b to a.
type addTask struct{ a, b []float32 }

// addLen is the number of values in a part of the task.
const addLen = 1 << 16

// Part implements kernel.Task.
func (t *addTask) Part(_, i int) {
	a, b := t.a[i*addLen:min(len(t.a), (i+1)*addLen)], t.b[i*addLen:]
	for j := range a {
		a[j] += b[j]
	}
}

// roundTask rounds to bfloat16, by parts of addLen values.
type roundTask struct{ x []float32 }

// Part implements kernel.Task.
func (t *roundTask) Part(_, i int) { bfloat16.Round(t.x[i*addLen : min(len(t.x), (i+1)*addLen)]) }
