package transfer

import (
	"slices"
	"testing"
)

// TestRandomSplit: a split has so many images of each class in either part, none in both, and
// is a function of its seed and number.
func TestRandomSplit(t *testing.T) {
	d := made(40, 1)
	draw := func(seed uint64, number int) Split {
		t.Helper()
		s, err := d.RandomSplit(7, 5, seed, number)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := draw(3, 1)
	for _, part := range []struct {
		rows []int
		want int
	}{{s.Train, 7}, {s.Test, 5}} {
		var count [2]int
		for _, r := range part.rows {
			count[d.Rows[r].Labels[0]]++
		}
		if count != [2]int{part.want, part.want} {
			t.Errorf("%v images of the classes, want %d of each", count, part.want)
		}
	}
	for _, r := range s.Test {
		if slices.Contains(s.Train, r) {
			t.Errorf("row %d is in both parts", r)
		}
	}
	if again := draw(3, 1); !slices.Equal(again.Train, s.Train) || !slices.Equal(again.Test, s.Test) {
		t.Error("the same seed and number give another split")
	}
	if slices.Equal(draw(3, 2).Train, s.Train) || slices.Equal(draw(4, 1).Train, s.Train) {
		t.Error("another seed or number gives the same split")
	}
	if all, err := d.RandomSplit(7, 0, 3, 1); err != nil || len(all.Test) != 26 {
		t.Errorf("%d test images, %v, want all other 26", len(all.Test), err)
	}
	if _, err := d.RandomSplit(20, 5, 3, 1); err == nil {
		t.Error("no error without an image left to test on")
	}
}

// TestReadRows: rows are read from anywhere, and only those that there are.
func TestReadRows(t *testing.T) {
	d, x := random(9, 4, false)
	got := make([]float32, 8)
	if err := d.ReadRows(3, got); err != nil || !slices.Equal(got, x[12:20]) {
		t.Errorf("rows 3 and 4: %v, %v, want %v", got, err, x[12:20])
	}
	for start, n := range map[int]int{-1: 4, 8: 8, 0: 3} {
		if err := d.ReadRows(start, make([]float32, n)); err == nil {
			t.Errorf("%d numbers from row %d on: no error", n, start)
		}
	}
}

// TestScores: f(x) = w·x + b of every class, in their order; Top sorts them.
func TestScores(t *testing.T) {
	s := &SVM{Info: SVMInfo{Classes: []string{"a", "b"}}, linear: linear{w: []float32{1, 2, 3, -1}, b: []float32{0.5, -4}}}
	got := make([]float32, 2)
	s.Scores(got, []float32{2, 1})
	if want := []float32{4.5, 1}; !slices.Equal(got, want) {
		t.Errorf("scores %v, want %v", got, want)
	}
	if top := s.Top([]float32{2, 1}, 1); len(top) != 1 || top[0] != (Prediction{"a", 4.5}) {
		t.Errorf("best class %v, want a with 4.5", top)
	}
}
