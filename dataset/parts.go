package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode"
)

// The names of the parts, in the order in which they are looked for.
var (
	trainWords = []string{"train", "training"}
	valWords   = []string{"val", "validation", "valid", "validate", "dev", "eval", "evaluation"}
	testWords  = []string{"test", "testing"}
)

// partWords are the names of the training part, and those of the part to validate on.
var partWords = [][]string{trainWords, slices.Concat(valWords, testWords)}

// The parts of a collection. A test part is validated on where there is no other.
const (
	partTrain = iota
	partVal
	partTest
	partCount
)

// partNames are the names that this package has for the parts.
var partNames = [partCount]string{"train", "val", "test"}

// plainWords say nothing beside the name of a part: training_set, Test Images.
var plainWords = []string{
	"set", "sets", "data", "dataset", "image", "images", "img", "imgs", "photo", "photos", "picture", "pictures",
	"folder", "dir", "split", "part",
}

// findPart returns the name that stands for part 0 (train) or 1 (val): one that
// has a word of the part in it, delimited by characters other than letters. It
// returns "" if there is none.
func findPart(names []string, part int) string {
	for _, word := range partWords[part] {
		for _, n := range names {
			stem := strings.ToLower(strings.TrimSuffix(n, path.Ext(n)))
			words := strings.FieldsFunc(stem, func(r rune) bool { return r < 'a' || r > 'z' })
			if slices.Contains(words, word) {
				return n
			}
		}
	}
	return ""
}

// namedPart returns the part that a folder's name says, -1 if it says none, and the
// name's other words: "seg_train" is training of "seg", "Testing Data" is test of "".
// rank is smaller for the name that is looked for first.
func namedPart(folder string) (part, rank int, rest string) {
	part = -1
	var others []string
	for _, w := range nameWords(folder) {
		p, r := partWord(w)
		switch {
		case p >= 0 && part >= 0: // "train_test": not the name of one part
			return -1, 0, ""
		case p >= 0:
			part, rank = p, r
		case !slices.Contains(plainWords, w):
			others = append(others, w)
		}
	}
	return part, rank, strings.Join(others, " ")
}

// partWord returns the part that a word names, alone or before a plain word as in
// "trainset", and its place among the part's words; -1 if it names none.
func partWord(word string) (part, rank int) {
	for p, words := range [partCount][]string{trainWords, valWords, testWords} {
		for i, w := range words {
			if rest, ok := strings.CutPrefix(word, w); ok && (rest == "" || slices.Contains(plainWords, rest)) {
				return p, i
			}
		}
	}
	return -1, 0
}

// nameWords returns the words of a name in lower case: runs of letters, split where a
// capital follows a small letter.
func nameWords(name string) []string {
	var words []string
	var word []rune
	end := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
		}
		word = word[:0]
	}
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r):
			end()
			continue
		case unicode.IsUpper(r) && len(word) > 0 && unicode.IsLower(word[len(word)-1]):
			end()
		}
		word = append(word, r)
	}
	end()
	return words
}

// shape is where the images of a folder lie.
type shape struct {
	flat   bool // some lie in it
	nested bool // some lie in folders below it
}

// shape looks for the images of a folder, no further than the first below it.
func (s *search) shape(fsys fs.FS, dir string) (shape, error) {
	l, err := s.list(fsys, dir)
	if err != nil {
		return shape{}, err
	}
	out := shape{flat: len(l.images) > 0}
	for _, f := range l.folders {
		below, err := s.shape(fsys, path.Join(dir, f))
		if err != nil {
			return shape{}, err
		}
		if below != (shape{}) {
			out.nested = true
			break
		}
	}
	return out, nil
}

// parts are the folders of a collection's parts.
type parts struct {
	dirs  [partCount]string // "": there is no such part
	more  []string          // further folders that are called like one of them
	other []string          // folders with images that are no parts
}

// val returns the part to validate on, -1 if there is none.
func (p *parts) val() int {
	switch {
	case p.dirs[partVal] != "":
		return partVal
	case p.dirs[partTest] != "":
		return partTest
	}
	return -1
}

// parts distinguishes folders that are parts from folders that are classes with the same
// names, as "train" is in COCO and CIFAR-100. It returns nil if the folders are classes.
// It is an error if they can be read both ways: then s.layout decides.
//
// Folders are parts if
//
//   - one of them is called like a training part, and no others have images but further
//     parts;
//   - or two parts, or a part and the folders beside it, have class folders of the same name.
//
// They are classes if none is called like a part, or if one alone is called like a training
// part, and its images lie in it as those of two or more others do.
func (s *search) parts(name string, fsys fs.FS, root listing) (*parts, error) {
	if s.layout == LayoutFolders {
		return nil, nil
	}
	p, err := s.partFolders(fsys, root)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	if s.layout == LayoutParts {
		if p.dirs == [partCount]string{} {
			return nil, fmt.Errorf("dataset: %s: layout %s: no folder is called like a part, want train, and val or test if there are any", name, s.layout)
		}
		return p, nil
	}
	return s.decide(name, fsys, p)
}

// partFolders returns the folders that are called like parts, and the others that have
// images.
func (s *search) partFolders(fsys fs.FS, root listing) (*parts, error) {
	p := calledParts(root.folders)
	if p.dirs == [partCount]string{} {
		return p, nil
	}
	for _, f := range root.folders {
		if slices.Contains(p.dirs[:], f) || slices.Contains(p.more, f) {
			continue
		}
		// A part that is called in another way, as val beside train_mini.
		if part, _, _ := namedPart(f); part > partTrain && p.dirs[part] == "" && p.dirs[partTrain] != "" {
			common, err := s.commonFolder(fsys, p.dirs[partTrain], f)
			if err != nil {
				return nil, err
			}
			if common {
				p.dirs[part] = f
				continue
			}
		}
		sh, err := s.shape(fsys, f)
		if err != nil {
			return nil, err
		}
		if sh != (shape{}) {
			p.other = append(p.other, f)
		}
	}
	return p, nil
}

// calledParts returns the folders that are called like parts, those of one kind: "train"
// and "test" rather than "bullet_train" and "test_tube".
func calledParts(folders []string) *parts {
	groups := map[string]*parts{}
	ranks := map[string]int{}
	for _, f := range folders {
		part, rank, rest := namedPart(f)
		if part < 0 {
			continue
		}
		g := groups[rest]
		if g == nil {
			g = &parts{}
			groups[rest] = g
		}
		switch first := g.dirs[part]; {
		case first == "":
			g.dirs[part], ranks[f] = f, rank
		case rank < ranks[first]:
			g.dirs[part], ranks[f] = f, rank
			g.more = append(g.more, first)
		default:
			g.more = append(g.more, f)
		}
	}
	best := &parts{}
	for _, rest := range slices.Sorted(maps.Keys(groups)) {
		if g := groups[rest]; g.score() > best.score() {
			best = g
		}
	}
	return best
}

// score orders groups of parts: training parts first, then the number of parts.
func (p *parts) score() int {
	n := 0
	for part, d := range p.dirs {
		if d != "" {
			n++
		}
		if d != "" && part == partTrain {
			n += partCount
		}
	}
	return n
}

// decide is parts for folders that are called like parts.
func (s *search) decide(name string, fsys fs.FS, p *parts) (*parts, error) {
	fail := func(err error) (*parts, error) { return nil, fmt.Errorf("dataset: %s: %w", name, err) }
	train, v := p.dirs[partTrain], p.val()
	switch {
	case train == "" && v < 0:
		return nil, nil
	case len(p.other) == 0:
		return p, nil
	case train == "":
		return s.decideBeside(name, fsys, p)
	}
	sh, err := s.shape(fsys, train)
	if err != nil {
		return fail(err)
	}
	if v >= 0 && sh.nested && !sh.flat {
		if common, err := s.commonFolder(fsys, train, p.dirs[v]); common {
			return p, nil
		} else if err != nil {
			return fail(err)
		}
	}
	if v < 0 && (!sh.nested || sh.flat) && len(p.other) > 1 {
		return nil, nil
	}
	asPart := Reading{Layout: LayoutParts, Means: fmt.Sprintf("%s is a part of the images, and %s left out", train, some(p.other))}
	asParts := []Reading{asPart}
	if !sh.nested { // it has no class folders
		l, err := s.inner(fsys, train)
		if err != nil {
			return fail(err)
		}
		asParts[0].Layout = LayoutAuto
		if patterns := suggestPatterns(l.images); patterns != nil {
			asParts = patterns
		}
		for i := range asParts {
			if asParts[i].Pattern != "" {
				asParts[i].Path = strings.TrimRight(name, `/\`) + "/" + train
			}
		}
	}
	return nil, &AmbiguousError{
		Path:     name,
		Readings: append(asParts, Reading{Layout: LayoutFolders, Means: fmt.Sprintf("%s and %s are classes", train, some(p.other))}),
	}
}

// decideBeside is decide for a part that lies beside the class folders to train on.
func (s *search) decideBeside(name string, fsys fs.FS, p *parts) (*parts, error) {
	dir := p.dirs[p.val()]
	inner, err := s.inner(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	for _, f := range inner.folders {
		if slices.Contains(p.other, f) {
			return p, nil
		}
	}
	if len(p.other) == 1 {
		classes, err := s.folderClasses(fsys, p.other[0])
		if err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", name, err)
		}
		common, err := s.commonFolder(fsys, dir, p.other[0])
		if err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", name, err)
		}
		if classes >= 2 && (common || len(inner.folders) == 0) {
			p.dirs[partTrain], p.other = p.other[0], nil
			return p, nil
		}
	}
	if _, _, rest := namedPart(dir); rest != "" { // test_tube
		return nil, nil
	}
	if len(inner.folders) == 0 && !bareWord(dir) { // test_images
		return p, nil
	}
	asParts := []Reading{{Layout: LayoutParts, Means: fmt.Sprintf("%s is a part of the images, and %s are the classes to train on", dir, some(p.other))}}
	if len(p.other) == 1 && len(inner.folders) > 0 { // whose classes, if they are such, the others lack
		if alone := s.readingsOf(name, fsys, p.other[0]); alone != nil {
			asParts = alone
		}
	}
	return nil, &AmbiguousError{
		Path:     name,
		Readings: append(asParts, Reading{Layout: LayoutFolders, Means: fmt.Sprintf("%s and %s are classes", dir, some(p.other))}),
	}
}

// bareWord reports whether a folder is called by nothing but the word of a part, as a class may be.
func bareWord(folder string) bool {
	words := nameWords(folder)
	return len(words) == 1 && slices.Contains(slices.Concat(trainWords, valWords, testWords), words[0])
}

// readingsOf returns the ways to read a folder alone.
func (s *search) readingsOf(name string, fsys fs.FS, dir string) []Reading {
	where := strings.TrimRight(name, `/\`) + "/" + dir
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		return nil
	}
	d, _, err := openFolders(&search{ctx: s.ctx}, where, sub)
	var several *AmbiguousError
	switch {
	case err == nil:
		return []Reading{{Path: where, Means: fmt.Sprintf("%s alone, with the classes %s", dir, some(d.Classes))}}
	case errors.As(err, &several):
		var out []Reading
		for _, r := range several.Readings {
			if r.Path == "" && (r.Layout != LayoutAuto || r.Pattern != "") {
				r.Path, r.Means = where, "of "+dir+" alone, "+r.Means
				out = append(out, r)
			}
		}
		return out
	}
	return nil
}

// commonFolder reports whether two parts have a class folder of the same name.
func (s *search) commonFolder(fsys fs.FS, a, b string) (bool, error) {
	la, err := s.inner(fsys, a)
	if err != nil {
		return false, err
	}
	lb, err := s.inner(fsys, b)
	if err != nil {
		return false, err
	}
	for _, f := range la.folders {
		if slices.Contains(lb.folders, f) {
			return true, nil
		}
	}
	return false, nil
}

// inner lists a part's folder, or the one that it only wraps.
func (s *search) inner(fsys fs.FS, dir string) (listing, error) {
	dir, err := s.unwrap(fsys, dir)
	if err != nil {
		return listing{}, err
	}
	return s.list(fsys, dir)
}

// unwrap returns the folder of a part's classes: dir, or the only folder in it if that
// wraps the classes (seg_train/seg_train/CLASS/…). A single folder that has no folders
// with images, or a single one, is a class, unless it is called like the part.
func (s *search) unwrap(fsys fs.FS, dir string) (string, error) {
	for range maxWrappers {
		l, err := s.list(fsys, dir)
		if err != nil || len(l.folders) != 1 || len(l.images) > 0 {
			return dir, err
		}
		child := path.Join(dir, l.folders[0])
		if !sameKind(path.Base(dir), l.folders[0]) {
			classes, err := s.folderClasses(fsys, child)
			if err != nil || classes < 2 {
				return dir, err
			}
		}
		dir = child
	}
	return dir, nil
}

// sameKind reports whether a folder is called like the one round it: by the same name, or by
// one of the same part.
func sameKind(outer, inner string) bool {
	a, _, _ := namedPart(outer)
	b, _, _ := namedPart(inner)
	return strings.EqualFold(outer, inner) || a >= 0 && a == b
}

// folderClasses returns the number of folders with images in a folder without images of its
// own, as far as two.
func (s *search) folderClasses(fsys fs.FS, dir string) (int, error) {
	l, err := s.list(fsys, dir)
	if err != nil || len(l.images) > 0 {
		return 0, err
	}
	n := 0
	for _, f := range l.folders {
		sh, err := s.shape(fsys, path.Join(dir, f))
		if err != nil {
			return 0, err
		}
		if sh != (shape{}) {
			n++
		}
		if n == 2 {
			break
		}
	}
	return n, nil
}
