package transfer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/weights"
)

// svmOracle is what tools/oracle/svm.py made.
type svmOracle struct {
	x       []float32
	y       []int
	dim     int
	rows    int // that were trained on; the others are for testing
	weights map[string][]float32
}

func readSVMOracle(t *testing.T) svmOracle {
	t.Helper()
	f, err := weights.Open(t.Context(), "testdata/svm.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o := svmOracle{weights: map[string][]float32{}}
	if _, err := fmt.Sscan(f.Metadata()["rows"], &o.rows); err != nil {
		t.Fatal(err)
	}
	for _, e := range f.Tensors() {
		v, err := f.Read(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		switch e.Name {
		case "x":
			o.x, o.dim = v.Data, e.Shape[1]
		case "y":
			for _, c := range v.Data {
				o.y = append(o.y, int(c))
			}
		default:
			o.weights[e.Name] = v.Data
		}
	}
	return o
}

func (o svmOracle) problem() problem {
	p := problem{X: o.x, Dim: o.dim, Classes: slices.Max(o.y) + 1, Target: func(r, c int) int8 {
		if o.y[r] == c {
			return 1
		}
		return -1
	}}
	for r := range o.rows {
		p.Rows = append(p.Rows, r)
	}
	return p
}

// objective of one class: the bias counts as a weight.
func objective(p problem, o SVMOptions, k int, w []float32, b float32) float64 {
	sum := 0.0
	for _, v := range w {
		sum += float64(v) * float64(v) / 2
	}
	if o.Bias > 0 {
		sum += float64(b) * float64(b) / o.Bias / o.Bias / 2
	}
	positive := 0
	for _, r := range p.Rows {
		if p.Target(r, k) > 0 {
			positive++
		}
	}
	for i, r := range p.Rows {
		y, price := float64(p.Target(r, k)), o.C
		if y > 0 && o.Balance {
			price *= float64(len(p.Rows)) / float64(p.Classes*positive)
		}
		f := float64(b)
		for j, v := range p.row(i) {
			f += float64(v) * float64(w[j])
		}
		hinge := max(0, 1-y*f)
		if o.Loss == L2Hinge {
			hinge *= hinge
		}
		sum += price * hinge
	}
	return sum
}

// The objective is scikit-learn's LinearSVC's within 1e-4, and so are the predictions,
// for both losses, any C, class weights, with and without a bias.
func TestSVMOracle(t *testing.T) {
	oracle := readSVMOracle(t)
	p := oracle.problem()
	worst, same, all := 0.0, 0, 0
	for name := range oracle.weights {
		name, isWeight := strings.CutSuffix(name, " w")
		if !isWeight {
			continue
		}
		o := DefaultSVM()
		o.Tolerance, o.MaxIterations = 1e-5, 100000
		var balanced string
		if _, err := fmt.Sscan(name, &o.Loss, &o.C, &balanced, &o.Bias); err != nil {
			t.Fatal(err)
		}
		o.Balance = balanced == "balanced"
		l, err := p.train(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if !l.converged {
			t.Errorf("%s: no convergence in %v passes", name, l.iterations)
		}
		w, b := oracle.weights[name+" w"], oracle.weights[name+" b"]
		for k := range p.Classes {
			got := objective(p, o, k, l.w[k*p.Dim:(k+1)*p.Dim], l.b[k])
			want := objective(p, o, k, w[k*p.Dim:(k+1)*p.Dim], b[k])
			d := math.Abs(got/want - 1)
			worst = max(worst, d)
			if d > 1e-4 {
				t.Errorf("%s: class %d: objective %v, want %v", name, k, got, want)
			}
		}
		theirs := &linear{w: w, b: b}
		for r := range oracle.y {
			mine, other := make([]float32, p.Classes), make([]float32, p.Classes)
			x := p.X[r*p.Dim : (r+1)*p.Dim]
			l.score(mine, x)
			theirs.score(other, x)
			all++
			if argmax(mine) == argmax(other) {
				same++
			}
		}
	}
	t.Logf("largest relative difference of an objective %.2g, %d of %d predictions the same", worst, same, all)
	if all < 15*len(oracle.y) || float64(same) < 0.995*float64(all) {
		t.Errorf("%d of %d predictions the same", same, all)
	}
}

// Neither the number of workers nor the blocks of classes change a bit.
func TestSVMDeterminism(t *testing.T) {
	const n, dim, classes = 60, 40, 70
	rng := rand.New(rand.NewPCG(3, 4))
	p := problem{X: make([]float32, n*dim), Dim: dim, Classes: classes, Target: func(r, c int) int8 {
		if r%7 == c%5 {
			return 0
		}
		return int8(1 - 2*min(1, (r+c)%3))
	}}
	for i := range p.X {
		p.X[i] = float32(rng.NormFloat64())
	}
	for r := range n {
		p.Rows = append(p.Rows, r)
	}
	o := DefaultSVM()
	var want *linear
	for _, workers := range []int{1, 2, 3, 70} {
		o.Workers = workers
		got, err := p.train(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if !slices.Equal(got.w, want.w) || !slices.Equal(got.b, want.b) {
			t.Errorf("%d workers: other weights", workers)
		}
	}
	o.Seed = 1
	if other, err := p.train(t.Context(), o); err != nil || slices.Equal(other.w, want.w) {
		t.Errorf("another seed changes nothing, %v", err)
	}
}

// What is left out for a class has no part in it.
func TestSVMIgnores(t *testing.T) {
	oracle := readSVMOracle(t)
	p := oracle.problem()
	few := p
	few.Rows = p.Rows[:len(p.Rows)/2]
	left := p
	left.Target = func(r, c int) int8 {
		if r >= len(p.Rows)/2 {
			return 0
		}
		return p.Target(r, c)
	}
	o := DefaultSVM()
	o.Tolerance = 1e-5
	a, err := few.train(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := left.train(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.w {
		if math.Abs(float64(a.w[i]-b.w[i])) > 1e-4 {
			t.Fatalf("weight %d is %v, want %v", i, b.w[i], a.w[i])
		}
	}
}

func TestSVMErrors(t *testing.T) {
	p := readSVMOracle(t).problem()
	for want, change := range map[string]func(*problem, *SVMOptions){
		`loss "l3", want l2 or l1`: func(_ *problem, o *SVMOptions) { o.Loss = "l3" },
		"C 0, want above 0":        func(_ *problem, o *SVMOptions) { o.C = 0 },
		"tolerance":                func(_ *problem, o *SVMOptions) { o.Tolerance = math.NaN() },
		"no images":                func(p *problem, _ *SVMOptions) { p.Rows = nil },
		"not finite": func(p *problem, _ *SVMOptions) {
			p.X = slices.Clone(p.X)
			p.X[3] = float32(math.NaN())
		},
	} {
		p, o := p, DefaultSVM()
		change(&p, &o)
		if _, err := p.train(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	if _, err := p.train(ctx, DefaultSVM()); !errors.Is(err, stop) {
		t.Errorf("cancelled: %v", err)
	}
}

func argmax(v []float32) int {
	best := 0
	for i, x := range v {
		if x > v[best] {
			best = i
		}
	}
	return best
}
