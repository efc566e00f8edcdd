package dataset

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func TestShare(t *testing.T) {
	for text, want := range map[string]Share{"0.1%": 0.001, "0.001": 0.001, " 5 % ": 0.05, "0": 0, "100%": 1, "1": 1} {
		var s Share
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: %v, %v, want %v", text, float64(s), err, float64(want))
		}
		var again Share
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%q: written as %s and read as %v (%v)", text, s, float64(again), err)
		}
	}
	for _, text := range []string{"", "%", "-1", "1.1", "101%", "NaN", "a tenth"} {
		var s Share
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %s", text, s)
		}
	}
	if got := Share(0.001).String(); got != "0.1%" {
		t.Errorf("0.001 is written %s", got)
	}
}

func TestBadLimit(t *testing.T) {
	d, _ := pictures(t, 10)
	image := func(i int) BadImage { return BadImage{Name: d.Samples[i].Name, Index: i, Err: fs.ErrNotExist} }
	l := NewBadLimit(d.Name, d.Len(), 0.3)
	for i, want := range []int{1, 1, 1, 2, 3} {
		fresh, err := l.Add([]BadImage{image([]int{4, 4, 4, 5, 6}[i])})
		if err != nil || l.Count() != want || len(fresh) != map[int]int{0: 1, 3: 1, 4: 1}[i] {
			t.Fatalf("after %d: %d counted, fresh %v, %v, want %d", i, l.Count(), fresh, err, want)
		}
	}
	fresh, err := l.Add([]BadImage{image(7), image(4)})
	limit, ok := errors.AsType[*BadLimitError](err)
	if !ok || limit.Bad != 4 || limit.Total != 10 || limit.Allowed != 3 || len(fresh) != 1 || !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("fresh %v, error %v", fresh, err)
	}
	if want := "dataset: pictures: 4 of 10 images are unreadable, want at most 3 (30%); the last: b/007.png: "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %q, want %q", err, want)
	}
	if _, err := NewBadLimit(d.Name, d.Len(), 0).Add([]BadImage{image(1)}); err == nil {
		t.Error("a share of 0 allows one")
	}
	again := NewBadLimit(d.Name, d.Len(), 0.3)
	again.Restore(l.Names())
	if fresh, err := again.Add([]BadImage{image(4), image(7)}); err != nil || fresh != nil || again.Count() != 4 {
		t.Errorf("restored: fresh %v, %v, %d counted", fresh, err, again.Count())
	}
	if _, err := NewBadLimit(d.Name, d.Len(), 0).Add(nil); err != nil {
		t.Error("no bad image is too many:", err)
	}
	all := NewBadLimit(d.Name, d.Len(), 1)
	for i := range 10 {
		if _, err := all.Add([]BadImage{image(i)}); err != nil {
			t.Error(err)
		}
	}
}
