package cli

import (
	"path/filepath"
	"slices"
	"testing"
)

// TestOutNames: every image has a file of its own, by its name alone where that will do.
func TestOutNames(t *testing.T) {
	for _, c := range []struct{ images, want []string }{
		{[]string{"a.png"}, []string{"a-map.png"}},
		{[]string{"p/a.png", "p/q/b.png"}, []string{"a-map.png", "b-map.png"}},
		{[]string{"p/x/1.png", "p/y/1.png", "p/2.png"}, []string{"x-1-map.png", "y-1-map.png", "2-map.png"}},
		{[]string{"p/1.png", "p/1.jpg"}, []string{"1-png-map.png", "1-jpg-map.png"}},
		{[]string{"p/x/1.png", "p/x/1.jpg", "p/y/1.png"}, []string{"x-1-png-map.png", "x-1-jpg-map.png", "y-1-map.png"}},
		{[]string{"a.png", "A.png"}, []string{"a-png-map.png", "A-png-2-map.png"}},
		{[]string{"a.png", "a.png"}, []string{"a-png-map.png", "a-png-2-map.png"}},
		{[]string{"x-1.png", "x/1.png", "y/1.png"}, []string{"x-1-map.png", "x-1-png-map.png", "y-1-map.png"}},
		{[]string{"1", "x/1"}, []string{"1-map.png", "x-1-map.png"}},
		{[]string{"https://host:80/x/1.png", "https://host:80/y/1.png"}, []string{"x-1-map.png", "y-1-map.png"}},
		{nil, nil},
	} {
		var images, want []string
		for _, image := range c.images {
			images = append(images, filepath.FromSlash(image))
		}
		for _, name := range c.want {
			want = append(want, filepath.Join("maps", name))
		}
		if got := outNames(filepath.Join("maps", "map.png"), images); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", images, got, want)
		}
	}
}
