package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"image"
	_ "image/png"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/weights"
)

// outcome is the hash of each file of a run, of the part that must not depend on faults.
type outcome map[string][sha256.Size]byte

// differs describes how another outcome differs, "" if it doesn't.
func (o outcome) differs(other outcome) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if got, ok := other[name]; !ok {
			lines = append(lines, "no "+name)
		} else if got != o[name] {
			lines = append(lines, "other bytes in "+name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(other)) {
		if _, ok := o[name]; !ok {
			lines = append(lines, name+" too many")
		}
	}
	return strings.Join(lines, ", ")
}

// outcomeOf hashes the files of a folder. Those with times in their names have none in the
// outcome, and there must be one.
func outcomeOf(c *command, dir string) (outcome, error) {
	o := outcome{}
	for _, name := range filesOf(dir) {
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		if path.Base(name) == "metrics.jsonl" {
			if b, err = withoutTimes(b); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		b = c.ordered(name, b)
		if i := slices.IndexFunc(c.varies, func(p string) bool { return matches(name, []string{p}) }); i >= 0 {
			name, b = c.varies[i], nil
		}
		o[name] = sha256.Sum256(b)
	}
	return o, nil
}

// ordered sorts the lines of a file that has them in the order in which images were done.
func (c *command) ordered(name string, b []byte) []byte {
	grows := matches(name, c.grows) && path.Ext(name) == ".jsonl" && path.Base(name) != "metrics.jsonl"
	if !grows && !matches(name, c.unordered) {
		return b
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	slices.SortFunc(lines, bytes.Compare)
	return bytes.Join(lines, nil)
}

// withoutTimes drops the measured times from lines of metrics.
func withoutTimes(text []byte) ([]byte, error) {
	var out bytes.Buffer
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var m map[string]any
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return nil, fmt.Errorf("%q: %w", lines.Text(), err)
		}
		for _, k := range []string{"images_per_second", "seconds", "wait_seconds"} {
			delete(m, k)
		}
		line, err := json.Marshal(m) // keys in order
		if err != nil {
			return nil, err
		}
		out.Write(append(line, '\n'))
	}
	return out.Bytes(), lines.Err()
}

// filesOf lists the files below a folder, with slashes.
func filesOf(dir string) []string {
	var names []string
	_ = filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			if name, err := filepath.Rel(dir, file); err == nil {
				names = append(names, filepath.ToSlash(name))
			}
		}
		return nil // what a running process has just removed
	})
	return names
}

// isTemporary reports whether a file may be left behind by a process that is killed: the next
// run removes it.
func isTemporary(name string) bool {
	base := path.Base(name)
	return atomicfile.IsTemporary(base) || base == "lock" || strings.HasSuffix(base, ".lock")
}

// opens reads a picture or a file of weights to its end.
func opens(file string) error {
	if filepath.Ext(file) == ".png" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, _, err := image.Decode(f); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return nil
	}
	f, err := weights.Open(context.Background(), file)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, e := range f.Tensors() {
		if _, err := f.Read(e.Name); err != nil {
			return err
		}
	}
	return nil
}

// watcher counts how often the names in a folder change.
type watcher struct {
	dir    string
	last   string
	events int
	quit   chan struct{}
	ended  chan struct{}
	news   chan struct{} // one for each change
}

// watch begins to look at a folder.
func watch(dir string) *watcher {
	w := &watcher{dir: dir, last: strings.Join(filesOf(dir), "\n"), quit: make(chan struct{}), ended: make(chan struct{}), news: make(chan struct{}, 1<<16)}
	go func() {
		defer close(w.ended)
		for {
			select {
			case <-w.quit:
				return
			case <-time.After(400 * time.Microsecond):
			}
			if now := strings.Join(filesOf(dir), "\n"); now != w.last {
				w.last = now
				w.events++
				select {
				case w.news <- struct{}{}:
				default: // enough
				}
			}
		}
	}()
	return w
}

// after returns after n changes, or when done is closed.
func (w *watcher) after(n int, done <-chan struct{}) {
	for range n {
		select {
		case <-w.news:
		case <-done:
			return
		}
	}
}

// end returns the number of changes.
func (w *watcher) end() int {
	close(w.quit)
	<-w.ended
	return w.events
}
