package vgg

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// TestDataSize: what isn't source (photographs, fixtures, pictures of the documentation) stays
// within 12 MB in all, of which the embedded photographs have half.
func TestDataSize(t *testing.T) {
	const limit = 12_000_000
	source := []string{".go", ".md", ".s", ".py", ".yaml", ".txt", ".txtar", ".mod", ".sum", ".sh", ".js", ".css", ".html"}
	out, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		vggtest.Skip(t, "git and a clone")
	}
	total, sizes := int64(0), map[string]int64{}
	for _, name := range slices.Compact(slices.Sorted(strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00"))) {
		info, err := os.Stat(name)
		if os.IsNotExist(err) || slices.Contains(source, path.Ext(name)) || path.Base(name) == "openapi.json" || name == ".ci/run" {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		size := info.Size()
		if path.Ext(name) == ".ipynb" { // source, with pictures in it
			size = picturesIn(t, name)
		}
		total += size
		sizes[name] = size
	}
	if total < 1_000_000 {
		t.Fatalf("%d bytes of data in %d files: the photographs alone are more", total, len(sizes))
	}
	if total <= limit {
		return
	}
	largest := slices.SortedFunc(func(yield func(string) bool) {
		for name, size := range sizes {
			if !yield(fmt.Sprintf("%9d %s", size, name)) {
				return
			}
		}
	}, func(a, b string) int { return strings.Compare(b, a) })
	t.Errorf("%d bytes of data, want at most %d: pack a folder of fixtures with tools/oracle/pack.py, or make them smaller. The largest:\n%s", total, limit, strings.Join(largest[:20], "\n"))
}

// picturesIn returns the bytes of the pictures in a notebook, which are in base64.
func picturesIn(t *testing.T, name string) int64 {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	bytes := int64(0)
	for _, m := range regexp.MustCompile(`"image/png": ?"([^"]*)"`).FindAllSubmatch(data, -1) {
		bytes += int64(len(m[1]))
	}
	if bytes == 0 {
		t.Errorf("%s: no pictures in it", name)
	}
	return bytes
}
