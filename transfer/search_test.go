package transfer

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
)

// random is n random descriptors of dim numbers, in memory; every tenth is unreadable.
func random(n, dim int, raw bool) (*Descriptors, []float32) {
	rng := rand.New(rand.NewPCG(5, 6))
	x := make([]float32, n*dim)
	d := &Descriptors{Rows: make([]Row, n), Header: Header{Dim: dim, Raw: raw, Data: eval.DataID{Images: n}, Shard: eval.Shard{Index: 1, Count: 1}}}
	for r := range n {
		v := x[r*dim : (r+1)*dim]
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		by := float32(1 / norm(v))
		if raw {
			by = float32(r%3 + 1)
		}
		for i := range v {
			v[i] *= by
		}
		if r%10 == 7 {
			d.Rows[r].Error = "unreadable"
		}
	}
	d.read = func(start int, dst []float32) error {
		copy(dst, x[start:])
		return nil
	}
	return d, x
}

func cosine(a, b []float32) float64 {
	sum := 0.0
	for i, v := range a {
		sum += float64(v) * float64(b[i])
	}
	return sum / norm(a) / norm(b)
}

// The scan finds what comparing with every row and sorting finds, with any number of
// workers.
func TestSearch(t *testing.T) {
	for _, raw := range []bool{false, true} {
		const n, dim, k = 1000, 300, 7 // three chunks
		d, x := random(n, dim, raw)
		copy(x[400*dim:401*dim], x[20*dim:21*dim]) // equal rows: the first comes first
		queries := slices.Concat(x[20*dim:21*dim], x[33*dim:34*dim])
		for i := range queries[dim:] {
			queries[dim+i] *= 3 // the length of a query doesn't matter
		}
		var want [][]Match
		for q := range 2 {
			var all []Match
			for r := range n {
				if d.Rows[r].Error == "" {
					all = append(all, Match{r, float32(cosine(x[r*dim:(r+1)*dim], queries[q*dim:(q+1)*dim]))})
				}
			}
			slices.SortStableFunc(all, func(a, b Match) int { return int(math.Copysign(1, float64(b.Similarity-a.Similarity))) })
			want = append(want, all[:k])
		}
		var first [][]Match
		for _, workers := range []int{1, 2, 5} {
			got, err := d.Search(t.Context(), queries, k, SearchOptions{Workers: workers})
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = got
			} else if !reflect.DeepEqual(got, first) {
				t.Errorf("%d workers find %v, want %v", workers, got, first)
			}
			for q := range want {
				for i, w := range want[q][2:] {
					if g := got[q][i+2]; g.Row != w.Row || math.Abs(float64(g.Similarity-w.Similarity)) > 1e-6 {
						t.Errorf("raw %v, query %d: place %d is %v, want %v", raw, q, i+2, g, w)
					}
				}
			}
			if got[0][0].Row != 20 || got[0][1].Row != 400 || got[1][0].Row != 33 {
				t.Errorf("the rows themselves are not the best: %v", got)
			}
		}
	}
	d, x := random(5, 4, false)
	if got, err := d.Search(t.Context(), x[:4], 100, SearchOptions{}); err != nil || len(got[0]) != 5 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := d.Search(t.Context(), x[:3], 1, SearchOptions{}); err == nil {
		t.Error("a query of 3 numbers for rows of 4")
	}
}

// Every pair above the threshold is found, and no other.
func TestDuplicates(t *testing.T) {
	const n, dim = 2348, 37 // ten leaves
	d, x := random(n, dim, true)
	for to, from := range map[int]int{2100: 3, 12: 3, 1411: 410, 7: 5 /* unreadable */} {
		copy(x[to*dim:(to+1)*dim], x[from*dim:(from+1)*dim])
		x[to*dim] *= 1.01
	}
	for _, workers := range []int{1, 3} {
		pairs, err := d.Duplicates(t.Context(), 0.999, SearchOptions{Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(Groups(pairs)); got != "[[3 12 2100] [410 1411]]" || len(pairs) != 4 {
			t.Errorf("%d workers: groups %s of %v", workers, got, pairs)
		}
	}
	const least = 0.5
	got, err := d.Duplicates(t.Context(), least, SearchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(got, func(a, b Pair) int { return cmp.Compare(b.Similarity, a.Similarity) }) {
		t.Error("not the most similar first")
	}
	found := map[[2]int]float32{}
	for _, p := range got {
		found[[2]int{p.A, p.B}] = p.Similarity
	}
	if len(found) != len(got) || len(got) < 1000 {
		t.Errorf("%d pairs, of them %d different", len(got), len(found))
	}
	for b := range n {
		for a := range b {
			want := cosine(x[a*dim:(a+1)*dim], x[b*dim:(b+1)*dim])
			if d.Rows[a].Error != "" || d.Rows[b].Error != "" {
				want = 0
			}
			s, ok := found[[2]int{a, b}]
			if ok != (want >= least) && math.Abs(want-least) > 1e-6 || ok && math.Abs(float64(s)-want) > 1e-6 {
				t.Fatalf("rows %d and %d: %v, %v, want %v", a, b, s, ok, want)
			}
		}
	}
	// 1 is like 2, and 2 like 3, but 1 isn't like 3.
	if got := fmt.Sprint(Groups([]Pair{{3, 4, 1}, {1, 2, 1}, {2, 3, 1}, {1, 9, 1}})); got != "[[1 2 9] [3 4]]" {
		t.Errorf("groups %s", got)
	}
	if _, err := d.Duplicates(t.Context(), 0, SearchOptions{}); err == nil {
		t.Error("a threshold of 0")
	}
}

// A query is described as the file's images were: its own row is found, with the same
// bits.
func TestDescribe(t *testing.T) {
	dir := folder(t)
	images := open(t, Files, dir)
	nets := []Net{smallNet(1), smallNet(2)}
	nets[0].Scales = []int{40, 56}
	for _, o := range []Options{{Flip: true}, {Average: true, Max: true}, {Raw: true, Unrectified: true}} {
		out, _ := extract(t, nets, images, "f.npy", o)
		d, x := contents(t, out)
		open := func(n NetID) (*vgg.Model, error) {
			for _, net := range nets {
				if net.Weights == n.Weights {
					return net.Open()
				}
			}
			return nil, fmt.Errorf("no %s", n.Weights)
		}
		query, err := OpenImages(t.Context(), ImageOptions{Layout: Files}, filepath.Join(dir, "b", "04.png"), filepath.Join(dir, "a", "06.png"))
		if err != nil {
			t.Fatal(err)
		}
		rows, errs, err := Describe(t.Context(), d.Header, query, Options{}, open)
		if err != nil {
			t.Fatal(err)
		}
		if rows[1] != nil || errs[1] == nil || errs[0] != nil {
			t.Fatalf("errors %v", errs)
		}
		at := slices.IndexFunc(d.Rows, func(r Row) bool { return filepath.Base(r.File) == "04.png" })
		sameBits(t, "the query", rows[0], x[at*d.Header.Dim:(at+1)*d.Header.Dim])
		h := d.Header
		h.Dim++
		if _, _, err := Describe(t.Context(), h, query, Options{}, open); err == nil || !strings.Contains(err.Error(), "can't be made again: numbers of a descriptor") {
			t.Errorf("of other numbers: %v", err)
		}
	}
}
