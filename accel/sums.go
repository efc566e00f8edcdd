package accel

import (
	"slices"

	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/nn"
)

// ranks are those of a process: first … first+count−1 of size.
type ranks struct{ first, count, size int }

func newRanks(o nn.TrainerOptions) ranks {
	if o.Outer == nil {
		return ranks{0, o.Ranks, o.Ranks}
	}
	return ranks{o.Outer.Rank() * o.Ranks, o.Ranks, o.Outer.Size() * o.Ranks}
}

// share is the groups of the process's rank r.
func (a ranks) share(tree comm.Tree, r int) comm.Span { return tree.Share(a.first+r, a.size) }

// own is the groups of all the process's ranks.
func (a ranks) own(tree comm.Tree) comm.Span {
	return comm.Span{Lo: a.share(tree, 0).Lo, Hi: a.share(tree, a.count-1).Hi}
}

// spans lists, for each rank, the nodes of the tree whose sums the rank forms by itself. All
// ranks of a process compute in step, so they form the same ones, counted from the rank's first
// group; where the tree doesn't allow that, each group is a sum of its own.
func (a ranks) spans(tree comm.Tree) (spans [][]comm.Span, folded bool) {
	relative := func(r int) []comm.Span {
		share := a.share(tree, r)
		var all []comm.Span
		for _, s := range tree.Spans(share) {
			all = append(all, comm.Span{Lo: s.Lo - share.Lo, Hi: s.Hi - share.Lo})
		}
		return all
	}
	folded = true
	for r := range a.count {
		folded = folded && slices.Equal(relative(r), relative(0))
	}
	for r := range a.count {
		share := a.share(tree, r)
		if folded {
			spans = append(spans, tree.Spans(share))
			continue
		}
		var leaves []comm.Span
		for i := share.Lo; i < share.Hi; i++ {
			leaves = append(leaves, comm.Span{Lo: i, Hi: i + 1})
		}
		spans = append(spans, leaves)
	}
	return spans, folded
}

// reduceProgram adds the sums of all ranks to those of nodes of the tree, in its order. Its
// arguments are the sums of a rank, one after another, of which the first are used up; every rank
// has the same results, those of one node after another.
func (p *plan) reduceProgram(tree comm.Tree, spans [][]comm.Span, nodes []comm.Span) (pjrt.Program, error) {
	f := hlo.New(hlo.Highest)
	own := len(spans[0]) // sums of a rank
	sums := make([][]hlo.Value, own)
	for m := range own {
		for i, at := range p.learnt {
			if m == 0 {
				sums[m] = append(sums[m], f.Donated(i, hlo.F32, p.dims[at]...))
			} else {
				sums[m] = append(sums[m], f.Arg(hlo.F32, p.dims[at]...))
			}
		}
	}
	totals := make([]hlo.Value, len(nodes)*len(p.learnt))
	for i := range p.learnt {
		at := map[comm.Span]hlo.Value{}
		for m := range own {
			all := sums[m][i]
			if p.replicas > 1 {
				all = f.Gather(all, p.replicas)
			}
			for r := range p.replicas {
				if p.replicas > 1 {
					at[spans[r][m]] = f.At(all, r)
				} else {
					at[spans[r][m]] = all
				}
			}
		}
		for k, node := range nodes {
			totals[k*len(p.learnt)+i] = sumNode(node, at, f.Add)
		}
	}
	return program("reduce", f, p.replicas, totals...)
}

// sumNode adds the values of nodes that cover a node of the tree, in its order.
func sumNode[T any](s comm.Span, at map[comm.Span]T, add func(a, b T) T) T {
	if v, ok := at[s]; ok {
		return v
	}
	mid := s.Lo + (s.Hi-s.Lo)/2
	return add(sumNode(comm.Span{Lo: s.Lo, Hi: mid}, at, add), sumNode(comm.Span{Lo: mid, Hi: s.Hi}, at, add))
}
