package wino

// Arithmetic computes with vectors V of values.
type Arithmetic[V any] interface {
	Add(a, b V) V
	Sub(a, b V) V
	// Mad returns a + k·b.
	Mad(a V, k float64, b V) V
	// MadInto adds k·b to a, which is overwritten, and returns it.
	MadInto(a V, k float64, b V) V
	// Scale returns k·a.
	Scale(k float64, a V) V
}

// Input is Bᵀd, the input transform of d, which has a value for each point of the tile; put takes
// result i of the form's grid.
func Input[V any](e Arithmetic[V], f Form, d []V, put func(i int, v V)) {
	last := f.Side() - 1
	switch {
	case len(d) == 4: // a narrow tile's rows are scaled, as the weights are the form's
		zero, one := e.Sub(d[0], d[2]), 2.25
		if last == 5 {
			zero, one = e.Scale(4, zero), 3
		}
		put(0, zero)
		put(last, e.Sub(d[3], d[1]))
		b := e.Scale(one, d[1])
		put(1, e.MadInto(e.Scale(-one, d[2]), -one, d[1]))
		put(2, e.MadInto(b, -one, d[2]))
		return
	case len(d) == 6 && last == 7:
		put(0, e.MadInto(e.Mad(d[0], 0.25, d[4]), -1.25, d[2]))
		put(last, e.MadInto(e.Mad(d[5], -5, d[3]), 4, d[1]))
		a, b := e.MadInto(e.Scale(0.75, d[4]), -3, d[2]), e.MadInto(e.Scale(0.75, d[3]), -3, d[1])
		put(1, e.Add(a, b))
		put(2, e.Sub(a, b))
		a, b = e.Scale(3.75, e.Sub(d[4], d[2])), e.Scale(3.75, e.Sub(d[3], d[1]))
		put(3, e.Mad(a, 2, b))
		put(4, e.Mad(a, -2, b))
		return
	case len(d) == 6:
		put(0, e.MadInto(e.Mad(d[4], -5, d[2]), 4, d[0]))
		put(5, e.MadInto(e.Mad(d[5], -5, d[3]), 4, d[1]))
		a, b := e.Mad(d[4], -4, d[2]), e.Mad(d[3], -4, d[1])
		put(1, e.Add(a, b))
		put(2, e.Sub(a, b))
		a, b = e.Sub(d[4], d[2]), e.Sub(d[3], d[1])
		put(3, e.Mad(a, 2, b))
		put(4, e.Mad(a, -2, b))
		return
	}
	put(0, e.MadInto(e.Sub(d[0], d[6]), 5.25, e.Sub(d[4], d[2])))
	put(7, e.MadInto(e.Sub(d[7], d[1]), 5.25, e.Sub(d[3], d[5])))
	// pairs ±: the even part and the odd part of the polynomial's points ±1, ±2, ±½
	a, b := e.MadInto(e.Add(d[2], d[6]), -4.25, d[4]), e.MadInto(e.Add(d[1], d[5]), -4.25, d[3])
	put(1, e.Add(a, b))
	put(2, e.Sub(a, b))
	a, b = e.MadInto(e.Mad(d[6], 0.25, d[2]), -1.25, d[4]), e.MadInto(e.Mad(d[5], 0.25, d[1]), -1.25, d[3])
	put(3, e.Mad(a, 2, b))
	put(4, e.Mad(a, -2, b))
	a, b = e.MadInto(e.Mad(d[6], 4, d[2]), -5, d[4]), e.MadInto(e.Mad(d[5], 4, d[1]), -5, d[3])
	put(5, e.Mad(a, 0.5, b))
	put(6, e.Mad(a, -0.5, b))
}

// Output is Aᵀd, the output transform of a tile's values to m.
func Output[V any](e Arithmetic[V], m int, d []V, put func(i int, v V)) {
	if len(d) == 4 {
		put(0, e.Add(e.Add(d[0], d[1]), d[2]))
		put(1, e.Add(e.Sub(d[1], d[2]), d[3]))
		return
	}
	s1, t1 := e.Add(d[1], d[2]), e.Sub(d[1], d[2])
	s2, t2 := e.Add(d[3], d[4]), e.Sub(d[3], d[4])
	if len(d) == 6 {
		put(0, e.Add(e.Add(d[0], s1), s2))
		put(1, e.Mad(t1, 2, t2))
		put(2, e.Mad(s1, 4, s2))
		put(3, e.MadInto(e.Add(d[5], t1), 8, t2))
		return
	}
	s3, t3 := e.Add(d[5], d[6]), e.Sub(d[5], d[6])
	// value i is s1 + 2ⁱs2 + 2⁵⁻ⁱs3 for even i, the same of t for odd ones
	put(0, e.MadInto(e.Add(e.Add(d[0], s1), s2), 32, s3))
	if m == 2 {
		put(1, e.Add(e.MadInto(e.Mad(t1, 2, t2), 16, t3), d[7]))
		return
	}
	put(1, e.MadInto(e.Mad(t1, 2, t2), 16, t3))
	put(2, e.MadInto(e.Mad(s1, 4, s2), 8, s3))
	if m == 4 {
		put(3, e.MadInto(e.MadInto(e.Add(d[7], t1), 8, t2), 4, t3))
		return
	}
	put(3, e.MadInto(e.Mad(t1, 8, t2), 4, t3))
	put(4, e.MadInto(e.Mad(s1, 16, s2), 2, s3))
	put(5, e.Add(e.MadInto(e.Add(d[7], t1), 32, t2), t3))
}

// OutputAdjoint is Ad, the adjoint of the output transform of a tile's len(d) values; put takes
// result i of the form's grid.
func OutputAdjoint[V any](e Arithmetic[V], f Form, d []V, put func(i int, v V)) {
	put(0, d[0])
	put(f.Side()-1, d[len(d)-1])
	if len(d) == 2 {
		put(1, e.Add(d[0], d[1]))
		put(2, e.Sub(d[0], d[1]))
		return
	}
	// pairs ±: the even and the odd values at the points ±1, ±2, ±½
	s, t := e.Add(d[0], d[2]), e.Add(d[1], d[3])
	u, v := e.Mad(d[0], 4, d[2]), e.MadInto(e.Scale(2, d[1]), 8, d[3])
	if len(d) == 6 {
		s, t = e.Add(s, d[4]), e.Add(t, d[5])
		u, v = e.MadInto(u, 16, d[4]), e.MadInto(v, 32, d[5])
	}
	put(1, e.Add(s, t))
	put(2, e.Sub(s, t))
	put(3, e.Add(u, v))
	put(4, e.Sub(u, v))
	if len(d) == 6 {
		u, v = e.MadInto(e.MadInto(e.Scale(32, d[0]), 8, d[2]), 2, d[4]), e.Add(e.MadInto(e.Scale(16, d[1]), 4, d[3]), d[5])
		put(5, e.Add(u, v))
		put(6, e.Sub(u, v))
	}
}

// Weights is Gg, the weight transform of r values to m+r−1.
func Weights[V any](e Arithmetic[V], m int, g []V) []V {
	if len(g) == 7 {
		odd := func(k0, k1, k2 float64) V { return e.MadInto(e.MadInto(e.Scale(k0, g[1]), k1, g[3]), k2, g[5]) }
		even := func(k0, k1, k2, k3 float64) V {
			return e.MadInto(e.MadInto(e.MadInto(e.Scale(k0, g[0]), k1, g[2]), k2, g[4]), k3, g[6])
		}
		a, b := even(-2./9, -2./9, -2./9, -2./9), odd(2./9, 2./9, 2./9)
		c, d := even(1./90, 2./45, 8./45, 32./45), odd(1./45, 4./45, 16./45)
		f, h := even(1./45, 1./180, 1./720, 1./2880), odd(1./90, 1./360, 1./1440)
		return []V{g[0], e.Sub(a, b), e.Add(a, b), e.Add(c, d), e.Sub(c, d), e.Add(f, h), e.Sub(f, h), g[6]}
	}
	s := e.Add(g[0], g[2])
	if len(g) == 5 {
		a, b := e.Scale(-2./9, e.Add(s, g[4])), e.Scale(2./9, e.Add(g[1], g[3]))
		c := e.MadInto(e.MadInto(e.Scale(1./90, g[0]), 2./45, g[2]), 8./45, g[4])
		d := e.MadInto(e.Scale(1./45, g[1]), 4./45, g[3])
		f := e.MadInto(e.MadInto(e.Scale(1./45, g[0]), 1./180, g[2]), 1./720, g[4])
		h := e.MadInto(e.Scale(1./90, g[1]), 1./360, g[3])
		return []V{g[0], e.Sub(a, b), e.Add(a, b), e.Add(c, d), e.Sub(c, d), e.Add(f, h), e.Sub(f, h), g[4]}
	}
	if m == 4 {
		a, b := e.Scale(-1./6, s), e.Scale(1./6, g[1])
		c := e.MadInto(e.Scale(1./24, g[0]), 1./6, g[2])
		d := e.Scale(1./12, g[1])
		return []V{e.Scale(1./4, g[0]), e.Sub(a, b), e.Add(a, b), e.Add(c, d), e.Sub(c, d), g[2]}
	}
	a, b := e.Scale(-2./9, s), e.Scale(2./9, g[1])
	c, d := e.MadInto(e.Scale(1./90, g[0]), 2./45, g[2]), e.Scale(1./45, g[1])
	f, h := e.MadInto(e.Scale(1./45, g[0]), 1./180, g[2]), e.Scale(1./90, g[1])
	return []V{g[0], e.Sub(a, b), e.Add(a, b), e.Add(c, d), e.Sub(c, d), e.Add(f, h), e.Sub(f, h), g[2]}
}

// WeightsAdjoint is Gᵀu, the adjoint of the weight transform of F(4×4,3×3) or F(6×6,3×3): 6 or
// 8 values to 3.
func WeightsAdjoint[V any](e Arithmetic[V], u []V) []V {
	s1, t1 := e.Add(u[1], u[2]), e.Sub(u[2], u[1])
	s2, t2 := e.Add(u[3], u[4]), e.Sub(u[3], u[4])
	if len(u) == 8 {
		s3, t3 := e.Add(u[5], u[6]), e.Sub(u[5], u[6])
		return []V{
			e.MadInto(e.MadInto(e.Mad(u[0], -2./9, s1), 1./90, s2), 1./45, s3),
			e.MadInto(e.MadInto(e.Scale(2./9, t1), 1./45, t2), 1./90, t3),
			e.MadInto(e.MadInto(e.Mad(u[7], -2./9, s1), 2./45, s2), 1./180, s3),
		}
	}
	return []V{
		e.MadInto(e.MadInto(e.Scale(1./4, u[0]), -1./6, s1), 1./24, s2),
		e.MadInto(e.Scale(1./6, t1), 1./12, t2),
		e.Mad(u[5], 1./6, e.Sub(s2, s1)),
	}
}
