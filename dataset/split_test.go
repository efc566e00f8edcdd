package dataset

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"
)

func TestSplitIsStratified(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counts := rapid.SliceOfN(rapid.IntRange(1, 30), 1, 6).Draw(t, "counts")
		fraction := rapid.Float64Range(0.01, 0.99).Draw(t, "fraction")
		seed := rapid.Uint64().Draw(t, "seed")
		var samples []Sample
		for label, n := range counts {
			for range n {
				samples = append(samples, Sample{Name: strings.Repeat("x", len(samples)+1), Label: label})
			}
		}
		d, err := New("d", fstest.MapFS{}, make([]string, len(counts)), samples)
		if err != nil {
			t.Fatal(err)
		}
		train, val, err := Split(d, fraction, seed)
		if slices.Max(counts) == 1 {
			if err == nil {
				t.Fatal("classes of one image: no error")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		nTrain, nVal := train.Counts(), val.Counts()
		for c, n := range counts {
			if nTrain[c]+nVal[c] != n || nTrain[c] < 1 || (n > 1 && nVal[c] < 1) {
				t.Fatalf("class %d of %d images: %d for training, %d for validation", c, n, nTrain[c], nVal[c])
			}
			if d := float64(nVal[c]) - fraction*float64(n); d > 1 || d < -1 {
				t.Fatalf("class %d of %d images: %d for validation, want %v of them", c, n, nVal[c], fraction)
			}
		}
		var all []string
		for _, part := range []*Dataset{train, val} {
			if !slices.IsSortedFunc(part.Samples, func(a, b Sample) int { return len(a.Name) - len(b.Name) }) {
				t.Fatal("samples not in their order")
			}
			for _, s := range part.Samples {
				all = append(all, s.Name)
			}
		}
		slices.Sort(all)
		if len(slices.Compact(all)) != len(samples) {
			t.Fatal("an image is lost, or in both parts")
		}
		again, _, _ := Split(d, fraction, seed)
		if !reflect.DeepEqual(again.Samples, train.Samples) {
			t.Fatal("the same seed gives another split")
		}
	})
}

func TestSplitSeedAndErrors(t *testing.T) {
	d, _ := pictures(t, 60)
	a, _, err := Split(d, 0.5, 1)
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := Split(d, 0.5, 2)
	if err != nil {
		t.Fatal(err)
	}
	if reflect.DeepEqual(a.Samples, b.Samples) {
		t.Error("two seeds give the same split")
	}
	zero := 0.0
	for _, f := range []float64{0, 1, -0.1, 1.5, zero / zero} {
		if _, _, err := Split(d, f, 1); err == nil {
			t.Errorf("Split(%v): no error", f)
		}
	}
}
