package remote

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
)

const (
	writerEnv  = "VGG_TEST_CACHE_WRITER" // the folder of the cache that a process writes
	partBytes  = 3000
	partsOf    = 40 // a file
	cacheBound = 10 * partsOf * partBytes
)

// file n of a server, as it was found, and its parts.
func cacheObject(n int) *object {
	name := fmt.Sprintf("host/%d.tar", n)
	return &object{url: &url.URL{Scheme: "https", Host: "host", Path: name}, name: name, given: true, head: head{size: partsOf * partBytes, tag: fmt.Sprint(n)}}
}

func cachePart(n, i int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), uint64(i)))
	p := make([]byte, partBytes)
	for j := range p {
		p[j] = byte(r.Uint32())
	}
	return p
}

// fill writes files into a cache, from the given one on, and returns what was remarked.
func fill(dir string, from, files int) (remarks []string) {
	for n := from; n < from+files; n++ { // each is a run of its own, whose files may go later
		c := openCache(dir, cacheBound, func(s string) { remarks = append(remarks, s) })
		o := cacheObject(n)
		c.use(o)
		for i := range partsOf {
			c.write(o, cachePart(n, i), int64(i)*partBytes)
		}
	}
	return remarks
}

// check returns the parts of files that a cache has; no part may be another.
func check(t *testing.T, dir string, files int) (found int) {
	t.Helper()
	c := openCache(dir, cacheBound, func(string) {})
	for n := range files {
		o := cacheObject(n)
		c.use(o)
		for i := range partsOf {
			p := make([]byte, partBytes)
			if !c.read(o, p, int64(i)*partBytes) {
				continue
			}
			found++
			if !bytes.Equal(p, cachePart(n, i)) {
				t.Fatalf("file %d, part %d: other bytes than were written", n, i)
			}
		}
	}
	return found
}

// TestCacheWriter is the process that the tests below start.
func TestCacheWriter(t *testing.T) {
	dir := os.Getenv(writerEnv)
	if dir == "" {
		return
	}
	for from := 0; ; from = (from + 1) % 20 {
		fill(dir, from, 1)
	}
}

func startWriter(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCacheWriter$")
	cmd.Env = append(os.Environ(), writerEnv+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// Two processes that write and prune one folder, and are killed at any moment, leave nothing that
// is taken for what it isn't, and keep about to the bound.
func TestCacheOfKilledWriters(t *testing.T) {
	vggtest.SkipShort(t, "starts processes")
	dir := t.TempDir()
	found := 0
	for range 5 {
		a, b := startWriter(t, dir), startWriter(t, dir)
		time.Sleep(50*time.Millisecond + rand.N(150*time.Millisecond))
		for _, cmd := range []*exec.Cmd{a, b} {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // it was killed
		}
		found += check(t, dir, 20)
	}
	if found == 0 {
		t.Error("nothing was kept")
	}
	c := openCache(dir, cacheBound, func(string) {})
	if most := int64(cacheBound + 2*(cacheBound/shareUncounted+partBytes)); c.total > most {
		t.Errorf("%d bytes in a cache of %d, want at most %d", c.total, cacheBound, most)
	}
	// What the killed ones left keeps nobody from pruning.
	if fill(dir, 100, 15); check(t, dir, 115) == 0 {
		t.Error("nothing is kept after the kills")
	}
	if c = openCache(dir, cacheBound, func(string) {}); c.total > cacheBound {
		t.Errorf("%d bytes in a cache of %d", c.total, cacheBound)
	}
}

// Lines and bytes that were cut off, and bytes without a list, count for nothing.
func TestCacheOfHalfWrites(t *testing.T) {
	dir := t.TempDir()
	fill(dir, 0, 2)
	if n := check(t, dir, 2); n != 2*partsOf {
		t.Fatalf("%d parts, want %d", n, 2*partsOf)
	}
	base := func(n int) string { return filepath.Join(dir, cacheKey(cacheObject(n))) }
	if err := os.Truncate(base(0)+bytesExt, 5*partBytes+1); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(base(1) + partsExt)
	if err != nil {
		t.Fatal(err)
	}
	// Half a line, to which the next writer adds its own.
	lines := strings.SplitAfter(string(list), "\n")
	half := strings.Join(lines[:3], "") + lines[3][:2] + strings.Join(lines[4:8], "")
	if err := os.WriteFile(base(1)+partsExt, []byte(half), 0o666); err != nil {
		t.Fatal(err)
	}
	if n := check(t, dir, 2); n != 5+3+3 {
		t.Errorf("%d parts, want those that are whole: 5 and 6", n)
	}
	if err := os.Remove(base(1) + partsExt); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(base(1)+bytesExt, long, long); err != nil {
		t.Fatal(err)
	}
	fill(dir, 2, 15)
	if _, err := os.Stat(base(1) + bytesExt); err == nil {
		t.Error("bytes without a list stay")
	}
}
