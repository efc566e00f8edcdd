package transfer

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// clustered is n descriptors of dim numbers that are not negative and lie in clusters, as those
// of networks do: similarities from 0.3 to nearly 1.
func clustered(n, dim int, seed uint64) (*Descriptors, []float32) {
	rng := rand.New(rand.NewPCG(seed, 1))
	centres := make([]float64, 12*dim)
	for i := range centres {
		centres[i] = math.Exp(1.5 * rng.NormFloat64())
	}
	x := make([]float32, n*dim)
	for r := range n {
		c := rng.IntN(12)
		spread := math.Exp(2*rng.NormFloat64() - 2)
		for i := range dim {
			x[r*dim+i] = float32(max(0, centres[c*dim+i]*(1+spread*rng.NormFloat64())))
		}
	}
	return labelled(n, 2, x), x
}

// TestSketchesAreNeverFurtherApart: the bound by which pairs are left out holds for pairs of any
// similarity, with what rounding may add.
func TestSketchesAreNeverFurtherApart(t *testing.T) {
	for _, dim := range []int{1, 7, 31, 32, 33, 512} {
		d, x := clustered(400, dim, uint64(dim))
		for r := range 50 { // and near-duplicates of any nearness
			for i := range dim {
				x[(r+50)*dim+i] = x[r*dim+i] * float32(1+math.Pow(2, -float64(r)/2)*float64(i%3))
			}
		}
		s, err := d.sketched(t.Context(), 2, nil)
		if err != nil {
			t.Fatal(err)
		}
		tight := 0.0
		for a := range d.Len() {
			for b := range a {
				apart := 0.0
				for i, v := range s.z(int32(a)) {
					apart += math.Pow(float64(v)-float64(s.z(int32(b))[i]), 2)
				}
				most := 2 - 2*cosine(x[a*dim:(a+1)*dim], x[b*dim:(b+1)*dim])
				if apart > most+slack(dim) {
					t.Fatalf("dim %d, rows %d and %d: sketches √%v apart, rows √%v", dim, a, b, apart, most)
				}
				tight += apart / max(most, 1e-9) / float64(d.Len()*(d.Len()-1)/2)
			}
		}
		if dim > 7 && tight < 0.5 {
			t.Errorf("dim %d: sketches keep %.2f of the squares of distances, want most", dim, tight)
		}
	}
}

// TestAxesAreOrthonormal also where there are fewer directions than axes.
func TestAxesAreOrthonormal(t *testing.T) {
	d, _ := clustered(5, 64, 3)
	axes, err := d.axes(t.Context(), sketchDim-1)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range axes {
		for j, b := range axes[:i+1] {
			dot := 0.0
			for k := range a {
				dot += a[k] * b[k]
			}
			want := 0.0
			if i == j {
				want = 1
			}
			if math.Abs(dot-want) > 1e-12 && !(i == j && dot == 0) {
				t.Errorf("axes %d and %d: %v", i, j, dot)
			}
		}
	}
}

// TestPlantedPairs: of planted pairs just above and just below the threshold, the search finds
// exactly those above, among clusters of many leaves.
func TestPlantedPairs(t *testing.T) {
	const n, dim = 2500, 96
	for _, threshold := range []float64{0.9, 0.99, 0.9999} {
		d, x := clustered(n, dim, 9)
		rng := rand.New(rand.NewPCG(4, 4))
		for range 300 {
			a, b := rng.IntN(n), rng.IntN(n)
			if a == b {
				continue
			}
			// Turn a towards something at random until the cosine is near the threshold.
			row, other := x[a*dim:(a+1)*dim], make([]float64, dim)
			along := 0.0
			for i := range other {
				other[i] = rng.NormFloat64()
				along += other[i] * float64(row[i])
			}
			length := norm(row)
			rest := 0.0
			for i := range other {
				other[i] -= along / length / length * float64(row[i])
				rest += other[i] * other[i]
			}
			cos := threshold + (1-threshold)*(rng.Float64()-0.5)*0.02
			sin := math.Sqrt(1 - cos*cos)
			for i := range other {
				x[b*dim+i] = float32(cos*float64(row[i])/length + sin*other[i]/math.Sqrt(rest))
			}
		}
		pairs, err := d.Duplicates(t.Context(), threshold, SearchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		found := map[[2]int]bool{}
		for _, p := range pairs {
			found[[2]int{p.A, p.B}] = true
		}
		lengths := make([]float64, n)
		for r := range lengths {
			lengths[r] = norm(x[r*dim : (r+1)*dim])
		}
		want, missed := 0, 0
		for a := range n {
			for b := a + 1; b < n; b++ {
				if s := dot64(x[a*dim:(a+1)*dim], x[b*dim:(b+1)*dim]) / lengths[a] / lengths[b]; float32(s) >= float32(threshold) {
					want++
					if !found[[2]int{a, b}] {
						missed++
					}
				}
			}
		}
		wrong := len(found) - want + missed
		if missed > 0 || wrong > 0 || want < 50 {
			t.Errorf("threshold %v: %d found, %d missed, %d wrong", threshold, want, missed, wrong)
		}
	}
}

// TestLeaves: every valid row is in one leaf, and lies within its bounds.
func TestLeaves(t *testing.T) {
	d, _ := random(3000, 40, true)
	s, err := d.sketched(t.Context(), 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	var all []int32
	for _, l := range s.leaves() {
		if len(l.rows) > leafRows {
			t.Errorf("a leaf of %d rows", len(l.rows))
		}
		for _, r := range l.rows {
			for i, v := range s.z(r) {
				if v < l.low[i] || v > l.high[i] {
					t.Fatalf("row %d is outside its leaf", r)
				}
			}
		}
		all = append(all, l.rows...)
	}
	slices.Sort(all)
	at := 0
	for r := range d.Rows {
		if d.Rows[r].Error != "" {
			continue
		}
		if at >= len(all) || all[at] != int32(r) {
			t.Fatalf("row %d is in no leaf or in several", r)
		}
		at++
	}
	if at != len(all) {
		t.Errorf("%d rows in leaves, want %d", len(all), at)
	}
}

// TestDuplicatesOfAlikeRows: rows of which the sketches tell little, being all alike or random,
// give the pairs that comparing every two gives.
func TestDuplicatesOfAlikeRows(t *testing.T) {
	const n, dim = 600, 200
	for threshold, base := range map[float64]float32{0.15: 0, 0.9: 3} {
		d, x := random(n, dim, true)
		for i := range x {
			x[i] += base
		}
		pairs, err := d.Duplicates(t.Context(), threshold, SearchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		found := map[[2]int]bool{}
		for _, p := range pairs {
			found[[2]int{p.A, p.B}] = true
		}
		want := 0
		for a := range n {
			for b := a + 1; b < n; b++ {
				if d.Rows[a].Error != "" || d.Rows[b].Error != "" {
					continue
				}
				if s := cosine(x[a*dim:(a+1)*dim], x[b*dim:(b+1)*dim]); float32(s) >= float32(threshold) {
					want++
					if !found[[2]int{a, b}] {
						t.Fatalf("threshold %v: rows %d and %d of similarity %v are missed", threshold, a, b, s)
					}
				}
			}
		}
		if len(pairs) != want || want < 1000 {
			t.Errorf("threshold %v: %d pairs, want %d", threshold, len(pairs), want)
		}
	}
}
