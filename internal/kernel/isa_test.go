package kernel

import (
	"strings"
	"testing"
)

func TestUse(t *testing.T) {
	old := current.Load()
	t.Cleanup(func() { current.Store(old) })
	all := ISAs()
	if last := all[len(all)-1].Name(); last != "go" {
		t.Errorf("the last instruction set is %q, want go", last)
	}
	for _, s := range all {
		if err := Use(s.Name()); err != nil {
			t.Fatal(err)
		}
		if Current() != s {
			t.Errorf("after Use(%q) the current one is %q", s.Name(), Current().Name())
		}
	}
	err := Use("avx9")
	if err == nil || !strings.Contains(err.Error(), `"avx9"`) || !strings.Contains(err.Error(), "go") {
		t.Errorf("Use(avx9): %v, want an error that lists what there is", err)
	}
	if Current().Name() != "go" {
		t.Errorf("a failed Use changed the instruction set to %q", Current().Name())
	}
	if err := Use(""); err != nil {
		t.Fatal(err)
	}
	if Current() != all[0] {
		t.Errorf("after Use(\"\") the current one is %q, want %q", Current().Name(), all[0].Name())
	}
}

// TestProductCutsEvenly: every number of rows is computed once, in tiles that differ
// by a row at most, so that none is left with most of its registers idle.
func TestProductCutsEvenly(t *testing.T) {
	for most := 1; most <= 14; most++ {
		var rows []int
		tiles := gemmTiles{rows: [2]int{most, most}, depth: 1}
		for nb := range tiles.funcs {
			for r := range most + 1 {
				tiles.funcs[nb] = append(tiles.funcs[nb], func(int, *int, *float32, *float32, *float32, int, *float32, int) { rows = append(rows, r) })
			}
		}
		s := newISA("counting", kernels{gemm: tiles})
		for m := 1; m <= 60; m++ {
			rows = rows[:0]
			s.product(m, 1, []int{0}, make([]float32, m*Block), make([]float32, Block*Panel), make([]float32, m*Block), m*Block, nil, 0)
			sum, lo, hi := 0, most, 0
			for _, r := range rows {
				sum, lo, hi = sum+r, min(lo, r), max(hi, r)
			}
			if sum != m || hi-lo > 1 || lo < 1 {
				t.Fatalf("%d rows cut by %d into %v", m, most, rows)
			}
		}
	}
}
