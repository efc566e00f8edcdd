package transfer

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// labelled returns descriptors of n images of k classes with the numbers x.
func labelled(n, k int, x []float32) *Descriptors {
	h := Header{Format: fileFormat, Layout: oneClass, Dim: len(x) / n, Shard: eval.Shard{Index: 1, Count: 1}, Data: eval.DataID{Name: "set", Images: n}}
	for c := range k {
		h.Data.Classes = append(h.Data.Classes, fmt.Sprint(c))
	}
	var rows []Row
	for i := range n {
		rows = append(rows, Row{Image: i, File: fmt.Sprint(i), Labels: []int{i % k}})
	}
	return InMemory(h, rows, x)
}

func TestFolds(t *testing.T) {
	d := labelled(30, 3, make([]float32, 30))
	rows := d.Readable()
	folds, err := d.Folds(rows, 5, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(slices.Values(slices.Concat(folds...))); !slices.Equal(got, rows) {
		t.Errorf("folds %v are not all rows once", folds)
	}
	for _, f := range folds {
		var count [3]int
		for _, r := range f {
			count[d.Rows[r].Labels[0]]++
		}
		if count != [3]int{2, 2, 2} || !slices.IsSorted(f) {
			t.Errorf("fold %v has %v images of the classes, want 2 of each", f, count)
		}
	}
	again, _ := d.Folds(rows, 5, nil, 1)
	other, _ := d.Folds(rows, 5, nil, 2)
	if fmt.Sprint(again) != fmt.Sprint(folds) || fmt.Sprint(other) == fmt.Sprint(folds) {
		t.Error("the folds are not a function of the seed")
	}
	groups := [][]int{{0, 1, 29}, {4, 7}}
	folds, err = d.Folds(rows, 5, groups, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		for _, f := range folds {
			if n := len(slices.DeleteFunc(slices.Clone(g), func(r int) bool { return !slices.Contains(f, r) })); n != 0 && n != len(g) {
				t.Errorf("group %v is divided: %v", g, folds)
			}
		}
	}
	if _, err := d.Folds(rows, 5, [][]int{rows}, 1); err == nil || !strings.Contains(err.Error(), "1 images that are no near-duplicates") {
		t.Errorf("a group of all: %v", err)
	}
	if _, err := d.Folds(rows[:1], 2, nil, 1); err == nil {
		t.Error("2 folds of an image")
	}
}

// TestChosenOnTheOthers: each fold's C is the one that ChooseC finds on the other folds.
func TestChosenOnTheOthers(t *testing.T) {
	_, x := random(60, 6, false)
	d := labelled(60, 3, x)
	folds, err := d.Folds(d.Readable(), 4, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	o := DefaultTraining()
	o.Cs = []float64{10, 0.01, 0.3, 1e-4}
	v, err := CrossValidate(t.Context(), d, x, folds, o)
	if err != nil {
		t.Fatal(err)
	}
	for f := range folds {
		_, c, tried, err := ChooseC(t.Context(), d, x, slices.Concat(folds[:f], folds[f+1:]), o)
		if err != nil || v.Cs[f] != c {
			t.Errorf("fold %d: C %v, want %v by %v; error %v", f, v.Cs[f], c, tried, err)
		}
	}
	if slices.Max(v.Cs) == slices.Min(v.Cs) {
		t.Errorf("C %v of all folds: the test can't tell them apart", v.Cs)
	}
}

// TestCrossValidateIsBlind: the scores of a fold don't depend on its own labels, and those of
// the other folds do.
func TestCrossValidateIsBlind(t *testing.T) {
	_, x := random(30, 6, false)
	d := labelled(30, 3, x)
	folds, err := d.Folds(d.Readable(), 5, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, cs := range [][]float64{{1}, {0.1, 1, 10}} {
		o := DefaultTraining()
		o.Cs = cs
		was, err := CrossValidate(t.Context(), d, x, folds, o)
		if err != nil {
			t.Fatal(err)
		}
		changed := labelled(30, 3, x)
		for _, r := range folds[0] {
			changed.Rows[r].Labels = []int{(changed.Rows[r].Labels[0] + 1) % 3}
		}
		now, err := CrossValidate(t.Context(), changed, x, folds, o)
		if err != nil {
			t.Fatal(err)
		}
		same := func(f int) bool {
			for _, r := range folds[f] {
				if !slices.Equal(was.Scores[r*3:r*3+3], now.Scores[r*3:r*3+3]) {
					return false
				}
			}
			return true
		}
		if !same(0) || same(1) {
			t.Errorf("%v: after the labels of fold 0 changed: its scores are the same: %v, those of fold 1: %v; want true and false", cs, same(0), same(1))
		}
		if len(was.Cs) != 5 || was.Score.Images != 30 {
			t.Errorf("C %v, %d images", was.Cs, was.Score.Images)
		}
	}
}

// TestComputeIsExtract: descriptors in memory are those of a file.
func TestComputeIsExtract(t *testing.T) {
	images := open(t, Auto, folder(t))
	for _, o := range []Options{{}, {Flip: true, Crop: true}} {
		out, _ := extract(t, []Net{smallNet(1)}, images, "f.npy", o)
		want, numbers := contents(t, out)
		d, x, err := Compute(t.Context(), []Net{smallNet(1)}, images, o)
		if err != nil {
			t.Fatal(err)
		}
		sameBits(t, "numbers", x, numbers)
		if diff := d.Header.differs(want.Header); diff != "" {
			t.Error(diff)
		}
		for r := range d.Rows {
			want.Rows[r].Stamp = Stamp{}
		}
		sameRows(t, d.Rows, want.Rows)
	}
}

// TestCrop: the descriptor of an image's central crop is the mean of the activations of that
// crop.
func TestCrop(t *testing.T) {
	images := open(t, Auto, folder(t))
	whole, _, err := Compute(t.Context(), []Net{smallNet(1)}, images, Options{})
	if err != nil {
		t.Fatal(err)
	}
	crop, x, err := Compute(t.Context(), []Net{smallNet(1)}, images, Options{Crop: true, Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := crop.Header.recipe(whole.Header); !strings.Contains(diff, "without normalisation") {
		t.Errorf("%q", diff)
	}
	crop.Header.Raw = false
	if diff := crop.Header.recipe(whole.Header); !strings.Contains(diff, "central crop true, want false") {
		t.Errorf("%q", diff)
	}
	m, err := smallNet(1).Open()
	if err != nil {
		t.Fatal(err)
	}
	im, err := images.Decode(t.Context(), 0, dataset.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, h := m.Preprocess.Fit.Size(im.W, im.H, m.Preprocess.Resize)
	seen, err := preprocess.Resize(im.Image, w, h, m.Preprocess.Filter)
	if err != nil {
		t.Fatal(err)
	}
	side := m.Net.Options().Input
	left, top := (w-side+1)/2, (h-side+1)/2
	if seen, err = preprocess.Crop(seen, left, top, left+side, top+side); err != nil {
		t.Fatal(err)
	}
	net, err := m.Net.Until(m.Net.DescriptorLayer(), true)
	if err != nil {
		t.Fatal(err)
	}
	in := tensor.New(1, 3, side, side)
	m.Preprocess.Tensor(in.Data, seen, [3]float32{})
	y, err := net.Forward(in)
	if err != nil {
		t.Fatal(err)
	}
	for k := range crop.Header.Dim {
		mean, n := 0.0, y.Dim(2)*y.Dim(3)
		for _, v := range y.Data[k*n : (k+1)*n] {
			mean += float64(v) / float64(n)
		}
		if math.Abs(mean-float64(x[k])) > 1e-5*math.Max(1, mean) {
			t.Fatalf("number %d is %v, want %v", k, x[k], mean)
		}
	}
}
