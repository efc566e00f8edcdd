package dataset

import (
	"math"
	"slices"
	"testing"
)

// TestParts: the parts of all batches together are the batches of one loader, to the bit.
func TestParts(t *testing.T) {
	for _, batch := range []int{1, 4, 5, 23} {
		d, _ := pictures(t, 23, 5, 6)
		l := trainLoader(t, d)
		l.Batch = batch
		want := mustCollect(t, l, 3)
		for _, parts := range []int{2, 3, 6} {
			var of []seen
			for part := range parts {
				p := trainLoader(t, d)
				p.Batch, p.Part, p.Parts = batch, part, parts
				of = append(of, mustCollect(t, p, 3))
				x, v, err := p.Prepare(t.Context(), 3, want.indices[0])
				if err != nil || len(x) != 192 || v.Side != 8 {
					t.Fatalf("prepared %d values, side %d: %v", len(x), v.Side, err)
				}
				for i := range x {
					if math.Float32bits(x[i]) != want.x[i] {
						t.Fatalf("an image prepared by itself differs from its batch's")
					}
				}
			}
			var got seen
			at := make([]int, parts)
			for b := range l.Batches() {
				n := 0
				for part := range parts {
					from := at[part]
					to := from + of[part].sizes[b]
					at[part] = to
					n += to - from
					got.labels = append(got.labels, of[part].labels[from:to]...)
					got.indices = append(got.indices, of[part].indices[from:to]...)
					got.positions = append(got.positions, of[part].positions[from:to]...)
					got.x = append(got.x, of[part].x[192*from:192*to]...)
				}
				got.sizes = append(got.sizes, n)
			}
			bad := 0
			for part := range parts {
				got.bad = append(got.bad, of[part].bad...)
				bad += len(of[part].bad)
			}
			slices.Sort(got.bad)
			all := slices.Sorted(slices.Values(want.bad))
			if want := (seen{want.sizes, want.labels, want.indices, want.positions, want.x, all}); !got.equal(want) || bad != 2 {
				t.Errorf("batches of %d in %d parts: other images, or %d bad ones", batch, parts, bad)
			}
		}
	}
	l := trainLoader(t, nil)
	l.Data, _ = pictures(t, 3)
	l.Part, l.Parts = 2, 2
	if l.Validate() == nil {
		t.Error("part 2 of 2 is allowed")
	}
}
