package transfer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
)

// A picture that changes between runs is described again, also if its size stays, in every
// format; other times of the same contents, as copies have them, are no change.
func TestChangedPicturesAreDescribedAgain(t *testing.T) {
	file := func(seed uint64) []byte {
		b := vggtest.PNG(36, 40, vggtest.Noise(seed))
		return append(b, make([]byte, 20_000-len(b))...)
	}
	for _, name := range []string{"f.npy", "f.safetensors"} {
		dir, out := t.TempDir(), filepath.Join(t.TempDir(), name)
		at := time.Date(2020, 2, 3, 4, 5, 6, 7000, time.UTC)
		change := func(picture string, seed uint64, at time.Time) {
			t.Helper()
			vggtest.WriteFiles(t, dir, map[string][]byte{picture: file(seed)})
			if err := os.Chtimes(filepath.Join(dir, picture), at, at); err != nil {
				t.Fatal(err)
			}
		}
		pictures := []string{"1.png", "2.png", "3.png", "4.png"}
		for i, picture := range pictures {
			change(picture, uint64(i), at)
		}
		nets := []Net{smallNet(1), smallNet(2)}
		run := func(what string, verify bool, changed int) {
			t.Helper()
			var remarks []string
			images, computed := open(t, Files, dir), 0
			o := Options{Verify: verify, OnImage: func(int64, int64) { computed++ }}
			o.OnRemark = func(text string) { remarks = append(remarks, text) }
			if _, err := Extract(t.Context(), nets, images, out, o); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if computed != changed*len(nets) || changed < len(pictures) && (len(remarks) > 0) != (changed > 0) {
				t.Errorf("%s: %s: %d descriptors computed, remarks %q, want those of %d pictures", name, what, computed, remarks, changed)
			}
			if len(remarks) > 0 && !strings.Contains(remarks[0], "changed since "+out+" was written") {
				t.Errorf("%s: remarks %q", what, remarks)
			}
			fresh, _ := extract(t, nets, images, name, Options{})
			_, x := contents(t, out)
			_, want := contents(t, fresh)
			if !slices.Equal(x, want) {
				t.Errorf("%s: %s: other numbers than those of a new file", name, what)
			}
		}
		run("nothing is there", false, 4)
		run("nothing changed", false, 0)
		run("nothing changed", true, 0)
		change("2.png", 1, at.Add(time.Hour))
		run("a copy", false, 0)
		change("1.png", 81, at.Add(time.Hour))
		change("3.png", 83, at.Add(time.Hour))
		run("two pictures", false, 2)
		run("two pictures, described again", false, 0)
		change("4.png", 84, at)
		run("one that looks as before", true, 1)
	}
}
