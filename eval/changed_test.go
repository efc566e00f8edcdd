package eval_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest"
)

// folder writes pictures of one size in bytes below dir and opens them.
func folder(t *testing.T, dir string) *dataset.Dataset {
	t.Helper()
	for i, class := range []string{"a", "a", "c", "c", "e", "e"} {
		name := filepath.Join(dir, class, fmt.Sprint(i, ".png"))
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, sameSize(uint64(i)), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	d, _, err := dataset.Open(t.Context(), dir, dataset.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sameSize returns a picture in a file of 20 kB: what follows its end is not read.
func sameSize(seed uint64) []byte {
	file := vggtest.PNG(36, 40, vggtest.Noise(seed))
	return append(file, make([]byte, 20_000-len(file))...)
}

// A picture that changes between runs is evaluated again, also if its size stays; other times of
// the same contents, as copies have them, are no change.
func TestChangedPictures(t *testing.T) {
	nets, dir := twoNets(t), t.TempDir()
	d := folder(t, dir)
	picture := func(i int) string { return filepath.Join(dir, filepath.FromSlash(d.Samples[i].Name)) }
	out := filepath.Join(t.TempDir(), "r.jsonl")
	var remarks []string
	// run returns the result of the file and the number of answers that were computed.
	run := func(verify bool) (*eval.Result, int) {
		t.Helper()
		remarks = nil
		o := eval.Options{Out: out, Verify: verify, Mistakes: 99, Confusions: 99}
		o.OnRemark = func(text string) { remarks = append(remarks, text) }
		computed := 0
		o.OnImage = func(int64, int64) { computed++ }
		r, err := eval.RunNets(t.Context(), nets, d, o)
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := eval.RunNets(t.Context(), nets, d, eval.Options{Mistakes: 99, Confusions: 99})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(timeless(r), timeless(fresh)) {
			t.Errorf("the result of the file is %+v, want that of the images: %+v", r, fresh)
		}
		return r, computed
	}
	want := func(what string, verify bool, images int) {
		t.Helper()
		_, computed := run(verify)
		if computed != images*len(nets) || (len(remarks) > 0) != (images > 0) {
			t.Errorf("%s: %d answers and remarks %q, want %d images by %d networks", what, computed, remarks, images, len(nets))
		}
	}
	change := func(i int, data []byte, at time.Time) {
		t.Helper()
		if err := os.WriteFile(picture(i), data, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(picture(i), at, at); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Date(2020, 2, 3, 4, 5, 6, 7000, time.UTC)
	for i := range d.Len() {
		change(i, sameSize(uint64(i)), at)
	}
	if _, computed := run(false); computed != 2*d.Len() {
		t.Fatalf("%d answers, want all", computed)
	}
	want("nothing changed", false, 0)
	want("nothing changed", true, 0)

	for i := range d.Len() { // as a copy
		change(i, sameSize(uint64(i)), at.Add(time.Hour))
	}
	want("a copy", false, 0)

	change(1, sameSize(91), at.Add(2*time.Hour))
	change(4, sameSize(94), at.Add(2*time.Hour))
	want("two pictures", false, 2)
	if text := fmt.Sprint(remarks); !strings.Contains(text, "2 images have changed since "+out) {
		t.Errorf("remarks %s", text)
	}
	want("two pictures, evaluated again", false, 0)

	// A change that leaves the time is found by Verify.
	change(2, sameSize(92), at)
	want("one that looks as before", true, 1)

	// Until a picture is evaluated again, the file says that it was not.
	change(5, sameSize(95), at.Add(2*time.Hour))
	if _, err := eval.Work(t.Context(), nets, d, eval.Options{Out: out}, false); err != nil {
		t.Fatal(err)
	}
	merged, err := eval.OpenResults(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	defer merged.Close()
	part, err := merged.Evaluate(t.Context(), eval.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if part.Unreadable != 1 || !strings.Contains(part.Bad[0].Err.Error(), "changed since it was evaluated") {
		t.Errorf("%d unreadable: %v", part.Unreadable, part.Bad)
	}
	if _, computed := run(false); computed != len(nets) {
		t.Errorf("%d answers, want those of one picture", computed)
	}

	// A picture that isn't one any more.
	broken := bytes.Repeat([]byte("no"), 10_000)
	change(3, broken, at.Add(3*time.Hour))
	r, _ := run(false)
	if r.Unreadable != 1 || strings.Contains(r.Bad[0].Err.Error(), "changed since") {
		t.Errorf("%d unreadable: %v", r.Unreadable, r.Bad)
	}
}

// A result file of an earlier version, which says nothing of contents, is gone on with as it is;
// Verify evaluates its images again.
func TestChangedUnknown(t *testing.T) {
	nets := twoNets(t)
	d := folder(t, t.TempDir())
	out := filepath.Join(t.TempDir(), "r.jsonl")
	if _, err := eval.RunNets(t.Context(), nets, d, eval.Options{Out: out}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	for i, l := range lines {
		if at := strings.Index(l, `,"modified":`); at > 0 {
			lines[i] = l[:at] + "}\n"
		}
	}
	old := strings.Join(lines, "")
	if len(old) > len(text)-13*2*d.Len() {
		t.Fatalf("the file has no times: %s", lines[1])
	}
	if err := os.WriteFile(out, []byte(old), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, verify := range []bool{false, true} {
		computed := 0
		if _, err := eval.RunNets(t.Context(), nets, d, eval.Options{Out: out, Verify: verify, OnImage: func(int64, int64) { computed++ }}); err != nil {
			t.Fatal(err)
		}
		if (computed > 0) != verify {
			t.Errorf("verify %v: %d answers computed", verify, computed)
		}
		if after, err := os.ReadFile(out); err != nil || (string(after) == old) == verify {
			t.Errorf("verify %v: %v, %d bytes, before %d", verify, err, len(after), len(old))
		}
	}
}
