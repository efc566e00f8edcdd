package dataset

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// onDisk writes n noise images of two classes into a new folder.
func onDisk(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		file := filepath.Join(dir, string(rune('a'+i%2)), string(rune('0'+i))+".png")
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, picture(10+i, 12, uint64(i)), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func opened(t *testing.T, path string) *Dataset {
	t.Helper()
	d, _, err := Open(t.Context(), path, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCachedSurvey(t *testing.T) {
	dir := onDisk(t, 8)
	cached := func(d *Dataset, cacheDir string, want bool) Survey {
		t.Helper()
		computed := 0
		s, kept, err := CachedSurvey(context.Background(), d, StatsOptions{CacheDir: cacheDir, Progress: func(int64, int64) { computed++ }})
		if err != nil {
			t.Fatal(err)
		}
		if kept != want || (computed > 0) == want {
			t.Fatalf("kept %v after %d images, want kept %v", kept, computed, want)
		}
		plain, err := ComputeSurvey(context.Background(), d, StatsOptions{Workers: 1})
		if err != nil || !reflect.DeepEqual(plain, s) {
			t.Fatalf("survey %+v, want %+v (%v)", s, plain, err)
		}
		return s
	}
	d := opened(t, dir)
	cached(d, "", false)
	if _, err := os.Stat(filepath.Join(dir, StatsFile)); err != nil {
		t.Fatal(err)
	}
	cached(opened(t, dir), "", true)
	// Each part of a folder has its own entry, and both stay.
	part, _, err := Split(d, 0.5, 1)
	if err != nil {
		t.Fatal(err)
	}
	cached(part, "", false)
	cached(part, "", true)
	cached(d, "", true)
	// A changed date is a changed file.
	if err := os.Chtimes(filepath.Join(dir, "a", "0.png"), time.Time{}, time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	cached(d, "", false)
	cached(d, "", true)
	if err := os.WriteFile(filepath.Join(dir, "a", "9.png"), picture(3, 4, 9), 0o666); err != nil {
		t.Fatal(err)
	}
	cached(opened(t, dir), "", false)
	// A broken file is replaced.
	if err := os.WriteFile(filepath.Join(dir, StatsFile), []byte("{"), 0o666); err != nil {
		t.Fatal(err)
	}
	cached(opened(t, dir), "", false)
	cached(opened(t, dir), "", true)
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The cache folder is used where the images' folder can't be written to or doesn't exist.
func TestCachedSurveyElsewhere(t *testing.T) {
	d := opened(t, onDisk(t, 4))
	d.path = filepath.Join(d.path, "a", "0.png", "nothing can be here")
	cache := filepath.Join(t.TempDir(), "new")
	for i, dir := range []string{cache, cache, ""} {
		_, kept, err := CachedSurvey(context.Background(), d, StatsOptions{CacheDir: dir})
		if err != nil || kept != (i == 1) {
			t.Errorf("time %d: kept %v, %v", i, kept, err)
		}
	}
	dir := onDisk(t, 2)
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o755) })
	if _, kept, err := CachedSurvey(context.Background(), opened(t, dir), StatsOptions{}); err != nil || kept {
		t.Errorf("read-only folder: kept %v, %v", kept, err)
	}
	if _, err := os.Stat(filepath.Join(dir, StatsFile)); err == nil {
		t.Error("something was written into a read-only folder")
	}
	sample, _ := pictures(t, 5)
	if _, kept, err := CachedSurvey(context.Background(), sample, StatsOptions{}); err != nil || kept {
		t.Errorf("images in memory: kept %v, %v", kept, err)
	}
}

// Shards and ZIP files are known by their own dates and sums.
func TestCachedSurveyOfShards(t *testing.T) {
	d := opened(t, onDisk(t, 6))
	_, dir := sharded(t, d, ShardOptions{Size: 1 << 20})
	for i := range 3 {
		if i == 2 {
			if err := os.Chtimes(filepath.Join(dir, "shard-000000.tar"), time.Time{}, time.Unix(1e9, 0)); err != nil {
				t.Fatal(err)
			}
		}
		_, kept, err := CachedSurvey(context.Background(), opened(t, dir), StatsOptions{})
		if err != nil || kept != (i == 1) {
			t.Errorf("time %d: kept %v, %v", i, kept, err)
		}
	}
}
