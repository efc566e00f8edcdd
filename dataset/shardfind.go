package dataset

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/wholefile"
)

// shardLook is the number of entries by which a shard is told from another tar file.
const shardLook = 100

// looksSharded reports whether a tar file is a shard: it has an index, a member with a class
// beside an image, or images in no folder and nothing else. Otherwise it is like a folder of
// files, of class folders for one.
func looksSharded(s *search, fsys fs.FS, file string) (bool, error) {
	if _, err := fs.Stat(fsys, file+indexExt); err == nil {
		return true, nil
	}
	f, err := fsys.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	r := io.Reader(bufio.NewReader(f))
	head, err := r.(*bufio.Reader).Peek(8)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	if p := packingOf(head); p != nil {
		if p.reader == nil {
			_, err := s.unpack(p, file, r)
			return false, err
		}
		if r, err = p.reader(r); err != nil {
			return false, fmt.Errorf("%s: %w", p.name, unexpectedEnd(err))
		}
	}
	return lookAtMembers(tar.NewReader(r)), nil
}

// lookAtMembers looks at the first entries. A damaged file looks like a shard, whose reader
// says what is wrong.
func lookAtMembers(r *tar.Reader) bool {
	images := map[string]bool{} // keys
	flat := true
	for range shardLook {
		h, err := r.Next()
		if err != nil {
			return flat || !errors.Is(err, io.EOF)
		}
		name, ok := entryPath(h.Name)
		if !ok || h.Typeflag == tar.TypeDir {
			continue
		}
		key, ext := shardKey(name)
		switch {
		case h.Typeflag != tar.TypeReg:
			flat = false
		case ext == "cls":
			return true
		case ext == "json" && images[key]:
			return true
		case isImage(name):
			images[key] = true
			flat = flat && path.Dir(name) == "."
		case ext != "json" && ext != "txt":
			flat = false // a member of another kind, or a table of labels
		}
	}
	return flat
}

// isShardPattern reports whether a path that doesn't exist is a pattern of several.
func isShardPattern(name string) bool {
	return strings.ContainsAny(name, "*?[{") || strings.Contains(name, "::")
}

// openShardPattern opens the shards that a pattern names: with * ? [a-z] as in a shell, with
// {000..009} and {train,val}, and several joined by ::, as WebDataset has them.
func (s *search) openShardPattern(pattern string) (train, val *Dataset, err error) {
	files, err := findShards(pattern)
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", pattern, err)
	}
	dir := filepath.Dir(files[0])
	var shards []string
	for _, f := range files {
		shards = append(shards, filepath.Base(f))
	}
	if train, err = openShards(s, pattern, wholefile.Dir(dir), shards); err != nil {
		return nil, nil, err
	}
	train.path = dir
	return train, nil, nil
}

// findShards returns the files that a pattern names, sorted.
func findShards(pattern string) ([]string, error) {
	var found, missing []string
	for one := range strings.SplitSeq(pattern, "::") {
		names, err := expandBraces(one)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			files, err := filepath.Glob(n)
			if err != nil {
				return nil, err
			}
			if len(files) == 0 {
				missing = append(missing, n)
			}
			found = append(found, files...)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("no file %s, want all that the pattern names", some(missing))
	}
	slices.Sort(found)
	found = slices.Compact(found)
	dir := filepath.Dir(found[0])
	for _, f := range found {
		if !isTar(f) {
			return nil, fmt.Errorf("%s, want tar files alone", f)
		}
		if info, err := os.Stat(f); err != nil {
			return nil, err
		} else if info.IsDir() {
			return nil, fmt.Errorf("%s is a folder, want tar files alone", f)
		}
		if filepath.Dir(f) != dir {
			return nil, fmt.Errorf("shards in %s and in %s, want those of one folder", dir, filepath.Dir(f))
		}
	}
	return found, nil
}

// maxBraces is the most names that a pattern stands for.
const maxBraces = 100_000

// expandBraces returns the names that a pattern with {a,b} or {000..123} stands for.
func expandBraces(pattern string) ([]string, error) {
	open := strings.IndexByte(pattern, '{')
	if open < 0 {
		return []string{pattern}, nil
	}
	length := strings.IndexByte(pattern[open:], '}')
	if length < 0 {
		return nil, errors.New("a { without its }")
	}
	inner := pattern[open+1 : open+length]
	choices := strings.Split(inner, ",")
	if from, to, ok := strings.Cut(inner, ".."); ok && len(choices) == 1 {
		first, err1 := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || first < 0 || last < first || last-first >= maxBraces {
			return nil, fmt.Errorf("{%s}, want a range of numbers as {000..123}, of at most %d", inner, maxBraces)
		}
		choices = nil
		for n := first; n <= last; n++ {
			choices = append(choices, fmt.Sprintf("%0*d", len(from), n))
		}
	}
	rest, err := expandBraces(pattern[open+length+1:])
	if err != nil {
		return nil, err
	}
	if len(choices)*len(rest) > maxBraces {
		return nil, fmt.Errorf("more than %d names", maxBraces)
	}
	var out []string
	for _, c := range choices {
		for _, r := range rest {
			out = append(out, pattern[:open]+c+r)
		}
	}
	return out, nil
}
