package dataset

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// dropCopies takes out of a folder's listing the folders that have class folders called like
// those beside them, as the copy cell_images/cell_images that some archives have, and notes
// them. They are no classes.
func (s *search) dropCopies(fsys fs.FS, dir string, l *listing) error {
	if s.layout == LayoutFolders || len(l.folders) < 2 || len(l.images) > 0 {
		return nil
	}
	beside := l.folders
	var copies []string
	for _, f := range beside {
		if part, _, _ := namedPart(f); part >= 0 {
			continue
		}
		inner, err := s.inner(fsys, path.Join(dir, f))
		if err != nil {
			return err
		}
		if g, err := s.wrapped(fsys, dir, f, beside); err != nil {
			return err
		} else if g {
			copies = append(copies, f)
			continue
		}
		common := 0
		for _, g := range inner.folders {
			if g != f && slices.Contains(beside, g) && !slices.Contains(copies, g) {
				common++
			}
		}
		if len(inner.images) == 0 && (common >= 2 || common == 1 && len(beside) == 2 && len(inner.folders) == 1) {
			copies = append(copies, f)
		}
	}
	for _, f := range copies {
		at := path.Join(dir, f)
		l.folders = slices.DeleteFunc(slices.Clone(l.folders), func(g string) bool { return g == f })
		if slices.Contains(s.copies, at) {
			continue
		}
		s.copies = append(s.copies, at)
		images, err := (&search{ctx: s.ctx}).images(fsys, at)
		if err != nil {
			return err
		}
		s.source.Parts = append(s.source.Parts, Part{Name: f, Folder: at, Images: len(images)})
		s.note("%s has folders called like those beside it and is left out", at)
	}
	return nil
}

// wrapped reports whether a folder has nothing but one called like a folder beside it, with the
// same class folders: data/natural_images beside natural_images.
func (s *search) wrapped(fsys fs.FS, dir, f string, beside []string) (bool, error) {
	l, err := s.list(fsys, path.Join(dir, f))
	if err != nil || len(l.images) > 0 || len(l.folders) != 1 || l.folders[0] == f || !slices.Contains(beside, l.folders[0]) {
		return false, err
	}
	copied, err := s.inner(fsys, path.Join(dir, f, l.folders[0]))
	if err != nil {
		return false, err
	}
	first, err := s.inner(fsys, path.Join(dir, l.folders[0]))
	return len(copied.folders) > 1 && slices.Equal(copied.folders, first.folders), err
}

// findCopies is dropCopies of the folders of root that have one of their own name, for layouts that
// look at all images.
func (s *search) findCopies(fsys fs.FS, root listing) error {
	const most = 16 // folders looked into
	if len(root.folders) > most {
		return nil
	}
	for _, f := range root.folders {
		l, err := s.list(fsys, f)
		if err == nil && slices.Contains(l.folders, f) {
			err = s.dropCopies(fsys, f, &l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dropLetters makes classes of the folders below folders that are called by their first letters,
// as of SUN397 and Places365: a/abbey, c/church/indoor.
func (s *search) dropLetters(d *Dataset, part string) {
	of := func(name string) (string, bool) {
		dir := path.Dir(strings.TrimPrefix(name, part+"/"))
		letter, class, below := strings.Cut(dir, "/")
		return class, below && len(letter) == 1 && unicode.IsLetter(rune(letter[0])) && strings.HasPrefix(strings.ToLower(class), strings.ToLower(letter))
	}
	classes := map[string]int{}
	for _, sample := range d.Samples {
		class, ok := of(sample.Name)
		if !ok {
			return
		}
		classes[class] = 0
	}
	d.Classes = slices.Sorted(maps.Keys(classes))
	for i, c := range d.Classes {
		classes[c] = i
	}
	for i := range d.Samples {
		class, _ := of(d.Samples[i].Name)
		d.Samples[i].Label = classes[class]
	}
	d.sortSamples()
	note := "folders of one letter hold the classes that begin with it"
	if !slices.Contains(s.source.Notes, note) {
		s.note("%s", note)
	}
}

// innermost is the template of the class in the innermost folder.
const innermost = "**/{label}/*"

// everyFolder is the expression of the class in all folders together, as Omniglot's
// Greek/character01.
const everyFolder = `(?P<label>.+)/[^/]+`

// checkLevels returns an error if the classes may be another level of folders than the first below
// part: if all images of all class folders lie in further folders, which aren't the same single
// one (amazon/{bike, mug}, webcam/{bike, mug}; animals/{cat, dog}, plants/{oak}; or patients), or
// if some class folder has parts in it.
func (d *Dataset) checkLevels(name, part string) error {
	if len(d.Classes) < 2 {
		return nil
	}
	below := make([]map[string]bool, len(d.Classes))
	last := map[string]bool{}
	direct := 0
	flat := make([]bool, len(d.Classes))
	for _, s := range d.Samples {
		steps := strings.Split(path.Dir(strings.TrimPrefix(s.Name, part+"/")), "/")
		last[steps[len(steps)-1]] = true
		inner := ""
		for i, f := range steps[1:] {
			if !slices.Contains(plainFolders, strings.ToLower(f)) && !sameKind(steps[i], f) {
				inner = f
				break
			}
		}
		if inner == "" {
			if !flat[s.Label] {
				flat[s.Label] = true
				direct++
			}
			continue
		}
		if below[s.Label] == nil {
			below[s.Label] = map[string]bool{}
		}
		below[s.Label][inner] = true
	}
	root := strings.TrimRight(name, `/\`)
	if part != "." {
		root += "/" + part
	}
	folders := Reading{Layout: LayoutFolders, Means: "the classes are " + some(d.Classes)}
	for label, b := range below {
		if direct > 0 && d.hasParts(b) && !flat[label] {
			return &AmbiguousError{Path: name, Readings: []Reading{
				folders, {Path: root + "/" + d.Classes[label], Means: fmt.Sprintf("it has the parts %s", some(slices.Sorted(maps.Keys(b))))},
			}}
		}
	}
	single, same := true, true
	for _, b := range below {
		single = single && len(b) == 1
		same = same && maps.Equal(b, below[0])
	}
	if direct > 0 || single {
		return nil
	}
	readings := []Reading{folders}
	pairs := 0
	for _, b := range below {
		pairs += len(b)
	}
	plain := ""
	for f := range last {
		if slices.Contains(plainFolders, strings.ToLower(f)) {
			plain = f
		}
	}
	switch {
	case plain == "" && len(last) > 1:
		readings = append(readings, Reading{Pattern: innermost, Means: "the classes are " + some(slices.Sorted(maps.Keys(last)))})
		if pairs > len(last) && part == "." {
			inner := slices.Min(slices.Collect(maps.Keys(below[0])))
			readings = append(readings, Reading{Pattern: everyFolder, Means: "the classes are pairs, such as " + d.Classes[0] + "/" + inner})
		}
	case len(last) == 1:
		readings = append(readings, Reading{Pattern: "**/{label}/" + plain + "/*", Means: "the folders round " + plain + " are the classes"})
	}
	if same {
		readings = append(readings, Reading{Path: root + "/" + d.Classes[0], Means: "or another of its kind; the classes are " + some(slices.Sorted(maps.Keys(below[0])))})
	}
	if pattern, classes := d.suffixPattern(); pattern != "" {
		readings = append(readings, Reading{Pattern: pattern, Means: "the files' names say the classes " + some(classes)})
	}
	if len(readings) == 1 {
		return nil
	}
	return &AmbiguousError{Path: name, Readings: readings}
}

// hasParts reports whether folders are called train and val or test.
func (d *Dataset) hasParts(folders map[string]bool) bool {
	var found [partCount]bool
	for f := range folders {
		if part, _, _ := namedPart(f); part >= 0 {
			found[part] = true
		}
	}
	return found[partTrain] && (found[partVal] || found[partTest])
}

// suffixPattern returns the pattern of files whose names end in class and a number, as
// 8863_idx5_x51_y1251_class0.png, and the classes.
func (d *Dataset) suffixPattern() (string, []string) {
	ends := regexp.MustCompile(`_class(\d+)(\.\w+)$`)
	classes, exts := map[string]bool{}, map[string]bool{}
	for _, s := range d.Samples {
		m := ends.FindStringSubmatch(s.Name)
		if m == nil {
			return "", nil
		}
		classes[m[1]], exts[m[2]] = true, true
	}
	if len(exts) != 1 || len(classes) < 2 {
		return "", nil
	}
	return "*_class{label}" + slices.Collect(maps.Keys(exts))[0], slices.Sorted(maps.Keys(classes))
}

// bands matches the file of a band of a Sentinel-2 patch.
var bands = regexp.MustCompile(`_(?:B0\d|B1[0-2]|B8A)\.tiff?$`)

// checkPatches is an error if the images are bands of satellite patches, each of which has a
// folder, or streets in the folders of Cityscapes' cities.
func (d *Dataset) checkPatches(where string) error {
	all := func(fits func(name string) bool) bool {
		return !slices.ContainsFunc(d.Samples, func(s Sample) bool { return !fits(s.Name) })
	}
	if all(func(name string) bool { return strings.HasSuffix(stem(name), "_leftImg8bit") }) {
		return fmt.Errorf("dataset: %s: the folders are the cities of Cityscapes, whose labels are of pixels (gtFine): vgg learns classes of whole images, want a table of them", where)
	}
	if !all(bands.MatchString) {
		return nil
	}
	return fmt.Errorf("dataset: %s: the images are bands of satellite patches, such as %s, a folder each, want one RGB picture of each patch (of B04, B03 and B02), and its class by a folder or a table", where, d.Samples[0].Name)
}

// checkSingle is an error if there is a single class folder whose images' names may be the classes.
func (d *Dataset) checkSingle(where string) error {
	if len(d.Classes) != 1 {
		return nil
	}
	names := make([]string, len(d.Samples))
	for i, s := range d.Samples {
		names[i] = path.Base(s.Name)
	}
	patterns := suggestPatterns(names)
	if patterns == nil {
		return nil
	}
	return &AmbiguousError{Path: where, Readings: append(patterns, Reading{Layout: LayoutFolders, Means: "the only class is " + d.Classes[0]})}
}

// domain is a folder of a part and a class, as trainA or test_cats.
var domain = regexp.MustCompile(`(?i)^(train|training|val|valid|validation|test|testing)[ _-]?(\pL[\pL\d _-]*)$`)

// openDomains reads folders that say both part and class: trainA, trainB, testA, testB. ok is
// false if the folders are others.
func (s *search) openDomains(name string, fsys fs.FS, root listing) (train, val *Dataset, ok bool, err error) {
	if s.layout != LayoutAuto || len(root.images) > 0 {
		return nil, nil, false, nil
	}
	folders := map[string]*[partCount]string{}
	for _, f := range root.folders {
		m := domain.FindStringSubmatch(f)
		part, _, rest := namedPart(f)
		if m == nil || part < 0 || rest == "" {
			return nil, nil, false, nil
		}
		if folders[m[2]] == nil {
			folders[m[2]] = &[partCount]string{}
		}
		folders[m[2]][part] = f
	}
	if len(folders) < 2 {
		return nil, nil, false, nil
	}
	classes := slices.Sorted(maps.Keys(folders))
	for _, c := range classes {
		f := folders[c][partTrain]
		if f == "" {
			return nil, nil, false, nil
		}
		if l, err := s.list(fsys, f); err != nil || len(l.images) == 0 || len(l.folders) > 0 {
			return nil, nil, false, err
		}
	}
	read := func(part int) (*Dataset, error) {
		d := &Dataset{Name: strings.TrimRight(name, `/\`) + " (" + partNames[part] + ")", fsys: fsys, Classes: classes}
		for label, c := range classes {
			if folders[c][part] == "" {
				continue
			}
			files, err := s.images(fsys, folders[c][part])
			if err != nil {
				return nil, fmt.Errorf("dataset: %s: %w", name, err)
			}
			for _, f := range files {
				d.Samples = append(d.Samples, Sample{Name: f, Label: label})
			}
		}
		return d, nil
	}
	found := [partCount]*Dataset{}
	for part := range found {
		if found[part], err = read(part); err != nil {
			return nil, nil, false, err
		}
	}
	train = found[partTrain]
	part := partVal
	if found[partVal].Len() == 0 {
		part = partTest
	}
	if found[part].Len() > 0 {
		val = found[part]
	}
	setLayout(fsys, train, val)
	for p, d := range found {
		if d.Len() > 0 {
			s.foundPart(p, "", p == partTrain || p == part, d.Len())
		}
	}
	s.note("part and class by the names of the folders, as %s", folders[classes[0]][partTrain])
	return train, val, true, nil
}
