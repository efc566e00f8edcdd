package preprocess

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestStatsDependOnNeitherOrderNorSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var images []*Image
		for range rapid.IntRange(1, 6).Draw(t, "images") {
			images = append(images, drawImage(t))
		}
		var all, a, b StatsAccumulator
		for _, im := range images {
			all.Add(im)
		}
		for _, i := range rapid.Permutation(indices(len(images))).Draw(t, "order") {
			if rapid.Bool().Draw(t, "first") {
				a.Add(images[i])
			} else {
				b.Add(images[i])
			}
		}
		b.Merge(&a)
		want, err := all.Stats()
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("%+v, want %+v", got, want)
		}
	})
}

func indices(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func TestStatsEigenSystem(t *testing.T) {
	var a StatsAccumulator
	a.Add(noise(31, 17, 8))
	s, err := a.Stats()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if i > 0 && s.Eigenvalues[i] > s.Eigenvalues[i-1] {
			t.Errorf("eigenvalues %v, want the largest first", s.Eigenvalues)
		}
		for j := range 3 {
			dot, quadratic := 0.0, 0.0
			for c := range 3 {
				dot += s.Eigenvectors[i][c] * s.Eigenvectors[j][c]
				for d := range 3 {
					quadratic += s.Eigenvectors[i][c] * a.covariance(min(c, d), max(c, d)) * s.Eigenvectors[j][d]
				}
			}
			wantDot, wantQuadratic := 0.0, 0.0
			if i == j {
				wantDot, wantQuadratic = 1, s.Eigenvalues[i]
			}
			near(t, "pᵢ·pⱼ", dot, wantDot, 1e-12)
			near(t, "pᵢ·C·pⱼ", quadratic, wantQuadratic, 1e-9)
		}
	}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Stats
	if err := json.Unmarshal(data, &back); err != nil || back != s {
		t.Errorf("through JSON: %+v, %v, want %+v", back, err, s)
	}
}

func TestStatsOfGreyPixels(t *testing.T) {
	var a StatsAccumulator
	if _, err := a.Stats(); err == nil {
		t.Error("no pixels: no error")
	}
	im := NewImage(2, 1)
	for c := range 3 {
		im.Pix[3+c] = 200
	}
	a.Add(im)
	s, err := a.Stats()
	if err != nil {
		t.Fatal(err)
	}
	// Covariance 10⁴ everywhere: one eigenvalue of 3·10⁴ along (1,1,1)/√3.
	near(t, "eigenvalue", s.Eigenvalues[0], 3e4, 1e-12)
	near(t, "other eigenvalue", s.Eigenvalues[1], 0, 1e-8)
	shift := s.Shift([3]float64{0.1, 0, 0})
	eigen := s.ShiftEigenvalue([3]float64{0.1, 0, 0})
	for c := range 3 {
		near(t, "mean", s.Mean[c], 100, 0)
		near(t, "eigenvector", s.Eigenvectors[0][c], 1/math.Sqrt(3), 1e-12)
		near(t, "shift", float64(shift[c]), 10, 1e-6)
		near(t, "eigenvalue shift", float64(eigen[c]), 0.1*3e4/255/math.Sqrt(3), 1e-6)
	}
}

// What another process has counted comes whole.
func TestStatsThroughBytes(t *testing.T) {
	var a, b StatsAccumulator
	a.Add(noise(31, 17, 3))
	for range 34 { // numbers of many bytes
		twice := a
		a.Merge(&twice)
	}
	data, err := a.MarshalBinary()
	if err := errors.Join(err, b.UnmarshalBinary(data)); err != nil || a != b {
		t.Errorf("%+v, want %+v (%v)", b, a, err)
	}
	if err := b.UnmarshalBinary(data[1:]); err == nil || !strings.Contains(err.Error(), "79 bytes, want 80") {
		t.Errorf("a byte less: error %v", err)
	}
}

// Counts beyond 2⁵³ stay exact: a repeated image keeps its statistics.
func TestStatsOfManyPixels(t *testing.T) {
	var a StatsAccumulator
	a.Add(noise(64, 64, 2))
	want, err := a.Stats()
	if err != nil {
		t.Fatal(err)
	}
	for range 34 {
		b := a
		a.Merge(&b)
	}
	got, err := a.Stats()
	if err != nil {
		t.Fatal(err)
	}
	want.Pixels <<= 34
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
