package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// settable returns a field of a struct that reflection may set, exported or not.
func settable(f reflect.Value) reflect.Value {
	return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem()
}

// eachFunc calls f with every function in v, at any depth, and with where it is.
func eachFunc(path string, v reflect.Value, f func(path string, fn reflect.Value)) {
	switch v.Kind() {
	case reflect.Func:
		f(path, v)
	case reflect.Struct:
		for i := range v.NumField() {
			eachFunc(path+"."+v.Type().Field(i).Name, settable(v.Field(i)), f)
		}
	case reflect.Array, reflect.Slice:
		for i := range v.Len() {
			eachFunc(fmt.Sprintf("%s[%d]", path, i), v.Index(i), f)
		}
	}
}

// everyKernel is assembly of everything, by functions that must not be called.
func everyKernel() *kernels {
	k := new(kernels)
	for _, t := range []*gemmTiles{&k.gemm, &k.gemmRGB} {
		*t = gemmTiles{rows: [2]int{2, 1}, depth: 1, funcs: [2][]gemmFunc{make([]gemmFunc, 3), make([]gemmFunc, 2)}}
	}
	k.wgrad.rows = 1
	eachFunc("", reflect.ValueOf(k).Elem(), func(_ string, f reflect.Value) {
		f.Set(reflect.MakeFunc(f.Type(), func([]reflect.Value) []reflect.Value { panic("called") }))
	})
	return k
}

// TestRemovals: every kernel has a name that removes it and nothing else.
func TestRemovals(t *testing.T) {
	fields := reflect.TypeFor[kernels]()
	if len(removals) != fields.NumField() {
		t.Fatalf("%d names of %d kernels", len(removals), fields.NumField())
	}
	for i, r := range removals {
		if name := fields.Field(i).Name; r.name != name {
			t.Errorf("kernel %d is called %q, its field %q", i, r.name, name)
		}
		k := everyKernel()
		r.remove(k)
		for j := range fields.NumField() {
			if f := reflect.ValueOf(k).Elem().Field(j); f.IsZero() != (i == j) {
				t.Errorf("without %s: field %s is zero: %v", r.name, fields.Field(j).Name, f.IsZero())
			}
		}
	}
}

// TestUsePartial: names of partial sets, and what is wrong with them.
func TestUsePartial(t *testing.T) {
	old := current.Load()
	t.Cleanup(func() { current.Store(old) })
	if err := Use("go-wgrad-lrn"); err != nil {
		t.Fatal(err)
	}
	if got := Current().Name(); got != "go-wgrad-lrn" {
		t.Errorf("the instruction set in use is called %q", got)
	}
	for name, want := range map[string]string{"go-": `kernel ""`, "go-gemm-im2col": `kernel "im2col"`, "avx9-gemm": `instruction set "avx9-gemm"`} {
		if err := Use(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Use(%s): %v, want an error about %s", name, err, want)
		}
	}
	if got := Current().Name(); got != "go-wgrad-lrn" {
		t.Errorf("a failed Use changed the instruction set to %q", got)
	}
}

// TestGemmTilesAreWhole: register tiles of which any is missing are left out, and the
// sizes that products and plans ask for become those of the twin.
func TestGemmTilesAreWhole(t *testing.T) {
	full := newISA("full", *everyKernel())
	if got := full.asm.gemm.rows; got != [2]int{2, 1} {
		t.Errorf("whole tiles have %v rows, want 2 and 1", got)
	}
	for nb := range 2 {
		for rows := 1; rows <= 2-nb; rows++ {
			for _, cut := range []bool{false, true} {
				k := everyKernel()
				for _, tiles := range []*gemmTiles{&k.gemm, &k.gemmRGB} {
					if tiles.funcs[nb][rows] = nil; cut {
						tiles.funcs[nb] = tiles.funcs[nb][:rows]
					}
				}
				s := newISA("partial", *k)
				for _, tiles := range []gemmTiles{s.asm.gemm, s.asm.gemmRGB} {
					if tiles.rows != portableTiles.rows || tiles.depth != portableTiles.depth || tiles.funcs[0] != nil || tiles.funcs[1] != nil {
						t.Errorf("without the tile of %d × %d: %d rows, %d steps", rows, 16*(nb+1), tiles.rows, tiles.depth)
					}
				}
			}
		}
	}
}

// TestPlansOfPartialSets: leaving out a kernel changes the plans only where it changes
// the register tile, and never the form, on which bits depend.
func TestPlansOfPartialSets(t *testing.T) {
	old := current.Load()
	t.Cleanup(func() { current.Store(old) })
	for _, s := range native() {
		current.Store(s)
		whole, tile := thisMachine(), thisMachine()
		tile.rows, tile.depth = portableTiles.rows[1], portableTiles.depth
		for _, name := range Kernels() {
			p, err := s.without(name)
			if err != nil {
				t.Fatal(err)
			}
			current.Store(p)
			want := whole
			if name == "gemm" {
				want = tile
			}
			if got := thisMachine(); got != want {
				t.Errorf("%s: plans are made for %+v, want %+v", p.Name(), got, want)
			}
			if got, want := plansOfD(thisMachine(), 8, 224, 2, Inference), plansOfD(want, 8, 224, 2, Inference); got != want {
				t.Errorf("%s: plans of D are\n%s\nwant\n%s", p.Name(), got, want)
			}
		}
	}
}

// partialSets calls f with the best native set without each kernel in turn; with everyCase
// with those of all native sets.
func partialSets(t *testing.T, f func(t *testing.T, s *ISA)) {
	sets := native()
	if len(sets) == 0 {
		t.Skip("this machine runs the Go twins only")
	}
	if testing.Short() || !everyCase {
		sets = sets[len(sets)-1:]
	}
	for _, s := range sets {
		for _, name := range Kernels() {
			p, err := s.without(name)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(p.Name(), func(t *testing.T) { f(t, p) })
		}
	}
}

// TestPartialSetsEqualTwins: a set without a kernel has the results of the twins, kernel
// by kernel.
func TestPartialSetsEqualTwins(t *testing.T) {
	partialSets(t, func(t *testing.T, s *ISA) {
		for _, k := range againstTwin {
			if k.name == "gemm" {
				gemmAgainstTwin(t, s, unaligned{}, 2)
			} else {
				k.run(t, s, unaligned{})
			}
		}
		for _, f := range forms {
			transformsAgainstTwins(t, s, f, 2)
		}
	})
}

// TestMissingFunctions: a set without any one function of a table, such as one tile of
// one form, has the results of the twins.
func TestMissingFunctions(t *testing.T) {
	for _, full := range native()[max(0, len(native())-1):] {
		var paths []string
		eachFunc("", reflect.ValueOf(&full.asm).Elem(), func(path string, f reflect.Value) {
			if !f.IsNil() && strings.Contains(path, "[") {
				paths = append(paths, path)
			}
		})
		for _, missing := range paths {
			asm := full.asm
			for _, tiles := range []*gemmTiles{&asm.gemm, &asm.gemmRGB} { // the copy's own
				for nb := range tiles.funcs {
					tiles.funcs[nb] = append([]gemmFunc(nil), tiles.funcs[nb]...)
				}
			}
			eachFunc("", reflect.ValueOf(&asm).Elem(), func(path string, f reflect.Value) {
				if path == missing {
					f.SetZero()
				}
			})
			s := newISA("missing", asm)
			t.Run(missing, func(t *testing.T) {
				switch {
				case strings.Contains(missing, "gemm"):
					gemmAgainstTwin(t, s, unaligned{}, 1)
				case strings.Contains(missing, "wgrad"):
					wgradAgainstTwin(t, s, unaligned{})
				case strings.Contains(missing, "rgbWgrad"):
					rgbGradAgainstTwin(t, s, unaligned{})
				default:
					for _, f := range forms {
						transformsAgainstTwins(t, s, f, 2)
					}
				}
			})
		}
	}
}

// TestPartialSetsRunLayers: layers have the same results, to rounding, whichever kernel
// is missing, and the same bits for any number of threads.
func TestPartialSetsRunLayers(t *testing.T) {
	cases := []convCase{{Conv{3, 40, 3, 1}, 2, 13, 17}, {Conv{20, 40, 3, 1}, 2, 5, 29}, {Conv{33, 70, 3, 1}, 1, 8, 19}, {Conv{18, 37, 7, 0}, 2, 7, 7}}
	run := func(t *testing.T, s *ISA, threads int) (all [][]float32) {
		old := current.Load()
		current.Store(s)
		defer current.Store(old)
		for _, c := range cases {
			all = append(all, layerIn(t, plain{}, c, threads))
		}
		for _, p := range trainingPlans()[1:4] {
			all = append(all, newTrainingRig(cases[1], p, threads).step(t)...)
		}
		for _, p := range []Winograd{{Form{6, 3}, 4, byPosition, true}, {Form{4, 3}, 4, byPanel, true}} {
			all = append(all, winogradOutput(t, cases[2], p, threads))
		}
		return append(all, otherLayersIn(plain{}, 33, 7, 6))
	}
	var want [][]float32
	partialSets(t, func(t *testing.T, s *ISA) {
		if want == nil {
			want = run(t, portable, 1)
		}
		got := run(t, s, 3)
		one := got
		if !testing.Short() { // emulated, it takes a second
			one = run(t, s, 1)
		}
		for i, w := range want {
			var diff, most float64
			for j, v := range w {
				diff = max(diff, math.Abs(float64(got[i][j]-v))) // NaN stays
				most = max(most, math.Abs(float64(v)))
			}
			if !(diff <= 3e-5*most) {
				t.Errorf("result %d differs by %g of %g", i, diff, most)
			}
			checkBits(t, "one thread", one[i], got[i])
		}
	})
}

// step returns the results of a training step's passes: the output, pooled or not, dx
// with and without a mask, dw and db. What the output transform pools or masks must have
// the bits of pooling or masking its output.
func (r *trainingRig) step(t *testing.T) [][]float32 {
	c, g := r.c, r.c.g
	y, pooled := newAct(nil, c.n, g.K, c.h, c.w, 0), newAct(nil, c.n, g.K, c.h/2, c.w/2, 0)
	dx, masked := newAct(nil, c.n, g.C, c.h, c.w, 0), newAct(nil, c.n, g.C, c.h, c.w, 0)
	var hits Hits
	hits.Shape(c.n, g.K, c.h/2, c.w/2, make([]uint16, HitsLen(c.n, g.K, c.h/2, c.w/2)))
	du, dw, db := make([]float32, r.p.FilterLen(g)), make([]float32, g.WeightLen()), make([]float32, g.BiasLen())
	whole := newAct(nil, c.n, g.K, c.h, c.w, 0)

	r.wk.WinogradTraining(r.p, g, r.x, r.weights, r.bias, true, y, nil)
	r.wk.WinogradTraining(r.p, g, r.x, r.weights, r.bias, true, pooled, &hits)
	r.wk.Unpool(&hits, pooled, whole)
	r.wk.WinogradBackwardData(r.p, g, r.dy, r.weights, nil, dx)
	r.wk.WinogradBackwardData(r.p, g, r.dy, r.weights, r.x, masked)
	r.wk.WinogradBackwardWeights(r.p, g, r.x, r.dy, true, du, db)
	r.wk.WinogradFold(r.p, g, du, dw)
	var want Hits
	want.Shape(c.n, g.K, c.h/2, c.w/2, make([]uint16, len(hits.Data)))
	wantPooled := newAct(nil, c.n, g.K, c.h/2, c.w/2, 0)
	r.wk.MaxPoolHits(y, wantPooled, true, &want)
	checkBits(t, "pooled within the transform", planar(pooled), planar(wantPooled))
	if !slices.Equal(hits.Data, want.Data) {
		t.Error("pooled within the transform, maxima come from other places")
	}
	wantMasked := planar(dx)
	for i, v := range planar(r.x) {
		if !(v > 0) {
			wantMasked[i] = 0
		}
	}
	checkBits(t, "masked within the transform", planar(masked), wantMasked)
	return [][]float32{planar(y), planar(pooled), planar(whole), planar(dx), planar(masked), dw, db}
}

// winogradOutput returns the output of inference by p, whole and pooled.
func winogradOutput(t *testing.T, c convCase, p Winograd, threads int) []float32 {
	g := c.g
	rng := rand.New(rand.NewPCG(61, uint64(g.C)))
	wk := NewWork(NewTeam(threads))
	weights, u, bias := make([]float32, g.WeightLen()), make([]float32, p.FilterLen(g)), make([]float32, g.BiasLen())
	g.pack(weights, randoms(rng, g.K*g.C*g.R*g.R))
	copy(bias, randoms(rng, g.K))
	x := borderedAct(randoms(rng, c.n*g.C*c.h*c.w), c.n, g.C, c.h, c.w, g.Pad, p.End(g, c.h, c.w))
	y, pooled := newAct(nil, c.n, g.K, c.h, c.w, 0), newAct(nil, c.n, g.K, c.h/2, c.w/2, 0)
	wk.WinogradFilter(p, g, weights, u)
	wk.WinogradForward(p, g, x, u, bias, true, false, y)
	wk.WinogradForward(p, g, x, u, bias, true, true, pooled)
	want := newAct(nil, c.n, g.K, c.h/2, c.w/2, 0)
	wk.MaxPool(y, want)
	checkBits(t, "pooled within the transform", planar(pooled), planar(want))
	return append(planar(y), planar(pooled)...)
}
