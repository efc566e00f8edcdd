package dataset

import (
	"path"
	"slices"
	"strings"
)

// finder finds files by the names that lists and annotations have for them: by path,
// by the end of the path, or by a path with the same end, with any extension.
type finder struct {
	names []string
	stems map[string][]int // indices of names by base name without extension
}

func newFinder(names []string) *finder {
	f := &finder{names: names, stems: make(map[string][]int, len(names))}
	for i, n := range names {
		s := stem(n)
		f.stems[s] = append(f.stems[s], i)
	}
	return f
}

func stem(name string) string {
	base := path.Base(name)
	return strings.TrimSuffix(base, path.Ext(base))
}

// find returns the index of the file that name means, or -1. Where both have
// folders, the last folder must be the same, unless it only names the part. Of
// several files the one with the most folders in common is taken, then the one with
// the same extension; if two are equal in this, none.
func (f *finder) find(name string) int {
	i, rival := f.look(name)
	if rival >= 0 {
		return -1
	}
	return i
}

// look is find that returns, of two files that are equal in this, both: otherwise rival
// is -1.
func (f *finder) look(name string) (i, rival int) {
	name = path.Clean(strings.ReplaceAll(name, `\`, "/"))
	if saysPart(path.Dir(name)) {
		name = path.Base(name)
	}
	candidates := f.stems[stem(name)]
	if len(candidates) == 0 && path.Ext(name) != "" {
		// The apparent extension may be part of a name without one.
		candidates = f.stems[path.Base(name)]
	}
	best, bestScore := -1, -1
	rival = -1
	for _, i := range candidates {
		switch score := likeness(f.names[i], name); {
		case score < 2 && path.Dir(name) != "." && path.Dir(f.names[i]) != ".":
		case score > bestScore:
			best, bestScore, rival = i, score, -1
		case score == bestScore:
			rival = i
		}
	}
	return best, rival
}

// saysPart reports whether a folder only names the part: it is a part's word, or the
// only folder and has such a word in it. A folder within a part names the class.
func saysPart(dir string) bool {
	base := path.Base(dir)
	for part, words := range partWords {
		if dir == base && findPart([]string{dir}, part) == dir || slices.Contains(words, strings.ToLower(base)) {
			return true
		}
	}
	return false
}

// likeness is twice the number of folders that both paths end with, and one more if
// they have the same extension.
func likeness(a, b string) int {
	score := 0
	if strings.EqualFold(path.Ext(a), path.Ext(b)) {
		score = 1
	}
	a, b = path.Dir(a), path.Dir(b)
	for a != "." && a != "/" && path.Base(a) == path.Base(b) {
		score += 2
		a, b = path.Dir(a), path.Dir(b)
	}
	return score
}
