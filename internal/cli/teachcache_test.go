package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/lockfile"
)

// TestPruneDescriptors: of the kept descriptors those go that were used the longest ago, whole
// sets, and none that is in use.
func TestPruneDescriptors(t *testing.T) {
	dir := t.TempDir()
	path := func(set string) string { return filepath.Join(dir, set+".npy") }
	for hours, set := range []string{"now", "minutes", "held", "new", "old", "oldest", "mine"} { // 110 bytes each
		for suffix, size := range map[string]int{"": 100, ".jsonl": 10} {
			name := path(set) + suffix
			if err := os.WriteFile(name, make([]byte, size), 0o666); err != nil {
				t.Fatal(err)
			}
			used := time.Now().Add(-2 * time.Duration(hours) * time.Hour)
			if set == "minutes" {
				used = time.Now().Add(-10 * time.Minute)
			}
			if err := os.Chtimes(name, used, used); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "other.txt"), make([]byte, 500), 0o666); err != nil {
		t.Fatal(err)
	}
	release, err := lockfile.Beside(path("held"))
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for _, c := range []struct {
		most int64
		left string
	}{
		{770 + 10, "held minutes mine new now old oldest"}, // and the lock's few bytes
		{700, "held minutes mine new now old"},
		{500, "held minutes mine now"},
		{0, "held minutes mine now"},
	} {
		pruneDescriptors(path("mine"), c.most)
		var left []string
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if set, ok := strings.CutSuffix(e.Name(), ".npy"); ok {
				left = append(left, set)
				if _, err := os.Stat(path(set) + ".jsonl"); err != nil {
					t.Error(err)
				}
			}
		}
		slices.Sort(left)
		if got := strings.Join(left, " "); got != c.left {
			t.Errorf("%s left in %d bytes, want %s", got, c.most, c.left)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "old*")); len(left) > 0 {
		t.Errorf("%v is left of sets that were removed", left)
	}
	if _, err := os.Stat(filepath.Join(dir, "other.txt")); err != nil {
		t.Error(fmt.Errorf("what is no descriptors was removed: %w", err))
	}
}
