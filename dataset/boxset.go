package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg/internal/wholefile"
)

// boxSet is the annotations that a collection was opened by.
type boxSet struct {
	kind    boxKind
	from    string          // where they were said to be; "" if they lie beside the images
	notes   []annotation    // of images of the collection
	bad     []BadBox        // those of images that are not there, or without a usable box
	classes []string        // in the order of their numbers, with the others
	others  map[string]bool // those that are no image's label
	without int             // images that are left out since no usable box is theirs
}

// openBoxed reads images whose classes are the names of their boxes: in XML as in PASCAL VOC,
// COCO's JSON or YOLO's text files, wherever they lie. An annotation is of the image with its
// file's name; of several, of the one that lies nearest.
//
// An image's label is the class of its largest box, of those that aren't marked difficult or
// crowds if there are any. Images without a usable box are left out. The classes are in the
// order of COCO's ids or YOLO's numbers, else sorted; one that is no image's label is left
// out. The parts are those that the annotations or ImageSets/Main list, or that folders are
// called.
//
// ok is false if the layout is another one, such as class folders with boxes.
func openBoxed(s *search, name string, fsys fs.FS, root listing, source *boxSource, beside bool) (train, val *Dataset, ok bool, err error) {
	fail := func(err error) (*Dataset, *Dataset, bool, error) {
		return nil, nil, false, fmt.Errorf("dataset: %s: %w", name, err)
	}
	b := &boxer{search: s, fsys: fsys, from: s.annotations, beside: beside}
	looked := source == nil
	if source == nil {
		if source, err = s.lookForBoxes(fsys, root); err != nil {
			return fail(err)
		}
		if source == nil || source.kind == xmlBoxes && listsVal(root) {
			return nil, nil, false, nil
		}
	}
	aside := &search{ctx: s.ctx, copies: s.copies} // what it skips counts if the layout is this one
	if b.images, err = aside.images(fsys, "."); err != nil {
		return fail(err)
	}
	if b.set, err = source.read(s); err != nil {
		if looked && errors.Is(err, errNoBoxes) {
			s.note("%v", err)
			return nil, nil, false, nil
		}
		return fail(err)
	}
	if b.set.whole != nil && !slices.ContainsFunc(b.set.notes, func(n annotation) bool { return len(n.objects) > 0 }) {
		train, val, err = s.openCOCOClasses(name, fsys, b.set.whole)
		return train, val, err == nil, err
	}
	b.kind = source.kind
	if err := b.match(); err != nil {
		return fail(err)
	}
	b.label()
	if b.beside && s.layout != LayoutBoxes {
		if classes, err := b.classFolders(name); err != nil || classes {
			return nil, nil, false, err
		}
	}
	if len(b.labels) == 0 {
		return fail(b.noneUsable(source.name))
	}
	if err := b.findParts(root); err != nil {
		return fail(err)
	}
	s.add(len(b.images))
	b.tell(aside.source.Skipped)
	train, val = b.datasets(name)
	return train, val, true, nil
}

// boxer makes datasets of images and annotations.
type boxer struct {
	*search
	fsys   fs.FS
	from   string // where the annotations were said to be
	beside bool   // they were found beside the images
	kind   boxKind
	images []string
	set    *noteSet
	known  []int // index of the image of each note, -1 if there is none
	lost   []BadBox
	labels map[int]string // by image
	parts  []int          // of the images, -1 for none
}

// boxLabel is the box that gives an image its label.
type boxLabel struct {
	class   string
	area    float64
	ignored bool
}

// match finds the image of every note.
func (b *boxer) match() error {
	m := newMatcher(b.images)
	taken := map[int]string{} // sources, by image
	b.known = make([]int, len(b.set.notes))
	for i := range b.set.notes {
		n := &b.set.notes[i]
		b.known[i] = -1
		if n.broken {
			for _, fault := range n.faults {
				b.lost = append(b.lost, BadBox{n.source, fault})
			}
			continue
		}
		at, err := m.find(n.image, n.alias, n.part)
		if err != nil {
			b.lost = append(b.lost, BadBox{n.source, err})
			continue
		}
		if by, ok := taken[at]; ok {
			b.lost = append(b.lost, BadBox{n.source, fmt.Errorf("%s is annotated by %s already", b.images[at], by)})
			continue
		}
		taken[at], b.known[i] = n.source, at
		n.image, n.found = b.images[at], true
	}
	return b.err()
}

// visible returns the part of an object that lies in the image, in the unit of its corners, and
// whether there is any.
func (n annotation) visible(o object) ([4]float64, bool) {
	if emptyBox(o) != nil {
		return o.corners, false
	}
	w, h := n.w, n.h
	if n.rule == shares {
		w, h = 1, 1
	}
	return cutTo(n.rule.edges(o.corners, 1, 1), w, h)
}

// label finds the label of every image.
func (b *boxer) label() {
	best := map[int]boxLabel{}
	for i, n := range b.set.notes {
		at := b.known[i]
		if at < 0 {
			continue
		}
		for _, o := range n.objects {
			c, ok := n.visible(o)
			if !ok {
				continue
			}
			now := boxLabel{o.class, (c[2] - c[0]) * (c[3] - c[1]), o.difficult || o.crowd}
			old, ok := best[at]
			if !ok || old.ignored && !now.ignored || old.ignored == now.ignored && now.area > old.area {
				best[at] = now
			}
		}
	}
	b.labels = make(map[int]string, len(best))
	for at, l := range best {
		b.labels[at] = l.class
	}
	for i, n := range b.set.notes {
		at := b.known[i]
		if at < 0 || b.labels[at] != "" {
			continue
		}
		for _, fault := range n.faults {
			b.lost = append(b.lost, BadBox{n.source, fault})
		}
		for _, o := range n.objects {
			err := emptyBox(o)
			if err == nil {
				err = fmt.Errorf("%w: %s", errOutside, frame{rule: n.rule, w: n.w, h: n.h}.describe(o))
			}
			b.lost = append(b.lost, BadBox{n.at(o), err})
		}
	}
}

// noneUsable is the error of annotations that give no image a label.
func (b *boxer) noneUsable(source string) error {
	if len(b.lost) > 0 {
		return fmt.Errorf("%s: no annotation with a box of one of the %d images; the first bad one: %s: %w", source, len(b.images), b.lost[0].Source, b.lost[0].Err)
	}
	return fmt.Errorf("%s: no annotation with a box of one of the %d images", source, len(b.images))
}

// classFolders reports whether the images lie in class folders beside which there are boxes.
// It is an error if folders and boxes give different classes.
func (b *boxer) classFolders(name string) (bool, error) {
	byFolder := map[string]map[string]bool{} // classes of the boxes
	for at, class := range b.labels {
		f := ownFolder(b.images[at])
		if byFolder[f] == nil {
			byFolder[f] = map[string]bool{}
		}
		byFolder[f][class] = true
	}
	if len(byFolder) < 2 {
		return b.bareFolders(byFolder), nil
	}
	same, single := true, true
	seen := map[string]bool{}
	for f, classes := range byFolder {
		for c := range classes {
			same = same && c == path.Base(f)
			single = single && !seen[c]
			seen[c] = true
		}
		single = single && len(classes) == 1
	}
	switch {
	case same:
		return true, nil
	case single:
		return false, nil
	}
	return false, &AmbiguousError{Path: name, Readings: []Reading{
		{Layout: LayoutFolders, Means: "the classes are " + some(slices.Sorted(maps.Keys(byFolder)))},
		{Layout: LayoutBoxes, Means: "the classes are the names of the boxes: " + some(slices.Sorted(maps.Keys(seen)))},
	}}
}

// bareFolders reports whether most images lie in several folders without annotations: classes
// beside a few images with boxes, as ILSVRC's val.
func (b *boxer) bareFolders(annotated map[string]map[string]bool) bool {
	stems := map[string]bool{}
	for at := range b.labels {
		stems[stem(b.images[at])] = true
	}
	bare := map[string]bool{}
	images := 0
	for _, f := range b.images {
		own := ownFolder(f)
		if annotated[own] == nil && !stems[stem(f)] { // or a mask of an annotated image
			bare[own] = true
			images++
		}
	}
	return len(bare) >= 2 && images > len(b.labels)
}

// plainFolders say nothing about the images in them.
var plainFolders = []string{"", ".", "images", "image", "imgs", "img", "jpegimages", "jpegs", "jpg", "png", "photos", "pictures", "data", "dataset", "obj_train_data", "labels"}

// ownFolder returns the folder of a file without the names of parts and those that say
// nothing.
func ownFolder(file string) string {
	var own []string
	for f := range strings.SplitSeq(path.Dir(file), "/") {
		if !slices.Contains(plainFolders, strings.ToLower(f)) && folderPart(f) < 0 {
			own = append(own, f)
		}
	}
	return strings.Join(own, "/")
}

// folderPart returns the part that the name of a folder or file says, -1 if it says none.
func folderPart(name string) int {
	part, _, _ := namedPart(name)
	return part
}

// pathPart returns the part that the folders round a file say, -1 if they say none.
func pathPart(file string) int {
	for f := range strings.SplitSeq(path.Dir(file), "/") {
		if part := folderPart(f); part >= 0 {
			return part
		}
	}
	return -1
}

// findParts finds the part of every image.
func (b *boxer) findParts(root listing) error {
	b.parts = make([]int, len(b.images))
	members, err := vocParts(b.ctx, b.fsys, root)
	if err != nil {
		return err
	}
	var listed map[string]int
	if b.beside {
		listed = b.set.parts
	}
	for i, f := range b.images {
		switch {
		case members[0] != nil && members[1] != nil:
			b.parts[i] = -1
			for part := range members {
				if members[part][stem(f)] && b.parts[i] < 0 {
					b.parts[i] = part
				}
			}
		case listed != nil:
			part, ok := listed[f]
			if !ok {
				part = -1
			}
			b.parts[i] = part
		default:
			b.parts[i] = pathPart(f)
		}
	}
	for i, n := range b.set.notes { // COCO's files are of a part
		if at := b.known[i]; at >= 0 && n.part != "" {
			b.parts[at] = folderPart(n.part)
		}
	}
	return nil
}

// tell says what was understood, and counts what is left out: the files that were skipped,
// without those of the annotations, and the images without a box.
func (b *boxer) tell(skipped map[string]int) {
	b.source.Layout = "boxes in " + b.kind.String()
	seen := map[string]bool{}
	for _, n := range b.set.notes {
		file, _, _ := strings.Cut(n.source, ": ")
		if ext := strings.ToLower(path.Ext(file)); !seen[file] && path.Dir(file) != "." && skipped[ext] > 0 {
			skipped[ext]--
		}
		seen[file] = true
	}
	for kind, n := range skipped {
		b.skip(kind, n)
	}
	b.skip("image without a box", len(b.images)-len(b.labels))
	if len(b.labels) < len(b.images) {
		var names []string
		for _, f := range b.images {
			names = append(names, path.Base(f))
		}
		for _, r := range suggestPatterns(names) {
			b.note("by the names of all %d images, %s (%s)", len(b.images), r.Flag(), r.Means)
		}
	}
	if n := b.mixed(); n > 0 {
		b.note("an image's class is that of its largest box: %d of %d have boxes of other classes, too (vgg train --multi-label takes all of them as labels)", n, len(b.labels))
	}
	if len(b.lost) > 0 {
		b.note("%d annotations can't be used; the first: %s: %v", len(b.lost), b.lost[0].Source, b.lost[0].Err)
	}
}

// mixed counts the images with boxes of another class than their label.
func (b *boxer) mixed() int {
	n := 0
	for i, note := range b.set.notes {
		class, ok := b.labels[b.known[i]]
		if ok && slices.ContainsFunc(note.objects, func(o object) bool { return o.class != class && !o.difficult }) {
			n++
		}
	}
	return n
}

// boxSet returns the annotations of the images, and says which classes are left out.
func (b *boxer) boxSet(used map[string]bool) *boxSet {
	set := &boxSet{kind: b.kind, from: b.from, bad: b.lost, classes: b.set.classes, others: map[string]bool{}, without: len(b.images) - len(b.labels)}
	for i, n := range b.set.notes {
		if b.known[i] < 0 {
			continue
		}
		set.notes = append(set.notes, n)
		for _, o := range n.objects {
			if !used[o.class] {
				set.others[o.class] = true
			}
		}
	}
	if set.classes == nil {
		set.classes = slices.Concat(slices.Collect(maps.Keys(used)), slices.Collect(maps.Keys(set.others)))
		slices.Sort(set.classes)
	}
	if len(set.others) > 0 {
		b.note("classes that are never an image's largest box are left out: %s", some(slices.Sorted(maps.Keys(set.others))))
	}
	return set
}

// datasets makes the datasets.
func (b *boxer) datasets(name string) (train, val *Dataset) {
	used := map[string]bool{}
	for _, c := range b.labels {
		used[c] = true
	}
	all := &Dataset{Name: name, fsys: b.fsys, root: b.fsys, boxes: b.boxSet(used)}
	all.Classes = slices.DeleteFunc(slices.Clone(all.boxes.classes), func(c string) bool { return !used[c] })
	number := make(map[string]int, len(all.Classes))
	for i, c := range all.Classes {
		number[c] = i
	}
	var parts [partCount][]Sample
	var none []Sample
	for i, f := range b.images {
		class, ok := b.labels[i]
		if !ok {
			continue
		}
		sample := Sample{Name: f, Label: number[class]}
		if p := b.parts[i]; p >= 0 {
			parts[p] = append(parts[p], sample)
		} else {
			none = append(none, sample)
		}
	}
	valPart := partVal
	if parts[partVal] == nil {
		valPart = partTest
	}
	if parts[partTrain] == nil || parts[valPart] == nil {
		all.Samples = slices.Concat(parts[partTrain], parts[partVal], parts[partTest], none)
		all.sortSamples()
		return all, nil
	}
	where := strings.TrimRight(name, `/\`)
	train = all.subset(where+" (train)", parts[partTrain])
	val = all.subset(where+" ("+partNames[valPart]+")", parts[valPart])
	for i, d := range []*Dataset{train, val} {
		d.part, d.partial = partWords[i][0], true
		d.sortSamples()
	}
	b.source.Parts = []Part{
		{Name: partNames[partTrain], Folder: partNames[partTrain], Images: train.Len(), Used: true},
		{Name: partNames[valPart], Folder: partNames[valPart], Images: val.Len(), Used: true},
	}
	if n := len(parts[partTest]); n > 0 && valPart != partTest {
		b.source.Parts = append(b.source.Parts, Part{Name: partNames[partTest], Folder: partNames[partTest], Images: n})
	}
	b.skip("image of no part", len(none))
	return train, val
}

// openBoxes is [openBoxed] with the annotations that were named, or those in the folder.
func (o opener) openBoxes(name string, fsys fs.FS, root listing) (train, val *Dataset, ok bool, err error) {
	if o.layout == LayoutFolders || o.layout == LayoutParts {
		return nil, nil, false, nil
	}
	if o.annotations == "" {
		if listsLabels(root) {
			return nil, nil, false, nil
		}
		return openBoxed(o.search, name, fsys, root, nil, true)
	}
	sources, err := namedBoxes(o.ctx, o.annotations)
	if err != nil {
		return nil, nil, false, fmt.Errorf("dataset: %s: annotations: %w", name, err)
	}
	if sources[0].kind == tableBoxes { // of images in another layout
		return nil, nil, false, nil
	}
	return openBoxed(o.search, name, fsys, root, &sources[0], false)
}

// listsLabels reports whether a folder has a list of the labels of its images, which tells
// more than the names of boxes.
func listsLabels(root listing) bool {
	return slices.ContainsFunc(root.files, func(f string) bool { return f == labelsFile || strings.HasPrefix(f, "LOC_") })
}

// listsVal reports whether a folder has ILSVRC's list of the labels of its validation images.
func listsVal(root listing) bool {
	return slices.ContainsFunc(root.files, func(f string) bool {
		base := strings.TrimSuffix(strings.ToLower(f), ".gz")
		return path.Ext(base) == ".txt" && folderPart(f) == partVal
	})
}

// openBoxFile reads the images of a COCO file or of YOLO's data.yaml, which lie below its
// folder. A data.yaml may name another folder of the disk.
func (o opener) openBoxFile(name string, fsys fs.FS, file string) (train, val *Dataset, err error) {
	var source *boxSource
	if path.Ext(file) == ".json" {
		source = &boxSource{fsys: fsys, name: file, kind: cocoBoxes, files: []string{file}}
	} else {
		names, err := readYOLONames(fsys, []string{file}, nil)
		if err != nil {
			return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
		}
		if dir := filepath.Join(filepath.Dir(name), filepath.FromSlash(names.lists.Path)); o.onDisk && names.lists.Path != "" {
			if filepath.IsAbs(names.lists.Path) {
				dir = names.lists.Path
			}
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				fsys, names.lists.Path = wholefile.Dir(dir), ""
			}
		}
		source = &boxSource{fsys: fsys, name: ".", kind: yoloBoxes, names: names}
	}
	root, err := o.list(fsys, ".")
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: %s: %w", name, err)
	}
	train, val, ok, err := openBoxed(o.search, name, fsys, root, source, true)
	if err == nil && !ok {
		err = fmt.Errorf("dataset: %s: the images lie in class folders, want their folder: the boxes beside them are found", name)
	}
	return train, val, err
}

// labelsOfBoxes returns d with the classes of all boxes of an image, also those that are never
// an image's largest.
func (d *Dataset) labelsOfBoxes() *Dataset {
	shown := map[string]map[string]bool{} // by image
	seen := map[string]bool{}
	for _, n := range d.boxes.notes {
		for _, o := range n.objects {
			if _, ok := n.visible(o); !ok || o.difficult {
				continue
			}
			if shown[n.image] == nil {
				shown[n.image] = map[string]bool{}
			}
			shown[n.image][o.class], seen[o.class] = true, true
		}
	}
	out := *d
	out.MultiLabel = true
	out.Titles = nil
	out.Classes = slices.DeleteFunc(slices.Clone(d.boxes.classes), func(c string) bool { return !seen[c] && !slices.Contains(d.Classes, c) })
	set := *d.boxes
	set.others = nil
	out.boxes = &set
	out.Samples = slices.Clone(d.Samples)
	for i := range out.Samples {
		s := &out.Samples[i]
		s.Labels = []int{}
		for number, c := range out.Classes {
			if shown[s.Name][c] {
				s.Labels = append(s.Labels, number)
			}
		}
		if s.Label = 0; len(s.Labels) > 0 {
			s.Label = s.Labels[0]
		}
	}
	out.sortSamples()
	return &out
}
