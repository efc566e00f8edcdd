package remote

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/verydeep/vgg/internal/lockfile"
)

// cache keeps parts of files on disk. A file has two files in the cache, which are called by a
// hash of its name, size and version: its bytes, at their places, between which are holes; and
// a list of the parts that are there, each with a checksum. A part is used only if its checksum
// is right. So neither a killed process nor two that write the same file leave anything wrong,
// and nothing needs to be synced.
//
// When the bound is reached, the files that no run has used for longest go, but not those of
// this run: pictures are read once an epoch in a new order, in which the part of them that stays
// is found again, while of those that come and go none would be.
type cache struct {
	dir    string
	bound  int64
	remark func(string)

	mu    sync.Mutex
	kept  map[*object]*keptObject
	total int64 // bytes of all files in the cache, when they were counted last, and since
	fresh int64 // bytes written since they were counted
	going int64 // bytes that are being written
	full  bool  // nothing can go
	off   bool  // the disk is full or can't be written
}

// keptObject is what the cache has of one file.
type keptObject struct {
	base  string
	parts map[int64]keptPart
}

// keptPart is a part by its first byte.
type keptPart struct {
	bytes int
	sum   uint32
}

// shareUncounted is the part of the bound that a process writes before it counts again what others
// have written: 1/32. By so much each may exceed the bound.
const shareUncounted = 32

const (
	bytesExt = ".bytes"
	partsExt = ".parts"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumOf returns the checksum of a part: CRC-32C.
func sumOf(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// openCache returns the cache in a folder, which it makes; nil if it can't.
func openCache(dir string, bound int64, remark func(string)) *cache {
	c := &cache{dir: dir, bound: bound, remark: remark, kept: map[*object]*keptObject{}}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		remark(fmt.Sprintf("nothing that is downloaded is kept: %v", err))
		return nil
	}
	c.count()
	return c
}

// cacheKey tells files, and versions of one file, apart. The query of an address may be another
// each time.
func cacheKey(o *object) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%d\n%s\n%d", o.url.Scheme, o.name, o.head.size, o.head.tag, o.head.modified.Unix())
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// use begins to use the cache for a file whose head is known.
func (c *cache) use(o *object) {
	k := &keptObject{base: filepath.Join(c.dir, cacheKey(o)), parts: map[int64]keptPart{}}
	_ = readParts(k.base+partsExt, func(off int64, p keptPart) { k.parts[off] = p })
	if len(k.parts) > 0 {
		now := time.Now()
		_ = os.Chtimes(k.base+partsExt, now, now) // it goes after those that nobody uses
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[o] = k
}

// readParts reads a list of parts. A line that was cut off counts for nothing.
func readParts(path string, take func(off int64, p keptPart)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil
		}
		var off int64
		var p keptPart
		if n, err := fmt.Sscanf(line, "%d %d %x\n", &off, &p.bytes, &p.sum); n == 3 && err == nil && off >= 0 && p.bytes > 0 {
			take(off, p)
		}
	}
}

// count adds up what is in the folder.
func (c *cache) count() {
	c.total, c.fresh = 0, 0
	lists, _ := filepath.Glob(filepath.Join(c.dir, "*"+partsExt))
	for _, l := range lists {
		c.total += keptBytes(l)
	}
}

// keptBytes returns the bytes of the parts in a list.
func keptBytes(list string) (n int64) {
	seen := map[int64]bool{}
	_ = readParts(list, func(off int64, p keptPart) {
		if !seen[off] {
			n += int64(p.bytes)
		}
		seen[off] = true
	})
	return n
}

// read fills p with a part, if it is there and whole.
func (c *cache) read(o *object, p []byte, off int64) bool {
	c.mu.Lock()
	k := c.kept[o]
	part, ok := k.parts[off]
	c.mu.Unlock()
	if !ok || part.bytes != len(p) {
		return false
	}
	f, err := os.Open(k.base + bytesExt)
	if err == nil {
		_, err = f.ReadAt(p, off)
		f.Close()
	}
	if err != nil || sumOf(p) != part.sum {
		c.forget(o, off)
		return false
	}
	return true
}

// forget drops a part.
func (c *cache) forget(o *object, off int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kept[o].parts, off)
}

// write keeps a part, if there is room for it. A failure ends the keeping, not the run.
func (c *cache) write(o *object, p []byte, off int64) {
	if !c.makeRoom(int64(len(p))) {
		return
	}
	c.mu.Lock()
	k := c.kept[o]
	c.mu.Unlock()
	part := keptPart{len(p), sumOf(p)}
	err := writeAt(k.base+bytesExt, p, off)
	if err == nil {
		err = appendLine(k.base+partsExt, fmt.Sprintf("%d %d %08x\n", off, part.bytes, part.sum))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.going -= int64(len(p))
	if err != nil {
		if !c.off {
			c.off = true
			c.remark(fmt.Sprintf("nothing more that is downloaded is kept in %s: %v", c.dir, err))
		}
		return
	}
	k.parts[off] = part
	c.total += int64(len(p))
	c.fresh += int64(len(p))
}

func writeAt(path string, p []byte, off int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(p, off)
	return errors.Join(err, f.Close())
}

func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, line)
	return errors.Join(err, f.Close())
}

// makeRoom reports whether n more bytes may be kept, after it has removed what nobody uses.
func (c *cache) makeRoom(n int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off || c.full || n > c.bound {
		return false
	}
	fits := func() bool { return c.total+c.going+n <= c.bound }
	if c.fresh > c.bound/shareUncounted || !fits() {
		c.count()
	}
	if !fits() {
		c.prune(n + c.going)
	}
	if !fits() {
		c.full = true
		c.remark(fmt.Sprintf("%s is full: %d MB of the images are kept, and the others read again each epoch; --cache-size takes more", c.dir, c.total/1e6))
		return false
	}
	c.going += n
	return true
}

// prune removes the files that no run has used for longest, until there is room for n bytes.
// One process at a time prunes.
func (c *cache) prune(n int64) {
	release, err := lockfile.Take(filepath.Join(c.dir, "prune.lock"))
	switch {
	case errors.Is(err, lockfile.ErrUnsupported):
	case err != nil:
		return
	default:
		defer release()
	}
	type old struct {
		base string
		used time.Time
	}
	own := map[string]bool{}
	for _, k := range c.kept {
		own[k.base] = true
	}
	var all []old
	entries, _ := os.ReadDir(c.dir)
	for _, e := range entries {
		c.removeUnlisted(e)
		stem, ok := strings.CutSuffix(e.Name(), partsExt)
		base := filepath.Join(c.dir, stem)
		if info, err := e.Info(); ok && err == nil && !own[base] {
			all = append(all, old{base, info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b old) int { return a.used.Compare(b.used) })
	for _, o := range all {
		if c.total+n <= c.bound {
			return
		}
		held := keptBytes(o.base + partsExt)
		// The bytes go first: a list without them has parts whose checksums are wrong.
		if err := os.Remove(o.base + bytesExt); err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if os.Remove(o.base+partsExt) == nil {
			c.total -= held
		}
	}
}

// removeUnlisted removes bytes of which there is no list: their writer was killed before it made
// one. A writer makes it at once; one that does so now is left alone.
func (c *cache) removeUnlisted(e fs.DirEntry) {
	stem, ok := strings.CutSuffix(e.Name(), bytesExt)
	if info, err := e.Info(); !ok || err != nil || time.Since(info.ModTime()) < time.Hour {
		return
	}
	base := filepath.Join(c.dir, stem)
	if _, err := os.Stat(base + partsExt); errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(base + bytesExt) // another process may have
	}
}
