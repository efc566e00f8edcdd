package metrics

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var (
	nan = float32(math.NaN())
	inf = float32(math.Inf(1))
)

func TestTopK(t *testing.T) {
	for _, c := range []struct {
		scores []float32
		k      int
		want   []int
	}{
		{nil, 5, []int{}},
		{[]float32{1, 2}, 0, []int{}},
		{[]float32{1, 2}, -1, []int{}},
		{[]float32{1, 2}, 5, []int{1, 0}},
		{[]float32{0.1, 0.7, 0.2}, 1, []int{1}},
		{[]float32{3, 1, 4, 1, 5, 9, 2, 6}, 3, []int{5, 7, 4}},
		{[]float32{2, 2, 2, 2}, 2, []int{0, 1}},
		{[]float32{1, 2, 1, 2, 1}, 4, []int{1, 3, 0, 2}},
		{[]float32{nan, -inf, nan, inf, 0}, 5, []int{3, 4, 1, 0, 2}},
		{[]float32{nan, nan, 1}, 1, []int{2}},
	} {
		if got := TopK(c.scores, c.k); !slices.Equal(got, c.want) || got == nil {
			t.Errorf("TopK(%v, %d) = %v, want %v", c.scores, c.k, got, c.want)
		}
	}
}

func TestRank(t *testing.T) {
	for _, c := range []struct {
		scores []float32
		label  int
		want   int
	}{
		{[]float32{7}, 0, 0},
		{[]float32{0.1, 0.7, 0.2}, 1, 0},
		{[]float32{0.1, 0.7, 0.2}, 0, 2},
		{[]float32{2, 2, 2}, 0, 0},
		{[]float32{2, 2, 2}, 2, 2},
		{[]float32{nan, 0, 1}, 0, 2},
		{[]float32{nan, nan, nan}, 1, 1},
	} {
		if got := Rank(c.scores, c.label); got != c.want {
			t.Errorf("Rank(%v, %d) = %d, want %d", c.scores, c.label, got, c.want)
		}
	}
}

// A class's rank is its index among the best, for any scores, ties and NaN included: an
// image counts as right in the top k if and only if its rank is below k.
func TestRankIsThePlaceInTopK(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scores := rapid.SliceOf(rapid.SampledFrom([]float32{-inf, -1, 0, 0.5, 1, 2, inf, nan})).Draw(t, "scores")
		all := TopK(scores, len(scores))
		if len(all) != len(scores) {
			t.Fatalf("%d classes of %d", len(all), len(scores))
		}
		for place, class := range all {
			if got := Rank(scores, class); got != place {
				t.Fatalf("Rank(%v, %d) = %d, place %d in TopK", scores, class, got, place)
			}
		}
		k := rapid.IntRange(0, len(scores)).Draw(t, "k")
		if got := TopK(scores, k); !slices.Equal(got, all[:k]) {
			t.Fatalf("TopK(%v, %d) = %v, want the first of %v", scores, k, got, all)
		}
	})
}

func TestTopKError(t *testing.T) {
	ranks := []int{0, 0, 1, 4, 5, 999, 0, 2}
	for k, want := range map[int]float64{0: 1, 1: 5. / 8, 2: 4. / 8, 5: 2. / 8, 6: 1. / 8, 1000: 0} {
		if got := TopKError(ranks, k); got != want {
			t.Errorf("TopKError(%v, %d) = %v, want %v", ranks, k, got, want)
		}
	}
	if got := TopKError(nil, 5); !math.IsNaN(got) {
		t.Errorf("TopKError of no images = %v, want NaN", got)
	}
}

func TestSoftmax(t *testing.T) {
	third := float32(1. / 3)
	for _, c := range []struct{ scores, want []float32 }{
		{nil, nil},
		{[]float32{-1000}, []float32{1}},
		{[]float32{5, 5, 5}, []float32{third, third, third}},
		{[]float32{0, float32(math.Log(3))}, []float32{0.25, 0.75}},
		{[]float32{3e38, -3e38, 3e38}, []float32{0.5, 0, 0.5}},
		{[]float32{-1e5, -1e5 + 1}, []float32{0.26894143, 0.7310586}},
		{[]float32{inf, 0, inf, -inf}, []float32{0.5, 0, 0.5, 0}},
		{[]float32{-inf, 0}, []float32{0, 1}},
		{[]float32{-inf, -inf}, []float32{0.5, 0.5}},
		{[]float32{0, nan}, []float32{nan, nan}},
		{[]float32{inf, nan}, []float32{nan, nan}},
	} {
		got := make([]float32, len(c.scores))
		Softmax(got, c.scores)
		for i, w := range c.want {
			if math.Abs(float64(got[i]-w)) > 1e-7 || (got[i] != got[i]) != (w != w) {
				t.Errorf("Softmax(%v) = %v, want %v", c.scores, got, c.want)
				break
			}
		}
	}
}

func TestSoftmaxProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scores := rapid.SliceOfN(rapid.Float32Range(-1e6, 1e6), 1, 1000).Draw(t, "scores")
		label := rapid.IntRange(0, len(scores)-1).Draw(t, "label")
		p := slices.Clone(scores)
		Softmax(p, p) // in place
		sum := 0.0
		for _, v := range p {
			if !(v >= 0 && v <= 1) {
				t.Fatalf("probability %v", v)
			}
			sum += float64(v)
		}
		if math.Abs(sum-1) > 1e-5 {
			t.Fatalf("probabilities add up to %v", sum)
		}
		// Order is kept, except where probabilities become equal.
		for i := range p {
			if scores[i] > scores[label] && p[i] < p[label] {
				t.Fatalf("score %v gives less than score %v", scores[i], scores[label])
			}
		}
	})
}

func TestConfusion(t *testing.T) {
	c := NewConfusion(4) // class 2 has no images
	for _, p := range [][2]int{{0, 0}, {0, 0}, {0, 1}, {0, 3}, {1, 1}, {1, 0}, {1, 0}, {3, 3}, {3, 2}} {
		c.Add(p[0], p[1])
	}
	if c.Classes() != 4 || c.Total() != 9 || c.Images(0) != 4 || c.Images(2) != 0 || c.Predicted(0) != 4 || c.Predicted(2) != 1 {
		t.Errorf("%d classes, %d images, %d and %d in 0 and 2, %d and %d taken for 0 and 2",
			c.Classes(), c.Total(), c.Images(0), c.Images(2), c.Predicted(0), c.Predicted(2))
	}
	if c.Count(1, 0) != 2 || c.Count(0, 1) != 1 {
		t.Errorf("1 for 0: %d, 0 for 1: %d; want 2, 1", c.Count(1, 0), c.Count(0, 1))
	}
	if got := c.Error(); got != 5./9 {
		t.Errorf("Error = %v, want 5/9", got)
	}
	if got, want := fmt.Sprint(c.PerClassError()), fmt.Sprint([]float64{0.5, 2. / 3, math.NaN(), 0.5}); got != want {
		t.Errorf("PerClassError = %s, want %s", got, want)
	}
	if got, want := c.MeanClassRecall(), (0.5+1./3+0.5)/3; math.Abs(got-want) > 1e-15 {
		t.Errorf("MeanClassRecall = %v, want %v", got, want)
	}
	all := []Mistake{{1, 0, 2}, {0, 1, 1}, {0, 3, 1}, {3, 2, 1}}
	for k, want := range map[int][]Mistake{-1: nil, 0: nil, 2: all[:2], 4: all, 9: all} {
		if got := c.Mistakes(k); !slices.Equal(got, want) {
			t.Errorf("Mistakes(%d) = %v, want %v", k, got, want)
		}
	}
}

func TestConfusionOfNothing(t *testing.T) {
	for n := range 3 {
		c := NewConfusion(n)
		if !math.IsNaN(c.Error()) || !math.IsNaN(c.MeanClassRecall()) || c.Total() != 0 || len(c.PerClassError()) != n || len(c.Mistakes(5)) != 0 {
			t.Errorf("%d classes without images: error %v, recall %v, mistakes %v", n, c.Error(), c.MeanClassRecall(), c.Mistakes(5))
		}
	}
}

// The matrix's error is the top-1 error of the same predictions.
// The sparse matrix is the dense one, and of 20,000 classes takes no 400 million counts.
func TestConfusionIsSparse(t *testing.T) {
	const classes, images = 30, 5000
	rng := rand.New(rand.NewPCG(3, 4))
	var dense [classes][classes]int
	c := NewConfusion(classes)
	for range images {
		truth, predicted := rng.IntN(classes), rng.IntN(classes)*rng.IntN(2)
		dense[truth][predicted]++
		c.Add(truth, predicted)
	}
	var mistakes []Mistake
	for truth := range dense {
		most := Mistake{truth, -1, 0}
		row, column := 0, 0
		for p, n := range dense[truth] {
			if c.Count(truth, p) != n {
				t.Errorf("count of %d as %d: %d, want %d", truth, p, c.Count(truth, p), n)
			}
			if row, column = row+n, column+dense[p][truth]; p != truth && n > 0 {
				mistakes = append(mistakes, Mistake{truth, p, n})
				if n > most.Count {
					most = Mistake{truth, p, n}
				}
			}
		}
		if c.Images(truth) != row || c.Predicted(truth) != column || c.MostConfused()[truth] != most {
			t.Errorf("class %d: %d images, %d predicted, %v; want %d, %d, %v", truth, c.Images(truth), c.Predicted(truth), c.MostConfused()[truth], row, column, most)
		}
	}
	slices.SortStableFunc(mistakes, func(a, b Mistake) int { return b.Count - a.Count })
	if got := c.Mistakes(images); !slices.Equal(got, mistakes) {
		t.Errorf("mistakes %v, want %v", got, mistakes)
	}
	if c.Total() != images {
		t.Errorf("%d images in all", c.Total())
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	large := NewConfusion(20_000)
	large.Add(19_999, 3)
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 1<<20 || large.MostConfused()[19_999].Predicted != 3 {
		t.Errorf("20,000 classes take %d bytes", taken)
	}
}

func TestConfusionAgreesWithTopKError(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		classes := rapid.IntRange(1, 6).Draw(t, "classes")
		c := NewConfusion(classes)
		var ranks []int
		for range rapid.IntRange(1, 30).Draw(t, "images") {
			scores := rapid.SliceOfN(rapid.Float32Range(0, 1), classes, classes).Draw(t, "scores")
			label := rapid.IntRange(0, classes-1).Draw(t, "label")
			c.Add(label, TopK(scores, 1)[0])
			ranks = append(ranks, Rank(scores, label))
		}
		if got, want := c.Error(), TopKError(ranks, 1); got != want {
			t.Fatalf("Error = %v, TopKError %v", got, want)
		}
	})
}

func TestPanics(t *testing.T) {
	c := NewConfusion(2)
	for name, f := range map[string]func(){
		"Rank low":     func() { Rank([]float32{1}, -1) },
		"Rank high":    func() { Rank([]float32{1}, 1) },
		"Softmax":      func() { Softmax(make([]float32, 2), make([]float32, 3)) },
		"Add truth":    func() { c.Add(2, 0) },
		"Add wraps":    func() { c.Add(0, 2) },
		"Count":        func() { c.Count(-1, 0) },
		"NewConfusion": func() { NewConfusion(-1) },
		"Images":       func() { c.Images(2) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if _, ok := recover().(string); !ok {
					t.Error("no panic with a string")
				}
			}()
			f()
		})
	}
}
