package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/resources"
)

// An update makes what Extract would make, to the last bit, and describes nothing that it
// has: after images have come, gone and changed, and wherever it was interrupted.
func TestUpdate(t *testing.T) {
	dir := folder(t)
	nets := []Net{smallNet(1), smallNet(2)}
	out := filepath.Join(t.TempDir(), "i.npy")
	update := func(ctx context.Context, o Options) (*Summary, Changes, error) {
		t.Helper()
		o.Flip = true
		s, c, err := Update(ctx, nets, open(t, Files, dir), out, o)
		return s, *c, err
	}
	check := func(got, want Changes) {
		t.Helper()
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		fresh, _ := extract(t, nets, open(t, Files, dir), "f.npy", Options{Flip: true})
		d, x := contents(t, out)
		e, y := contents(t, fresh)
		sameBits(t, "updated", x, y)
		sameRows(t, d.Rows, e.Rows)
		if diff := d.Header.difference(e.Header); diff != "" {
			t.Error(diff)
		}
		if left, _ := filepath.Glob(out + ".*.*"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	count := 0
	counted := Options{OnImage: func(int64, int64) { count++ }}
	run := func(want Changes, described int) {
		t.Helper()
		count = 0
		_, c, err := update(t.Context(), counted)
		if err != nil {
			t.Fatal(err)
		}
		check(c, want)
		if count != 2*described {
			t.Errorf("%d times described, want %d", count, 2*described)
		}
	}
	run(Changes{Added: 14}, 14)
	run(Changes{Kept: 12, Redone: 2}, 2) // unreadable ones are tried again

	// One comes, one goes, one has other contents, one is readable now.
	vggtest.WriteFiles(t, dir, map[string][]byte{"a/00b.png": picture(40, 50, 99), "b/01.png": picture(33, 71, 98), "b/10.png": picture(50, 60, 97)})
	if err := os.Remove(filepath.Join(dir, "c", "02.png")); err != nil {
		t.Fatal(err)
	}
	run(Changes{Kept: 10, Redone: 3, Added: 1, Removed: 1}, 4)

	// A file of another time and the same size is another if its contents are.
	changed := filepath.Join(dir, "a", "03.png")
	info, err := os.Stat(changed)
	if err != nil {
		t.Fatal(err)
	}
	other := append(picture(20, 20, 55), make([]byte, info.Size())...)[:info.Size()]
	if err := os.WriteFile(changed, other, 0o666); err != nil {
		t.Fatal(err)
	}
	when := time.Date(2020, 1, 2, 3, 4, 5, 6, time.UTC)
	if err := os.Chtimes(changed, when, when); err != nil {
		t.Fatal(err)
	}
	run(Changes{Kept: 12, Redone: 2}, 2)

	// Interrupted, and then the folder changes once more: what was described counts, and the
	// old file was there until the end.
	fresh := map[string][]byte{}
	for i := range 4 {
		fresh[fmt.Sprintf("d/%d.png", i)] = picture(40, 40, uint64(200+i))
	}
	vggtest.WriteFiles(t, dir, fresh)
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	_, before := contents(t, out)
	_, _, err = update(ctx, Options{Resources: resources.Resources{Batch: 1, Workers: 1, Ranks: 1}, OnImage: func(done, total int64) {
		if done == 2*13+2 { // of the first network
			cancel(stop)
		}
	}})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	_, still := contents(t, out)
	sameBits(t, "interrupted", still, before)
	vggtest.WriteFiles(t, dir, map[string][]byte{"d/4.png": picture(40, 40, 300)})
	count = 0
	_, c, err := update(t.Context(), counted)
	if err != nil {
		t.Fatal(err)
	}
	check(c, Changes{Kept: 13, Redone: 1, Added: 5})
	if count >= 2*6 {
		t.Errorf("%d times described, want fewer than all: an interrupted update had described some", count)
	}
}

// A rename that was cut short is ended.
func TestUpdateSettles(t *testing.T) {
	dir := folder(t)
	nets := []Net{smallNet(1)}
	out := filepath.Join(t.TempDir(), "i.npy")
	if _, _, err := Update(t.Context(), nets, open(t, Files, dir), out, Options{}); err != nil {
		t.Fatal(err)
	}
	_, want := contents(t, out)
	if err := os.Rename(out, out+workSuffix); err != nil { // the index is in its place
		t.Fatal(err)
	}
	_, c, err := Update(t.Context(), nets, open(t, Files, dir), out, Options{})
	if err != nil || c.Kept != 12 {
		t.Fatalf("%+v, %v", c, err)
	}
	_, got := contents(t, out)
	sameBits(t, "settled", got, want)
}

// What was made in another way is refused, and stays.
func TestUpdateRefuses(t *testing.T) {
	dir := folder(t)
	out, _ := extract(t, []Net{smallNet(1)}, open(t, Files, dir), "i.npy", Options{})
	for want, call := range map[string]func() error{
		"mirror images false, want true": func() error {
			_, _, err := Update(t.Context(), []Net{smallNet(1)}, open(t, Files, dir), out, Options{Flip: true})
			return err
		},
		"SHA-256 1, want network 2": func() error {
			_, _, err := Update(t.Context(), []Net{smallNet(2)}, open(t, Files, dir), out, Options{})
			return err
		},
		"ends in .npy": func() error {
			_, _, err := Update(t.Context(), []Net{smallNet(1)}, open(t, Files, dir), "i.jsonl", Options{})
			return err
		},
		"the index beside it: open": func() error {
			lone := filepath.Join(t.TempDir(), "i.npy")
			vggtest.WriteFiles(t, filepath.Dir(lone), map[string][]byte{"i.npy": []byte("numbers")})
			_, _, err := Update(t.Context(), []Net{smallNet(1)}, open(t, Files, dir), lone, Options{})
			return err
		},
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if d, _ := contents(t, out); d.Summary().Images != 12 {
		t.Errorf("%+v", d.Summary())
	}
}

// Descriptors made by another instruction set or on a device can be compared, and aren't mixed in
// a file.
func TestInstructionSets(t *testing.T) {
	out, _ := extract(t, []Net{smallNet(1)}, open(t, Auto, folder(t)), "i.npy", Options{})
	d, _ := contents(t, out)
	other := d.Header
	other.ISA = "another"
	if diff := other.recipe(d.Header); diff != "" {
		t.Errorf("compared: %s", diff)
	}
	if diff := other.difference(d.Header); !strings.Contains(diff, "instruction set another, want") {
		t.Errorf("mixed: %q", diff)
	}
	other.ISA, other.Nets = d.Header.ISA, slices.Clone(other.Nets)
	other.Nets[0].Device = "cuda f32"
	if diff := other.recipe(d.Header); diff != "" {
		t.Errorf("compared: %s", diff)
	}
	if diff := other.difference(d.Header); !strings.Contains(diff, "device cuda f32, want the processor") {
		t.Errorf("mixed: %q", diff)
	}
	rows, errs, err := Describe(t.Context(), other, open(t, Files, folder(t)), Options{}, func(NetID) (*vgg.Model, error) { return smallNet(1).Open() })
	if err != nil || len(rows) != 14 || slices.IndexFunc(errs, func(err error) bool { return err != nil }) < 0 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}
