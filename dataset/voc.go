package dataset

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

var (
	vocImages      = []string{"JPEGImages", "images", "Images"}
	vocAnnotations = []string{"Annotations", "annotations"}
)

// openVOC reads a folder of images beside one of XML annotations, as in PASCAL
// VOC. An image's label is the class of its largest box, of those that aren't
// marked difficult if there are any. Images without a usable box are left out. The
// parts are those of ImageSets/Main, or of tables train_labels.csv and
// val_labels.csv or test_labels.csv. ok is false if the layout is another one.
func openVOC(s *search, name string, fsys fs.FS, root listing) (train, val *Dataset, ok bool, err error) {
	first := func(names []string) string {
		for _, n := range names {
			if slices.Contains(root.folders, n) {
				return n
			}
		}
		return ""
	}
	imageFolder, noteFolder := first(vocImages), first(vocAnnotations)
	if imageFolder == "" || noteFolder == "" || slices.Contains(root.folders, "train") {
		return nil, nil, false, nil
	}
	notes, err := s.list(fsys, noteFolder)
	if err != nil || !slices.ContainsFunc(notes.files, func(f string) bool { return strings.EqualFold(path.Ext(f), ".xml") }) {
		return nil, nil, false, err
	}
	fail := func(err error) (*Dataset, *Dataset, bool, error) {
		return nil, nil, false, fmt.Errorf("dataset: %s: %w", name, err)
	}
	files, err := s.images(fsys, imageFolder)
	if err != nil {
		return fail(err)
	}
	d, err := largestBoxes(s, name, fsys, boxSource{fsys: fsys, name: noteFolder, kind: xmlBoxes}, files)
	if err != nil {
		return fail(err)
	}
	members, err := vocParts(fsys, root)
	if err != nil {
		return fail(err)
	}
	setLayout(fsys, d, nil)
	if members[0] == nil || members[1] == nil {
		return d, nil, true, nil
	}
	train, val = d.subset(d.Name+" (train)", nil), d.subset(d.Name+" (val)", nil)
	for _, sample := range d.Samples {
		if members[0][stem(sample.Name)] {
			train.Samples = append(train.Samples, sample)
		} else if members[1][stem(sample.Name)] {
			val.Samples = append(val.Samples, sample)
		}
	}
	for i, part := range []*Dataset{train, val} {
		if part.Len() == 0 {
			return fail(fmt.Errorf("part %s: none of its %d images is there", partWords[i][0], len(members[i])))
		}
		part.partial = true
	}
	return train, val, true, nil
}

// largestBoxes makes samples of the images that have annotations, labelled by their
// largest boxes.
func largestBoxes(s *search, name string, fsys fs.FS, source boxSource, files []string) (*Dataset, error) {
	type labelled struct {
		class     string
		area      float64
		difficult bool
	}
	find := newFinder(files)
	of := map[string]labelled{}
	seen := map[string]bool{}
	var firstBad error
	for note, err := range source.annotations(s.ctx) {
		if s.err() != nil {
			return nil, s.err()
		}
		if err != nil {
			if firstBad == nil {
				firstBad = fmt.Errorf("%s: %w", note.source, err)
			}
			continue
		}
		i := find.find(path.Base(note.image))
		if i < 0 {
			i = find.find(note.alias)
		}
		if i < 0 {
			continue
		}
		for _, o := range note.objects {
			best, ok := of[files[i]]
			area := (o.x1 - o.x0) * (o.y1 - o.y0)
			better := !ok || best.difficult && !o.difficult || best.difficult == o.difficult && area > best.area
			if o.x0 < o.x1 && o.y0 < o.y1 && better {
				of[files[i]] = labelled{o.class, area, o.difficult}
			}
		}
		if l, ok := of[files[i]]; ok {
			seen[l.class] = true
		}
	}
	if len(of) == 0 {
		if firstBad != nil {
			return nil, fmt.Errorf("%s: no annotation with a box of one of the %d images; the first bad one: %w", source.name, len(files), firstBad)
		}
		return nil, fmt.Errorf("%s: no annotation with a box of one of the %d images", source.name, len(files))
	}
	d := &Dataset{Name: name, fsys: fsys}
	for c := range seen {
		d.Classes = append(d.Classes, c)
	}
	slices.Sort(d.Classes)
	for file, l := range of {
		label, _ := slices.BinarySearch(d.Classes, l.class)
		d.Samples = append(d.Samples, Sample{Name: file, Label: label})
	}
	d.sortSamples()
	return d, nil
}

// vocParts returns the base names, without extension, of each part's images, nil
// for a part without a list.
func vocParts(fsys fs.FS, root listing) (members [2]map[string]bool, err error) {
	for part := range members {
		for _, word := range partWords[part] {
			name := "ImageSets/Main/" + word + ".txt"
			if table := word + "_labels.csv"; slices.Contains(root.files, table) {
				name = table
			}
			t, err := readTable(fsys, name)
			if err != nil {
				if _, statErr := fs.Stat(fsys, name); statErr == nil {
					return members, err
				}
				continue
			}
			members[part] = map[string]bool{}
			for row := range t.rows {
				members[part][stem(t.cell(row, t.fileColumn()))] = true
			}
			break
		}
	}
	return members, nil
}
