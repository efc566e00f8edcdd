package accel

import (
	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/nn"
)

// dropoutFactors returns what dropout multiplies each unit by, 0 or 1/(1−ratio), by the
// library's own masks ([nn.Dropout.MaskKey]): integer arithmetic of 64 bits, exact on every
// device.
func (g *graph) dropoutFactors(l *nn.Dropout, x hlo.Value) hlo.Value {
	n, h, w, c := x.Dims[0], x.Dims[1], x.Dims[2], x.Dims[3]
	images := g.Add(g.Iota(hlo.U64, 0, n), g.Broadcast(g.train.first, []int{n}))
	keys := g.Add(g.Broadcast(g.train.keys[l], []int{n}), g.Mul(images, g.Int(hlo.U64, 0x9e3779b97f4a7c15, n)))
	keys = g.mix(keys)

	along := func(dim int, stride int) hlo.Value { // the share of a dimension in the unit's number
		dims := []int{h, w, c}
		return g.Mul(g.Iota(hlo.U64, dim, dims...), g.Int(hlo.U64, uint64(stride), dims...))
	}
	units := g.Add(g.Add(along(2, h*w), along(0, w)), along(1, 1))
	units = g.Mul(units, g.Int(hlo.U64, 0xd1b54a32d192ed03, h, w, c))

	hash := g.mix(g.Add(g.Broadcast(keys, x.Dims, 0), g.Broadcast(units, x.Dims, 1, 2, 3)))
	hash = g.Binary("shift_right_logical", hash, g.Int(hlo.U64, 40, x.Dims...))
	keep := g.Compare("GE", g.Convert(hash, hlo.F32), g.Const(l.Ratio*(1<<24), x.Dims...))
	return g.Select(keep, g.Const(1/(1-l.Ratio), x.Dims...), g.Const(0, x.Dims...))
}

// mix is the finaliser of SplitMix64 (Steele et al. 2014).
func (g *graph) mix(z hlo.Value) hlo.Value {
	shift := func(z hlo.Value, n uint64) hlo.Value {
		return g.Binary("xor", z, g.Binary("shift_right_logical", z, g.Int(hlo.U64, n, z.Dims...)))
	}
	z = g.Mul(shift(z, 30), g.Int(hlo.U64, 0xbf58476d1ce4e5b9, z.Dims...))
	z = g.Mul(shift(z, 27), g.Int(hlo.U64, 0x94d049bb133111eb, z.Dims...))
	return shift(z, 31)
}

// wide makes a ui64 scalar of its upper and lower half, as the program's arguments are ui32.
func (g *graph) wide(upper, lower hlo.Value) hlo.Value {
	return g.Binary("or", g.Binary("shift_left", g.Convert(upper, hlo.U64), g.Int(hlo.U64, 32)), g.Convert(lower, hlo.U64))
}
