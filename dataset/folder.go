package dataset

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// openFolders reads class folders in one of these layouts:
//
//	train/CLASS/…  with or without val/CLASS/… or test/CLASS/…, under any of their names
//	CLASS/…        (val is then nil)
//	CLASS/train/… and CLASS/val/…
//
// A class's images may lie at any depth below its folder. Links are followed to parts, to
// class folders and to images, but not to folders inside a class. Classes are sorted by
// name, samples by class and path. Class folders without images are passed over. Where
// there is only a part to validate on, it is returned as train.
//
// It is an error if there are no class folders, if none has images, if the folders can be
// read in several ways, and if val has a class that train lacks.
func openFolders(s *search, name string, fsys fs.FS) (train, val *Dataset, err error) {
	root, err := s.list(fsys, ".")
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	if err := s.dropCopies(fsys, ".", &root); err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	parts, err := s.parts(name, fsys, root)
	if err != nil {
		return nil, nil, err
	}
	if parts == nil {
		return openWhole(s, name, fsys, root)
	}
	part := parts.val()
	if parts.dirs[partTrain] == "" && len(parts.other) > 0 {
		return openBeside(s, name, fsys, root, parts)
	}
	if parts.dirs[partTrain] == "" {
		if train, err = openPart(s, name, fsys, parts.dirs[part]); err != nil {
			return nil, nil, err
		}
		train.root, train.part = fsys, partNames[partVal]
		s.foundPart(part, parts.dirs[part], true, train.Len())
		return train, nil, s.leaveOut(fsys, parts)
	}
	if train, err = openPart(s, name, fsys, parts.dirs[partTrain]); err != nil {
		return nil, nil, err
	}
	if inner, err := s.unwrap(fsys, parts.dirs[partTrain]); err == nil {
		if err := train.checkLevels(name, inner); err != nil {
			return nil, nil, err
		}
	}
	if val, err = openVal(s, name, fsys, parts, train.Classes); err != nil {
		return nil, nil, err
	}
	setLayout(fsys, train, val)
	s.foundTrain(parts.dirs[partTrain], train.Len())
	return train, val, s.leaveOut(fsys, parts)
}

// openVal reads the part to validate on: val, else test. It returns nil if there is none with
// class folders. A part without them, as a test part of competitions, is left out.
func openVal(s *search, name string, fsys fs.FS, p *parts, classes []string) (*Dataset, error) {
	for _, part := range []int{partVal, partTest} {
		if p.dirs[part] == "" {
			continue
		}
		l, err := s.inner(fsys, p.dirs[part])
		if err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", name, err)
		}
		sh, err := s.shape(fsys, p.dirs[part])
		if err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", name, err)
		}
		if sh == (shape{}) && part == partTest {
			continue
		}
		if sh != (shape{}) && !sh.nested || sh.nested && len(l.folders) == 0 || len(l.folders) == 1 && slices.Contains(plainFolders, strings.ToLower(l.folders[0])) {
			if part == partVal && sh.flat {
				s.note("%s has images without class folders and no list of their labels: it is left out", p.dirs[part])
			}
			continue
		}
		val, err := openPart(s, name, fsys, p.dirs[part])
		if err != nil {
			return nil, err
		}
		if err := val.takeClasses(classes); err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", name, err)
		}
		s.foundPart(part, p.dirs[part], true, val.Len())
		return val, nil
	}
	return nil, nil
}

// openBeside reads class folders to train on that lie beside a part to validate on.
func openBeside(s *search, name string, fsys fs.FS, root listing, p *parts) (train, val *Dataset, err error) {
	isPart := func(f string) bool { return slices.Contains(p.dirs[:], f) || slices.Contains(p.more, f) }
	root.folders = slices.DeleteFunc(slices.Clone(root.folders), isPart)
	if train, err = s.classes(name, fsys, ".", root); err != nil {
		return nil, nil, err
	}
	train.Name = name + " (train)"
	if val, err = openVal(s, name, fsys, p, train.Classes); err != nil {
		return nil, nil, err
	}
	setLayout(fsys, train, val)
	s.foundTrain(".", train.Len())
	p.other = nil
	return train, val, s.leaveOut(fsys, p)
}

// foundPart notes a part of the collection.
func (s *search) foundPart(part int, dir string, used bool, images int) {
	s.source.Parts = append(s.source.Parts, Part{Name: partNames[part], Folder: dir, Images: images, Used: used})
}

// foundTrain notes the training part, before the others.
func (s *search) foundTrain(dir string, images int) {
	s.source.Parts = append([]Part{{Name: partNames[partTrain], Folder: dir, Images: images, Used: true}}, s.source.Parts...)
}

// leaveOut counts the images of folders beside the parts that are used.
func (s *search) leaveOut(fsys fs.FS, p *parts) error {
	used := map[string]bool{}
	for _, part := range s.source.Parts {
		used[part.Folder] = true
	}
	count := func(dir string) (int, error) {
		aside := &search{ctx: s.ctx}
		files, err := aside.images(fsys, dir)
		return len(files), err
	}
	for part, dir := range p.dirs {
		if dir == "" || used[dir] {
			continue
		}
		n, err := count(dir)
		if err != nil {
			return err
		}
		s.foundPart(part, dir, false, n)
	}
	for _, dir := range slices.Concat(p.more, p.other) {
		n, err := count(dir)
		if err != nil {
			return err
		}
		if n > 0 {
			s.source.Parts = append(s.source.Parts, Part{Name: dir, Folder: dir, Images: n})
		}
	}
	return nil
}

// openWhole reads class folders that aren't in parts, or have the parts below them.
func openWhole(s *search, name string, fsys fs.FS, root listing) (train, val *Dataset, err error) {
	all, err := openClasses(s, name, fsys, ".")
	if err != nil {
		return nil, nil, err
	}
	if s.layout != LayoutFolders {
		if train, val, err = s.partsInClasses(all); err == nil && val == nil {
			err = all.checkLevels(name, ".")
		} else if err != nil {
			err = fmt.Errorf("dataset: %s: %w", name, err)
		}
		if err != nil {
			return nil, nil, err
		}
	} else {
		train = all
	}
	setLayout(fsys, train, val)
	return train, val, nil
}

// openPart reads the class folders of a part.
func openPart(s *search, name string, fsys fs.FS, dir string) (*Dataset, error) {
	inner, err := s.unwrap(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	return openClasses(s, name, fsys, inner)
}

// partsInClasses divides class folders that all have folders called train, and val or
// test, in them, and nothing else. Others are returned whole.
func (s *search) partsInClasses(d *Dataset) (train, val *Dataset, err error) {
	var found [partCount][]Sample
	for _, sample := range d.Samples {
		_, below, _ := strings.Cut(sample.Name, "/")
		folder, _, ok := strings.Cut(below, "/")
		part, _, rest := namedPart(folder)
		if !ok || part < 0 || rest != "" {
			return d, nil, nil
		}
		found[part] = append(found[part], sample)
	}
	if len(found[partTrain]) == 0 {
		return d, nil, nil
	}
	part := partVal
	if len(found[partVal]) == 0 {
		part = partTest
	}
	if len(found[part]) == 0 {
		return d, nil, nil
	}
	sub := func(part int) *Dataset {
		out := *d
		out.Name, out.Samples = d.Name+" ("+partNames[part]+")", found[part]
		return &out
	}
	train, val = sub(partTrain), sub(part)
	for p, samples := range found {
		if len(samples) > 0 {
			s.foundPart(p, "", p == partTrain || p == part, len(samples))
		}
	}
	for label, n := range train.Counts() {
		if n == 0 {
			return nil, nil, fmt.Errorf("class %s has no part train, want one as the others have", d.Classes[label])
		}
	}
	return train, val, nil
}

// openClasses reads the class folders of one part; "." is the only part.
func openClasses(s *search, name string, fsys fs.FS, part string) (*Dataset, error) {
	where := name
	if part != "." {
		where = strings.TrimRight(name, `/\`) + "/" + part
	}
	l, err := s.list(fsys, part)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", where, err)
	}
	return s.classes(where, fsys, part, l)
}

// classes reads the class folders of a listing of part.
func (s *search) classes(where string, fsys fs.FS, part string, l listing) (*Dataset, error) {
	if err := s.dropCopies(fsys, part, &l); err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", where, err)
	}
	if len(l.folders) == 0 {
		if len(l.images) > 0 {
			return nil, s.unlabelled(where, fsys, part, l.images)
		}
		if text := s.foreignFile(fsys, part); text != "" {
			return nil, fmt.Errorf("dataset: %s: no images; %s", where, text)
		}
		return nil, fmt.Errorf("dataset: %s: empty, want one folder of images for each class", where)
	}
	for _, e := range l.skipped {
		if e.folder && e.kind == kindName {
			return nil, fmt.Errorf("dataset: %s: class folder %q, want a name in UTF-8", where, e.name)
		}
		s.noteUnread(part, e)
		if !slices.Contains(l.files, e.name) {
			s.skipEntry(part, e)
		}
	}
	s.skip(kindOutside, len(l.images))
	d := &Dataset{Name: where, fsys: fsys}
	var barren []string
	for _, class := range l.folders {
		runs := s.source.Skipped[kindRun]
		files, err := s.images(fsys, path.Join(part, class))
		if err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", where, err)
		}
		if len(files) == 0 {
			if runs == s.source.Skipped[kindRun] {
				barren = append(barren, class)
			}
			continue
		}
		for _, f := range files {
			d.Samples = append(d.Samples, Sample{Name: f, Label: len(d.Classes)})
		}
		d.Classes = append(d.Classes, class)
	}
	if len(d.Classes) == 0 {
		if text := s.foreignFile(fsys, part); text != "" {
			return nil, fmt.Errorf("dataset: %s: no images; %s", where, text)
		}
		return nil, fmt.Errorf("dataset: %s: no images in class folder %s, want %s files%s", where, some(barren), imageKinds, s.afterError())
	}
	if only := d.Classes[0]; len(d.Classes) == 1 && slices.Contains(plainFolders, strings.ToLower(only)) && s.layout != LayoutFolders {
		var images []string
		for _, sample := range d.Samples {
			images = append(images, path.Base(sample.Name))
		}
		return nil, s.unlabelled(strings.TrimRight(where, `/\`)+"/"+only, fsys, path.Join(part, only), images)
	}
	if s.layout != LayoutFolders {
		if err := d.checkPatches(where); err != nil {
			return nil, err
		}
		if err := d.checkSingle(where); err != nil {
			return nil, err
		}
		s.dropLetters(d, part)
	}
	for _, class := range barren {
		s.source.Empty = append(s.source.Empty, path.Join(part, class))
	}
	return d, nil
}

// unlabelled is the error of images in a folder without class folders.
func (s *search) unlabelled(where string, fsys fs.FS, dir string, images []string) error {
	if note := s.foreignNote(fsys, dir); note != "" {
		s.unread = append(s.unread, note)
	}
	e := &UnlabelledError{Path: where, Images: len(images), Masks: s.masked, Tables: s.unread}
	if !s.masked {
		e.Patterns = suggestPatterns(images)
	}
	return e
}

// someClasses is "class a" or "classes a, b".
func someClasses(names []string) string {
	if len(names) == 1 {
		return "class " + names[0]
	}
	return "classes " + some(names)
}

// takeClasses gives d, the part to validate on, the classes of the training part. It may
// lack some of them; having others is an error.
func (d *Dataset) takeClasses(train []string) error {
	if only := without(d.Classes, train); len(only) > 0 {
		return fmt.Errorf("%s: %s, which train lacks, want only classes of train: %s", d.Name, someClasses(only), some(train))
	}
	labels := make([]int, len(d.Classes))
	for i, c := range d.Classes {
		labels[i] = slices.Index(train, c)
	}
	for i := range d.Samples {
		sample := &d.Samples[i]
		sample.Label = labels[sample.Label]
		for j, label := range sample.Labels {
			sample.Labels[j] = labels[label]
		}
	}
	d.Classes = train
	if d.MultiLabel {
		return d.setMultiLabel()
	}
	d.sortSamples()
	return nil
}

func without(a, b []string) []string {
	var out []string
	for _, s := range a {
		if !slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}

// some joins the first few names of a list.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
