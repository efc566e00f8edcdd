package main

import (
	"bytes"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// TestSeeds: of each format a file that is not damaged opens.
func TestSeeds(t *testing.T) {
	t.Chdir("../..")
	all, err := kinds(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		var first error
		opened := 0
		for _, b := range k.seeds {
			if err := k.read(bytes.Clone(b)); err == nil {
				opened++
			} else if first == nil {
				first = err
			}
		}
		t.Logf("%s: %d of %d open", k.name, opened, len(k.seeds))
		if opened == 0 {
			t.Errorf("%s: %v", k.name, first)
		}
	}
}

// TestDeterministic: a file is a function of seed and number, and most differ from the valid
// one.
func TestDeterministic(t *testing.T) {
	k := &kind{name: "text", seeds: [][]byte{[]byte("file,label\na.png,12\nb.png,7\n"), bytes.Repeat([]byte{1, 2, 3, 4}, 40)}}
	changed := 0
	for i := range uint64(500) {
		a, b := k.mutate(rand.New(rand.NewPCG(1, i))), k.mutate(rand.New(rand.NewPCG(1, i)))
		if !bytes.Equal(a, b) {
			t.Fatalf("file %d: %q and %q", i, a, b)
		}
		if !bytes.Equal(a, k.seeds[0]) && !bytes.Equal(a, k.seeds[1]) {
			changed++
		}
	}
	if changed < 400 {
		t.Errorf("%d of 500 files were changed", changed)
	}
}

// TestFound: a panic, too much memory and numbers that aren't finite are found.
func TestFound(t *testing.T) {
	var kept []byte
	for name, c := range map[string]struct {
		read func([]byte) error
		want string
	}{
		"panic": {func([]byte) error { panic("at the disco") }, "panic: at the disco"},
		"memory": {func([]byte) error {
			kept = make([]byte, 2*memorySlack)
			time.Sleep(20 * time.Millisecond)
			kept[0]++
			return nil
		}, "of memory"},
		"not finite": {func([]byte) error { return errNotFinite }, "not finite"},
		"nothing":    {func([]byte) error { return nil }, ""},
		"an error":   {func([]byte) error { return bytes.ErrTooLarge }, ""},
	} {
		w := &watchdog{options: options{Limit: time.Hour, run: regexp.MustCompile("")}}
		_, err := w.read(&kind{name: name, read: c.read}, 0, []byte("file"))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	_ = kept
}
