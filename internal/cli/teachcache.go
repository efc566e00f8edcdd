package cli

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/verydeep/vgg/internal/kernel"
	"github.com/verydeep/vgg/internal/lockfile"
	"github.com/verydeep/vgg/transfer"
)

// mostKeptDescriptors is the most bytes of descriptors in the user's cache: those of some 400,000
// pictures. docs/limits.md lists it.
const mostKeptDescriptors = 1 << 30

// keptAnyway is how long after its last use a set of descriptors stays whatever its size, as
// another process may be about to read it.
const keptAnyway = time.Hour

// kept returns the file of the descriptors: one for each set and way to describe it, in the
// user's cache. "" if there is no such folder.
func (c *teachCommand) kept(net transfer.Net) (string, error) {
	if c.Descriptors != "" {
		return c.Descriptors, nil
	}
	dir := cacheDir()
	if dir == "" {
		return "", nil
	}
	m, err := net.Open()
	if err != nil {
		return "", err
	}
	path, err := filepath.Abs(c.Photos)
	if err != nil {
		return "", err
	}
	key, err := json.Marshal([]any{path, c.dataFlags.text(), net.SHA256, m.Net.Options(), m.Preprocess, c.Scale, kernel.Current().Name()})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(key)
	dir = filepath.Join(dir, "teach")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	file := filepath.Join(dir, hex.EncodeToString(sum[:8])+".npy")
	_ = os.Chtimes(file, time.Time{}, time.Now()) // used now; there may be none yet
	return file, nil
}

// pruneDescriptors removes the sets of descriptors beside a file that were used the longest ago,
// until at most the given bytes are left. The file itself stays, and what another run is writing or
// was using an hour ago. What can't be removed stays, too: a cache is no reason to fail.
func pruneDescriptors(file string, most int64) {
	type set struct {
		stem  string // path of the .npy
		files []string
		bytes int64
		used  time.Time // the last time of its files
	}
	dir := filepath.Dir(file)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	sets, total := map[string]*set{}, int64(0)
	for _, entry := range entries {
		name, _, npy := strings.Cut(entry.Name(), ".npy")
		info, err := entry.Info()
		if !npy || err != nil || !info.Mode().IsRegular() {
			continue
		}
		s := sets[name]
		if s == nil {
			s = &set{stem: filepath.Join(dir, name+".npy")}
			sets[name] = s
		}
		s.files = append(s.files, filepath.Join(dir, entry.Name()))
		s.bytes += info.Size()
		total += info.Size()
		if info.ModTime().After(s.used) {
			s.used = info.ModTime()
		}
	}
	var oldest []*set
	for _, s := range sets {
		oldest = append(oldest, s)
	}
	slices.SortFunc(oldest, func(a, b *set) int { return cmp.Or(a.used.Compare(b.used), strings.Compare(a.stem, b.stem)) })
	for _, s := range oldest {
		if total <= most || time.Since(s.used) < keptAnyway {
			return
		}
		if s.stem == file {
			continue
		}
		release, err := lockfile.Beside(s.stem)
		if err != nil {
			continue
		}
		for _, name := range s.files {
			_ = os.Remove(name)
		}
		release()
		total -= s.bytes
	}
}
