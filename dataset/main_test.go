package dataset

import (
	"fmt"
	"image/color"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestMain(m *testing.M) { vggtest.Main(m) }

// picture returns a PNG of w×h pixels of noise, a different one for each seed.
func picture(w, h int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	return vggtest.PNG(w, h, func(int, int) color.RGBA {
		return color.RGBA{uint8(rng.UintN(256)), uint8(rng.UintN(256)), uint8(rng.UintN(256)), 255}
	})
}

// pictures returns a dataset of n noise images of several sizes in three
// classes, and their file system. The images in bad are text.
func pictures(t testing.TB, n int, bad ...int) (*Dataset, *countingFS) {
	t.Helper()
	files := fstest.MapFS{}
	var samples []Sample
	for i := range n {
		name := fmt.Sprintf("%c/%03d.png", 'a'+i%3, i)
		files[name] = &fstest.MapFile{Data: picture(12+i%5, 10+i%7, uint64(i))}
		samples = append(samples, Sample{Name: name, Label: i % 3})
	}
	for _, i := range bad {
		files[samples[i].Name] = &fstest.MapFile{Data: []byte("this is no image\n")}
	}
	fsys := &countingFS{FS: files, reads: map[string]int{}}
	d, err := New("pictures", fsys, []string{"a", "b", "c"}, samples)
	if err != nil {
		t.Fatal(err)
	}
	return d, fsys
}

// countingFS counts how often each file is read, and how many reads are under
// way.
type countingFS struct {
	fs.FS
	mu     sync.Mutex
	reads  map[string]int
	active atomic.Int64
	delay  time.Duration // of a read
}

func (c *countingFS) Open(name string) (fs.File, error) {
	c.active.Add(1)
	defer c.active.Add(-1)
	time.Sleep(c.delay)
	c.mu.Lock()
	c.reads[name]++
	c.mu.Unlock()
	return c.FS.Open(name)
}

func (c *countingFS) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, k := range c.reads {
		n += k
	}
	return n
}

// folder makes a folder with the given files; a name that ends in a slash
// makes a folder.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, f := range files {
		p := filepath.Join(root, filepath.FromSlash(f))
		if f[len(f)-1] == '/' {
			if err := os.MkdirAll(p, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}
