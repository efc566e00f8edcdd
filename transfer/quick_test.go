package transfer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/eval"
)

// indexOf writes n clustered rows of one or two columns as an index, and returns its path and the
// rows. Every eleventh is unreadable, every 31st zero; 42 equals 20. Of a raw one rows have any length.
func indexOf(t *testing.T, n, dim, columns int, raw bool) (string, []float32) {
	t.Helper()
	_, x := clustered(n, dim, uint64(dim))
	h := Header{Format: fileFormat, Raw: raw, Dim: dim, Shard: eval.Shard{Index: 1, Count: 1}, Data: eval.DataID{Name: "set", Images: n}, Regions: []Region{WholeImage}}
	for c := range columns {
		h.Nets = append(h.Nets, NetID{Weights: fmt.Sprint(c), Scales: []int{64}, Channels: dim / columns})
	}
	copy(x[42*dim:43*dim], x[20*dim:21*dim])
	var rows []Row
	for r := range n {
		row, v := Row{Image: r, File: fmt.Sprintf("%d.png", r)}, x[r*dim:(r+1)*dim]
		if !raw {
			by := float32(inverse(norm(v)))
			for i := range v {
				v[i] *= by
			}
		}
		switch {
		case r%11 == 7:
			row.Error = "unreadable"
			clear(v)
		case r%31 == 5:
			clear(v)
		}
		rows = append(rows, row)
	}
	path := filepath.Join(t.TempDir(), "index.npy")
	if err := InMemory(h, rows, x).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	return path, x
}

// TestIndexSearch: a search by sketches finds what comparing with every row finds, to the last bit,
// and reads few rows where few are near.
func TestIndexSearch(t *testing.T) {
	for _, c := range []struct {
		dim, columns int
		raw          bool
	}{{3, 1, false}, {40, 2, true}, {130, 1, false}, {512, 2, false}} {
		const n = 9001 // three chunks
		path, x := indexOf(t, n, c.dim, c.columns, c.raw)
		d, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		index, err := openIndex(t.Context(), path, 0, SearchOptions{Workers: 3})
		if err != nil || index.quick == nil {
			t.Fatalf("no sketches: %v", err)
		}
		defer index.Close()
		row := func(r int) []float32 { return x[r*c.dim : (r+1)*c.dim] }
		random := make([]float32, c.dim)
		rng := rand.New(rand.NewPCG(1, 9))
		for i := range random {
			random[i] = float32(rng.NormFloat64())
		}
		queries := slices.Concat(row(20), row(8000), random, make([]float32, c.dim))
		for i := range c.dim {
			queries[c.dim+i] *= 3
		}
		for _, k := range []int{1, 10, n} {
			want, err := d.Search(t.Context(), queries, k, SearchOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, workers := range []int{1, 4} {
				got, _, err := index.Search(t.Context(), queries, k, SearchOptions{Workers: workers})
				if err != nil {
					t.Fatal(err)
				}
				for q := range want {
					if !slices.Equal(got[q], want[q]) {
						t.Errorf("%+v, %d of query %d: %v, want %v", c, k, q, got[q][:min(k, 5)], want[q][:min(k, 5)])
					}
				}
			}
		}
		if index.Len() != d.Len() || index.Images() != d.Summary().Images || !reflect.DeepEqual(index.Header, d.Header) {
			t.Errorf("%d rows, %d images, header %+v", index.Len(), index.Images(), index.Header)
		}
		for r := range d.Len() {
			if got, err := index.Row(r); err != nil || !reflect.DeepEqual(got, d.Rows[r]) {
				t.Fatalf("row %d is %+v, %v", r, got, err)
			}
		}
		_, cost, err := index.Search(t.Context(), row(20), 10, SearchOptions{})
		if err != nil || c.dim >= 130 && cost.Rows > n/5 || cost.Rows < 10 {
			t.Errorf("%+v: %d rows of %d were read, %v", c, cost.Rows, n, err)
		}
	}
}

// TestIndexChanges: sketches that are damaged, or of files as they were before, are made again;
// where there is no room for them, and of rows that they can't bound, a search reads all rows.
func TestIndexChanges(t *testing.T) {
	path, x := indexOf(t, 200, 24, 1, false)
	found := func(what, path string, sketched bool) string {
		t.Helper()
		index, err := openIndex(t.Context(), path, 0, SearchOptions{})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer index.Close()
		if (index.quick != nil) != sketched {
			t.Errorf("%s: sketched %v, want %v", what, index.quick != nil, sketched)
		}
		m, _, err := index.Search(t.Context(), x[20*24:21*24], 3, SearchOptions{})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		var names []string
		for _, m := range m[0] {
			row, err := index.Row(m.Row)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, row.File)
		}
		return strings.Join(names, " ")
	}
	first := found("new", path, true)
	if !strings.HasPrefix(first, "20.png 42.png ") {
		t.Fatalf("found %s", first)
	}
	whole, err := os.ReadFile(path + quickSuffix)
	if err != nil {
		t.Fatal(err)
	}
	for what, damaged := range map[string][]byte{"cut off": whole[:len(whole)-5], "empty": nil, "other": []byte("{}\n"), "no header": bytes.Repeat([]byte("x"), 9000)} {
		if err := os.WriteFile(path+quickSuffix, damaged, 0o666); err != nil {
			t.Fatal(err)
		}
		if got := found(what, path, true); got != first {
			t.Errorf("%s: found %s, want %s", what, got, first)
		}
	}
	// Row 30 becomes the query.
	d, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	rows, h := d.Rows, d.Header
	d.Close()
	copy(x[30*24:31*24], x[20*24:21*24])
	if err := InMemory(h, rows, x).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if got := found("changed", path, true); got != "20.png 30.png 42.png" {
		t.Errorf("changed: found %s", got)
	}
	if err := os.Remove(path + quickSuffix); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+quickSuffix, 0o777); err != nil { // where nothing can be written
		t.Fatal(err)
	}
	if got := found("no room", path, false); got != "20.png 30.png 42.png" {
		t.Errorf("no room: found %s", got)
	}
	longer := slices.Clone(x)
	for i := range 24 {
		longer[60*24+i] *= 2
	}
	other := filepath.Join(t.TempDir(), "long.npy")
	if err := InMemory(h, rows, longer).Write(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if got := found("lengths", other, false); !strings.HasPrefix(got, "60.png") && !strings.HasPrefix(got, "20.png") {
		t.Errorf("lengths: found %s", got)
	}
	if index, err := OpenIndex(t.Context(), path, SearchOptions{}); err != nil || index.quick != nil {
		t.Errorf("a small index has sketches: %v", err)
	} else {
		index.Close()
	}
	if _, err := OpenIndex(t.Context(), filepath.Join(t.TempDir(), "none.npy"), SearchOptions{}); err == nil {
		t.Error("a file that isn't there")
	}
}

// TestIndexDuplicates: an index with sketches lists the pairs of the whole file, one in memory too,
// and none of a file that has another in its place.
func TestIndexDuplicates(t *testing.T) {
	path, x := indexOf(t, 60, 24, 1, false)
	d, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	h, rows := d.Header, slices.Clone(d.Rows)
	d.Close()
	copy(x[41*24:42*24], x[20*24:21*24])
	if err := InMemory(h, rows, x).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	index, err := openIndex(t.Context(), path, 0, SearchOptions{})
	if err != nil || index.quick == nil {
		t.Fatalf("no sketches: %v", err)
	}
	defer index.Close()
	want, err := InMemory(h, rows, x).Duplicates(t.Context(), 0.9999, SearchOptions{})
	if err != nil || !slices.ContainsFunc(want, func(p Pair) bool { return p.A == 20 && p.B == 41 }) {
		t.Fatalf("pairs %v, %v", want, err)
	}
	for name, x := range map[string]*Index{"sketches": index, "memory": IndexOf(InMemory(h, rows, x))} {
		if got, err := x.Duplicates(t.Context(), 0.9999, SearchOptions{}); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	h.Data.Name = "another"
	if err := InMemory(h, rows, x).Write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if got, err := index.Duplicates(t.Context(), 0.9999, SearchOptions{}); err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("of another file: %v, %v", got, err)
	}
}
