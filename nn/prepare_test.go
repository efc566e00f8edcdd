package nn

import "testing"

// TestPrepare: a chain that shares prepared weights transforms none of them again, and has
// the results of another chain.
func TestPrepare(t *testing.T) {
	const n, h, w = 2, 64, 64
	kept := func(c *Chain) (all []*transformed) {
		for _, l := range c.Layers() {
			conv, ok := l.(*Conv)
			if !ok {
				continue
			}
			if f := conv.folded.Load(); f != nil {
				conv = f.conv
			}
			for i := range conv.filters {
				if f := conv.filters[i].Load(); f != nil {
					all = append(all, f)
				}
			}
		}
		return all
	}
	for _, norm := range []bool{false, true} {
		c := testChain(t, 3, norm)
		if err := c.Prepare(n, h, w); err != nil {
			t.Fatal(err)
		}
		before := kept(c)
		if len(before) == 0 {
			t.Fatal("nothing was prepared")
		}
		x := images(1, n, h, w)
		got, err := c.Share(1).Forward(x)
		if err != nil {
			t.Fatal(err)
		}
		after := kept(c)
		if len(after) != len(before) {
			t.Fatalf("normalised %v: %d weights transformed, of them %d prepared", norm, len(after), len(before))
		}
		for i := range after {
			if after[i] != before[i] {
				t.Errorf("normalised %v: weights %d were transformed again", norm, i)
			}
		}
		want, err := testChain(t, 1, norm).Forward(x)
		if err != nil {
			t.Fatal(err)
		}
		if err := sameBits(got.Data, want.Data); err != nil {
			t.Errorf("normalised %v: %v", norm, err)
		}
	}
	if err := testChain(t, 1, false).Prepare(1, 2, 2); err == nil {
		t.Error("an image of 2×2 was prepared for")
	}
}
