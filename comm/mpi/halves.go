//go:build mpi && (linux || darwin || freebsd)

package mpi

import (
	"math"
	"runtime"

	"github.com/verydeep/vgg/comm"
	"github.com/verydeep/vgg/internal/bfloat16"
)

// halves is the number of 16-bit words in which an element of a node's sum travels: a leaf's is a
// bfloat16.
func halves(s comm.Span) int {
	if s.Hi-s.Lo == 1 {
		return 1
	}
	return 2
}

// reduceHalves is [reduceChunk] by 16-bit words, with the sums rounded.
func reduceHalves(g *group, tree comm.Tree, parts [][]float32, at, m int) error {
	from := func(r int) int { return at + r*m/g.size }
	mine := from(g.rank+1) - from(g.rank)
	if g.size == 1 {
		bfloat16.Round(parts[0][at : at+m])
		return nil
	}
	send, received := newMessages(g.size), newMessages(g.size)
	sums := newMessages(g.size)
	spans := make([][]comm.Span, g.size)
	out, got := g.scratch.send16[:0], 0
	for r := range g.size {
		spans[r] = tree.Spans(tree.Share(r, g.size))
		begin := len(out)
		for i, s := range tree.Spans(tree.Share(g.rank, g.size)) {
			out = appendHalves(out, parts[i][from(r):from(r+1)], halves(s))
		}
		send.set(r, begin, len(out)-begin)
		n := 0
		for _, s := range spans[r] {
			n += halves(s) * mine
		}
		received.set(r, got, n)
		got += n
		sums.set(r, from(r)-at, from(r+1)-from(r))
	}
	g.scratch.send16 = append(out, 0) // never empty, so that it has an address
	if n := max(m, got) + 1; len(g.scratch.receive16) < n {
		g.scratch.receive16 = make([]uint16, n)
	}
	in := g.scratch.receive16
	var pin runtime.Pinner
	defer pin.Unpin()
	for _, x := range []*messages{send, received, sums} {
		pin.Pin(&x.counts[0])
		pin.Pin(&x.at[0])
	}
	pin.Pin(&g.scratch.send16[0])
	pin.Pin(&in[0])
	l := g.library
	err := l.together("MPI_Ialltoallv", address(g.scratch.send16), address(send.counts), address(send.at), l.byte,
		address(in), address(received.counts), address(received.at), l.byte, l.world)
	if err != nil {
		return err
	}
	values := 0
	for _, list := range spans {
		values += len(list) * mine
	}
	if len(g.scratch.receive32) < values {
		g.scratch.receive32 = make([]float32, values)
	}
	all, rest := map[comm.Span][]float32{}, g.scratch.receive32
	for r, list := range spans {
		from := received.at[r] / 2
		for _, s := range list {
			n := halves(s) * mine
			all[s], rest = rest[:mine], rest[mine:]
			fromHalves(all[s], in[from:][:n])
			from += int32(n)
		}
	}
	first := from(g.rank) - at
	for i, v := range sum(all, comm.Span{Lo: 0, Hi: int(tree)}) {
		in[first+i] = bfloat16.From(v)
	}
	if err := l.together("MPI_Iallgatherv", l.inPlace, 0, 0, address(in), address(sums.counts), address(sums.at), l.byte, l.world); err != nil {
		return err
	}
	fromHalves(parts[0][at:at+m], in[:m])
	return nil
}

// messages are the places of 16-bit words from or to each rank, in bytes.
type messages struct{ counts, at []int32 }

func newMessages(size int) *messages { return &messages{make([]int32, size), make([]int32, size)} }

func (m *messages) set(rank, at, n int) { m.at[rank], m.counts[rank] = 2*int32(at), 2*int32(n) }

// appendHalves appends the elements of x by so many words each, the upper first.
func appendHalves(out []uint16, x []float32, words int) []uint16 {
	if words == 1 {
		for _, v := range x {
			out = append(out, bfloat16.From(v))
		}
		return out
	}
	for _, v := range x {
		b := math.Float32bits(v)
		out = append(out, uint16(b>>16), uint16(b))
	}
	return out
}

// fromHalves is the inverse of appendHalves.
func fromHalves(x []float32, in []uint16) {
	if len(in) == len(x) {
		for i, v := range in {
			x[i] = bfloat16.Float32(v)
		}
		return
	}
	for i := range x {
		x[i] = math.Float32frombits(uint32(in[2*i])<<16 | uint32(in[2*i+1]))
	}
}
