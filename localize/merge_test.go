package localize

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/preprocess"
)

// literalMerge is greedy merging as it is published, step by step: all pairs are compared
// every time.
func literalMerge(boxes []merged, threshold float64) []merged {
	boxes = slices.Clone(boxes)
	for {
		best, bi, bj := math.Inf(1), -1, -1
		for i := range boxes {
			for j := i + 1; j < len(boxes); j++ {
				if s := MatchScore(boxes[i].box, boxes[j].box); s < best {
					best, bi, bj = s, i, j
				}
			}
		}
		if bi < 0 || best >= threshold {
			return boxes
		}
		var mean corners
		for k := range mean {
			mean[k] = (boxes[bi].box[k] + boxes[bj].box[k]) / 2
		}
		boxes[bi] = merged{mean, slices.Concat(boxes[bi].windows, boxes[bj].windows)}
		boxes = slices.Delete(boxes, bj, bj+1)
	}
}

func sameBoxes(a, b []merged) bool {
	return slices.EqualFunc(a, b, func(x, y merged) bool {
		x.windows, y.windows = slices.Sorted(slices.Values(x.windows)), slices.Sorted(slices.Values(y.windows))
		return x.box == y.box && slices.Equal(x.windows, y.windows)
	})
}

// clusters are n boxes round a few places, on a grid of step pixels: a coarse one makes
// equal scores.
func clusters(rng *rand.Rand, n int, step float64) []merged {
	var boxes []merged
	var centres [][4]float64
	for range 1 + rng.IntN(4) {
		centres = append(centres, [4]float64{rng.Float64() * 200, rng.Float64() * 200, 20 + rng.Float64()*80, 20 + rng.Float64()*80})
	}
	for i := range n {
		c := centres[rng.IntN(len(centres))]
		for k := range c {
			c[k] = math.Round((c[k]+rng.NormFloat64()*8)/step) * step
		}
		c[2], c[3] = max(c[2], step), max(c[3], step)
		boxes = append(boxes, merged{corners{c[0], c[1], c[0] + c[2], c[1] + c[3]}, []int{i}})
	}
	return boxes
}

func TestMergeAgainstLiteralSteps(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	joined, kept := 0, 0
	for n := range 300 {
		step := []float64{1e-6, 8}[n%2]
		boxes := clusters(rng, rng.IntN(40), step)
		threshold := []float64{0, 0.3, 0.6, 0.9, 1.5, 10}[rng.IntN(6)]
		before := slices.Clone(boxes)
		got, want := merge(boxes, threshold), literalMerge(boxes, threshold)
		if !sameBoxes(got, want) {
			t.Fatalf("%d boxes, threshold %g:\n%v\nwant\n%v", len(boxes), threshold, got, want)
		}
		if !sameBoxes(boxes, before) {
			t.Fatal("merging changed the boxes it was given")
		}
		joined += len(boxes) - len(got)
		if len(got) > 1 {
			kept++
		}
	}
	if joined < 1000 || kept < 50 {
		t.Errorf("%d boxes merged, %d times several left: nothing is tested", joined, kept)
	}
}

// TestMergeProperties: no window is lost or doubled, boxes left apart don't match, a
// merged box lies within the hull of its windows' boxes.
func TestMergeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var boxes []merged
		for i := range rapid.IntRange(0, 12).Draw(t, "n") {
			boxes = append(boxes, merged{anyBox(t, 100, 100), []int{i}})
		}
		threshold := rapid.Float64Range(0, 3).Draw(t, "threshold")
		var windows []int
		left := merge(boxes, threshold)
		for i, b := range left {
			windows = append(windows, b.windows...)
			hull := boxes[b.windows[0]].box
			for _, w := range b.windows {
				o := boxes[w].box
				hull = corners{min(hull[0], o[0]), min(hull[1], o[1]), max(hull[2], o[2]), max(hull[3], o[3])}
			}
			if b.box[0] < hull[0]-1e-9 || b.box[1] < hull[1]-1e-9 || b.box[2] > hull[2]+1e-9 || b.box[3] > hull[3]+1e-9 {
				t.Fatalf("%v merged beyond %v", b.box, hull)
			}
			for _, o := range left[i+1:] {
				if s := MatchScore(b.box, o.box); s < threshold {
					t.Fatalf("%v and %v are left apart with a score of %g, below %g", b.box, o.box, s, threshold)
				}
			}
		}
		slices.Sort(windows)
		for i, w := range windows {
			if i != w {
				t.Fatalf("windows %v of %d boxes", windows, len(boxes))
			}
		}
		if len(windows) != len(boxes) {
			t.Fatalf("windows %v of %d boxes", windows, len(boxes))
		}
	})
}

func TestMatchScore(t *testing.T) {
	for _, c := range []struct {
		a, b corners
		want float64
	}{
		{corners{0, 0, 10, 10}, corners{0, 0, 10, 10}, 0},
		{corners{0, 0, 10, 10}, corners{5, 0, 15, 10}, 0.5 + 1 - 1.0/3},
		{corners{0, 0, 10, 10}, corners{30, 40, 40, 50}, 5 + 1},
		{corners{0, 0, 2, 8}, corners{0, 0, 8, 2}, math.Hypot(3, 3)/4 + 1 - 4.0/28},
	} {
		for _, scale := range []float64{1, 0.01, 1000} {
			a, b := c.a, c.b
			for k := range a {
				a[k], b[k] = a[k]*scale, b[k]*scale
			}
			if got, other := MatchScore(a, b), MatchScore(b, a); math.Abs(got-c.want) > 1e-12 || got != other {
				t.Errorf("%v and %v: %v and %v, want %v", a, b, got, other, c.want)
			}
		}
	}
}

// TestThreshold: a caller who sets no threshold gets the command line's, not unmerged boxes.
func TestThreshold(t *testing.T) {
	im := preprocess.NewImage(64, 64)
	for i := range im.Pix {
		im.Pix[i] = uint8(i * 40503 >> 5)
	}
	boxes := func(threshold float64) []Detection {
		l := locator(t, 0, vgg.SCR)
		l.Threshold, l.Nets[0].Scales = threshold, []int{48}
		if err := l.Check(); err != nil {
			t.Fatal(err)
		}
		a, err := l.Dense(t.Context(), im)
		if err != nil {
			t.Fatal(err)
		}
		if threshold == NoMerge && len(a.Unmerged(0)) != len(a.Boxes(0)) {
			t.Errorf("%d boxes with NoMerge, want all %d", len(a.Boxes(0)), len(a.Unmerged(0)))
		}
		return a.Boxes(0)
	}
	if zero, set := boxes(0), boxes(MergeThreshold); !reflect.DeepEqual(zero, set) || len(zero) >= len(boxes(NoMerge)) {
		t.Errorf("%d boxes with the zero value, %d with MergeThreshold, %d unmerged", len(zero), len(set), len(boxes(NoMerge)))
	}
}
