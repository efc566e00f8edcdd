package dataset

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// LabelPattern takes the class of an image from its file's name, as of cat.0.jpg and
// dog.0.jpg.
type LabelPattern struct {
	text  string
	expr  *regexp.Regexp
	group int
	paths bool // the pattern is of paths below the collection's root rather than of names
}

// labelWord stands for the class in a template.
const labelWord = "{label}"

// ParseLabelPattern reads a template or a regular expression. Either describes the file's
// whole name, or its path below the collection's root if it contains a slash.
//
// A template contains {label}, the class, which is as short as the rest allows; * is any
// characters but slashes, ? one, # one or more digits, **/ any folders or none, and anything
// else itself: {label}.#.jpg, **/{label}/*.
//
// A regular expression ([regexp/syntax]) has a group called label, or one group in all:
// (?P<label>[a-z]+)_\d+\.jpg.
func ParseLabelPattern(text string) (*LabelPattern, error) {
	fail := func(want string) (*LabelPattern, error) {
		return nil, fmt.Errorf("dataset: label pattern %q: want %s", text, want)
	}
	expr := text
	if n := strings.Count(text, labelWord); n > 1 {
		return fail("one " + labelWord)
	} else if n == 1 {
		expr = templateExpr(text)
	}
	re, err := regexp.Compile("^(?:" + expr + ")$")
	if err != nil {
		return fail(fmt.Sprintf("a template with %s or a regular expression with a group (?P<label>…): %v", labelWord, err))
	}
	group := re.SubexpIndex("label")
	switch {
	case group < 0 && re.NumSubexp() == 1:
		group = 1
	case group < 0:
		return fail(fmt.Sprintf("a template with %s or a regular expression with a group (?P<label>…)", labelWord))
	}
	return &LabelPattern{text, re, group, strings.Contains(text, "/")}, nil
}

// templateExpr returns the regular expression of a template.
func templateExpr(text string) string {
	var b strings.Builder
	for text != "" {
		if rest, ok := strings.CutPrefix(text, labelWord); ok {
			b.WriteString(`(?P<label>[^/]+?)`)
			text = rest
			continue
		}
		if rest, ok := strings.CutPrefix(text, "**/"); ok {
			b.WriteString(`(?:.*/)?`)
			text = rest
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		switch r {
		case '*':
			b.WriteString(`[^/]*`)
		case '?':
			b.WriteString(`[^/]`)
		case '#':
			b.WriteString(`[0-9]+`)
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return b.String()
}

// String returns the text that the pattern was read from.
func (p *LabelPattern) String() string { return p.text }

// Label returns the class of the image with this slash-separated path. ok is false if the
// pattern doesn't describe it.
func (p *LabelPattern) Label(name string) (label string, ok bool) {
	if !p.paths {
		name = path.Base(name)
	}
	m := p.expr.FindStringSubmatch(name)
	if m == nil || m[p.group] == "" {
		return "", false
	}
	return m[p.group], true
}

// openPattern reads images whose names give their classes: those of the parts or, if there
// are none, all. A part to validate on of which no name fits is left out.
func openPattern(s *search, name string, fsys fs.FS, root listing) (train, val *Dataset, err error) {
	parts, err := s.parts(name, fsys, root)
	if err != nil {
		return nil, nil, err
	}
	s.source.Layout = "file names by " + s.pattern.text
	if parts == nil || parts.dirs[partTrain] == "" {
		if train, err = s.byPattern(name, fsys, "."); err == nil && train.Len() == 0 {
			err = fmt.Errorf("dataset: %s: no name of an image fits the label pattern %s", name, s.pattern)
		}
		if err == nil {
			setLayout(fsys, train, nil)
		}
		return train, nil, err
	}
	if train, err = s.byPattern(name, fsys, parts.dirs[partTrain]); err != nil {
		return nil, nil, err
	}
	if train.Len() == 0 {
		return nil, nil, fmt.Errorf("dataset: %s: no name of an image fits the label pattern %s", train.Name, s.pattern)
	}
	s.foundPart(partTrain, parts.dirs[partTrain], true, train.Len())
	for _, part := range []int{partVal, partTest} {
		if parts.dirs[part] == "" || val != nil {
			continue
		}
		if val, err = s.byPattern(name, fsys, parts.dirs[part]); err != nil {
			return nil, nil, err
		}
		if val.Len() == 0 {
			val = nil // without labels, as in competitions
			continue
		}
		if err := val.takeClasses(train.Classes); err != nil {
			return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
		}
		s.foundPart(part, parts.dirs[part], true, val.Len())
	}
	setLayout(fsys, train, val)
	return train, val, s.leaveOut(fsys, parts)
}

// byPattern reads the images below dir. It is an error if some names fit the pattern and
// others don't; if none does, the dataset is empty.
func (s *search) byPattern(name string, fsys fs.FS, dir string) (*Dataset, error) {
	where := name
	if dir != "." {
		where = strings.TrimRight(name, `/\`) + "/" + dir
	}
	files, err := s.images(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", where, err)
	}
	d := &Dataset{Name: where, fsys: fsys}
	var unfit []string
	found := map[string]int{}
	classes := make([]string, len(files))
	for i, f := range files {
		label, ok := s.pattern.Label(f)
		if !ok {
			unfit = append(unfit, f)
			continue
		}
		classes[i] = label
		found[label] = 0
	}
	switch {
	case len(unfit) == len(files):
		return d, nil
	case len(unfit) > 0:
		return nil, fmt.Errorf("dataset: %s: %d of %d names don't fit the label pattern %s: %s; want all to", where, len(unfit), len(files), s.pattern, some(unfit))
	}
	d.Classes = slices.Sorted(maps.Keys(found))
	for i, c := range d.Classes {
		found[c] = i
	}
	for i, f := range files {
		d.Samples = append(d.Samples, Sample{Name: f, Label: found[classes[i]]})
	}
	d.sortSamples()
	return d, nil
}

// commonPatterns are the templates that file names are tried with.
var commonPatterns = []string{
	"{label}.#.*", "{label}__#.*", "{label}_#.*", "{label}-#.*", "{label} (#).*", "{label} #.*", "{label}#.*",
	"#_{label}.*", "#-{label}.*", "{label}_#_*", "{label}_*", "{label}-*", "*_{label}.*",
}

// knownNames are the forms of names of well-known collections whose classes are numbers, or may
// be several things.
var knownNames = []struct {
	form     string // that all names have
	patterns []Reading
}{
	{"#_*_#.jpg.chip.jpg", []Reading{ // UTKFace
		{Pattern: "#_{label}_*", Means: "the classes are genders"},
		{Pattern: "#_#_{label}_*", Means: "the classes are ethnic groups"},
		{Pattern: "{label}_*", Means: "the classes are ages"},
	}},
	{"*_c#s#_#_#.jpg", []Reading{{Pattern: "{label}_c#s#_*", Means: "the classes are persons"}}}, // Market-1501
	{"*_c#_f#.jpg", []Reading{{Pattern: "{label}_c#_f#.*", Means: "the classes are persons"}}},   // DukeMTMC-reID
}

// suggestPatterns returns the label patterns that fit all names and make two or more classes:
// those of a known form, or else the first common one with at least two images a class on
// average.
func suggestPatterns(names []string) []Reading {
	var out []Reading
	for _, k := range knownNames {
		form := regexp.MustCompile("^(?:" + templateExpr(k.form) + ")$")
		if len(names) == 0 || slices.ContainsFunc(names, func(n string) bool { return !form.MatchString(path.Base(n)) }) {
			continue
		}
		for _, r := range k.patterns {
			if classes := fitAll(r.Pattern, names); len(classes) >= 2 {
				r.Means += ": " + some(classes)
				out = append(out, r)
			}
		}
		return out
	}
	for _, text := range commonPatterns {
		classes := fitAll(text, names)
		if len(classes) < 2 || 2*len(classes) > len(names) || slices.ContainsFunc(classes, func(c string) bool { return strings.Trim(c, "0123456789") == "" }) {
			continue
		}
		return []Reading{{Pattern: text, Means: fmt.Sprintf("%d classes: %s", len(classes), some(classes))}}
	}
	return nil
}

// fitAll returns the classes that a pattern makes of names, nil if one doesn't fit.
func fitAll(pattern string, names []string) []string {
	p, err := ParseLabelPattern(pattern)
	if err != nil {
		return nil
	}
	found := map[string]bool{}
	for _, n := range names {
		label, ok := p.Label(n)
		if !ok {
			return nil
		}
		found[label] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// UnlabelledError is the error of images of which nothing tells the classes.
type UnlabelledError struct {
	Path     string
	Images   int
	Patterns []Reading // label patterns that the names of the files fit
	Tables   []string  // tables beside the images that could be meant, and why they can't be used
	Masks    bool      // there are masks beside the images, as of a segmentation
}

// Error implements error.
func (e *UnlabelledError) Error() string {
	text := fmt.Sprintf("dataset: %s: %d images without a class folder, want one folder of images for each class, a table of labels beside them, or a label pattern", e.Path, e.Images)
	if len(e.Tables) > 0 {
		text += "; " + strings.Join(e.Tables, "; ")
	}
	if e.Masks {
		text += "; the masks beside them are of pixels, and vgg learns classes of whole images"
	}
	for i, r := range e.Patterns {
		text += []string{"; by their names, ", " or "}[min(i, 1)] + fmt.Sprintf("%s (%s)", r.Flag(), r.Means)
	}
	return text
}
