package accel

import (
	"slices"

	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/comm"
)

// rankSpans lists, for each rank, the nodes of the tree whose sums the rank forms by itself.
// All ranks compute in step, so they form the same ones, counted from the rank's first group;
// where the tree doesn't allow that, each group is a sum of its own.
func rankSpans(tree comm.Tree, ranks int) (spans [][]comm.Span, folded bool) {
	relative := func(r int) []comm.Span {
		share := tree.Share(r, ranks)
		var all []comm.Span
		for _, s := range tree.Spans(share) {
			all = append(all, comm.Span{Lo: s.Lo - share.Lo, Hi: s.Hi - share.Lo})
		}
		return all
	}
	folded = true
	for r := range ranks {
		folded = folded && slices.Equal(relative(r), relative(0))
	}
	for r := range ranks {
		share := tree.Share(r, ranks)
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

// reduceProgram adds the sums of all ranks in the order of the tree. Its arguments are the sums
// of a rank, one after another, of which the first are used up; every rank has the same result.
func (p *plan) reduceProgram(tree comm.Tree, spans [][]comm.Span) (pjrt.Program, error) {
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
	var totals []hlo.Value
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
		totals = append(totals, sumTree(tree, at, f.Add))
	}
	return program("reduce", f, p.replicas, totals...)
}

// sumTree adds the values of nodes that cover the tree, in its order.
func sumTree[T any](tree comm.Tree, at map[comm.Span]T, add func(a, b T) T) T {
	var sum func(s comm.Span) T
	sum = func(s comm.Span) T {
		if v, ok := at[s]; ok {
			return v
		}
		mid := s.Lo + (s.Hi-s.Lo)/2
		return add(sum(comm.Span{Lo: s.Lo, Hi: mid}), sum(comm.Span{Lo: mid, Hi: s.Hi}))
	}
	return sum(comm.Span{Lo: 0, Hi: int(tree)})
}
