package dataset

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// cocoID is an id of COCO's JSON: a number, or a text in the files of some programs.
type cocoID string

// UnmarshalJSON takes a number or a string.
func (id *cocoID) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		var text string
		err := json.Unmarshal(data, &text)
		*id = cocoID(text)
		return err
	}
	if len(data) > 0 && (data[0] == '{' || data[0] == '[') {
		return fmt.Errorf("id %.20s, want a number", data)
	}
	*id = cocoID(data)
	return nil
}

// number returns the id as a number, 0 if it is none.
func (id cocoID) number() int64 {
	n, err := json.Number(id).Int64()
	if err != nil {
		return 0
	}
	return n
}

type cocoImage struct {
	ID     cocoID `json:"id"`
	File   string `json:"file_name"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
}

type cocoCategory struct {
	ID   cocoID `json:"id"`
	Name string `json:"name"`
}

type cocoAnnotation struct {
	ID       cocoID    `json:"id"`
	Image    cocoID    `json:"image_id"`
	Category cocoID    `json:"category_id"`
	Box      []float64 `json:"bbox"` // x, y, width, height
	Crowd    any       `json:"iscrowd"`
}

// crowd reports whether the box is round several objects.
func (a *cocoAnnotation) crowd() bool {
	switch v := a.Crowd.(type) {
	case float64:
		return v != 0
	case bool:
		return v
	}
	return false
}

// cocoBox is an annotation before its image and category are known, which may come later in
// the file.
type cocoBox struct {
	image, category int // numbers of the ids
	object          object
}

// cocoReader reads one file, entry by entry, so that it holds boxes and names and never the
// text of the file or the outlines in it.
type cocoReader struct {
	name       string
	ids        map[cocoID]int // of images
	images     []cocoImage    // by the number of the id; File is "" for those that are only named
	listed     []int          // numbers of the images, in the file's order
	categories map[cocoID]int
	names      []string // of categories, by the number of the id
	order      []cocoCategory
	boxes      []cocoBox
	whole      []cocoLabel // annotations without a box
	faults     []annotation
}

// readCOCO reads COCO's JSON files. A box covers x ≤ column < x+width, y ≤ row < y+height,
// edges counted from 0.
func (s boxSource) readCOCO(search *search) (*noteSet, error) {
	set := &noteSet{}
	var categories []cocoCategory
	for _, file := range s.files {
		f, err := s.fsys.Open(file)
		if err != nil {
			return nil, err
		}
		r := &cocoReader{name: file, ids: map[cocoID]int{}, categories: map[cocoID]int{}}
		err = r.read(search, f)
		f.Close()
		if errors.Is(err, errNoBoxes) && len(s.files) > 1 {
			search.note("%s isn't used: %v", file, err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: COCO: %w", file, err)
		}
		whole, err := r.wholeImages()
		if err != nil {
			return nil, err
		}
		if whole != nil {
			set.whole = append(set.whole, whole)
		}
		set.notes = append(set.notes, r.notes()...)
		categories = append(categories, r.order...)
	}
	slices.SortStableFunc(categories, func(a, b cocoCategory) int { return cmp.Compare(a.ID.number(), b.ID.number()) })
	for _, c := range categories {
		if !slices.Contains(set.classes, c.Name) {
			set.classes = append(set.classes, c.Name)
		}
	}
	return set, nil
}

// read reads the three lists of a file, in whatever order they come.
func (r *cocoReader) read(search *search, from io.Reader) error {
	d := json.NewDecoder(from)
	if err := wantDelim(d, '{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		switch name {
		case "images":
			err = entries(search, d, name, r.image)
		case "categories":
			err = entries(search, d, name, r.category)
		case "annotations":
			err = entries(search, d, name, r.annotation)
		default:
			var skipped json.RawMessage
			err = d.Decode(&skipped)
		}
		if err != nil {
			return err
		}
		seen[name] = true
	}
	if _, err := d.Token(); err != nil {
		return unexpectedEnd(err)
	}
	for _, want := range []string{"images", "categories", "annotations"} {
		if !seen[want] {
			return fmt.Errorf("%w: no list %s, want images, categories and annotations", errNoBoxes, want)
		}
	}
	return nil
}

// errNoBoxes is the error of COCO's files of other tasks.
var errNoBoxes = errors.New("no boxes")

// entries gives take every entry of a list.
func entries[T any](search *search, d *json.Decoder, name string, take func(at int, entry *T, err error) error) error {
	if err := wantDelim(d, '['); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	at := 0
	for ; d.More(); at++ {
		if at%checkEvery == 0 && search.err() != nil {
			return search.err()
		}
		var entry T
		err := d.Decode(&entry)
		var kind *json.UnmarshalTypeError
		if err != nil && !errors.As(err, &kind) {
			return fmt.Errorf("%s: entry %d: %w", name, at+1, unexpectedEnd(err))
		}
		if err := take(at+1, &entry, err); err != nil {
			return fmt.Errorf("%s: entry %d: %w", name, at+1, err)
		}
	}
	_, err := d.Token()
	return unexpectedEnd(err)
}

func wantDelim(d *json.Decoder, want json.Delim) error {
	t, err := d.Token()
	if err != nil {
		return unexpectedEnd(err)
	}
	if t != want {
		return fmt.Errorf("%v, want %v", t, want)
	}
	return nil
}

func unexpectedEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *cocoReader) imageNumber(id cocoID) int {
	n, ok := r.ids[id]
	if !ok {
		n = len(r.images)
		r.ids[id] = n
		r.images = append(r.images, cocoImage{ID: id})
	}
	return n
}

func (r *cocoReader) image(_ int, im *cocoImage, err error) error {
	if err != nil {
		return err
	}
	if im.File == "" {
		return errors.New("no file_name")
	}
	n := r.imageNumber(im.ID)
	if r.images[n].File != "" {
		return fmt.Errorf("id %s is %s already", im.ID, r.images[n].File)
	}
	r.images[n] = *im
	r.listed = append(r.listed, n)
	return nil
}

func (r *cocoReader) categoryNumber(id cocoID) int {
	n, ok := r.categories[id]
	if !ok {
		n = len(r.names)
		r.categories[id] = n
		r.names = append(r.names, "")
	}
	return n
}

func (r *cocoReader) category(_ int, c *cocoCategory, err error) error {
	if err != nil {
		return err
	}
	if c.Name == "" {
		return fmt.Errorf("category %s: no name", c.ID)
	}
	n := r.categoryNumber(c.ID)
	if r.names[n] != "" {
		return fmt.Errorf("id %s is %s already", c.ID, r.names[n])
	}
	r.names[n] = c.Name
	r.order = append(r.order, *c)
	return nil
}

func (r *cocoReader) annotation(at int, a *cocoAnnotation, err error) error {
	if err == nil && len(a.Box) == 0 && a.Category != "" {
		r.whole = append(r.whole, cocoLabel{r.imageNumber(a.Image), r.categoryNumber(a.Category), at})
		return nil
	}
	if err == nil && len(a.Box) != 4 {
		err = errBoxOf(len(a.Box))
	}
	if err == nil {
		for _, v := range a.Box {
			if !(v > -1e9 && v < 1e9) {
				err = fmt.Errorf("bbox with %v, want pixels", v)
			}
		}
	}
	if err != nil {
		r.faults = append(r.faults, annotation{source: fmt.Sprintf("%s: annotation %d", r.name, at), faults: []error{err}, broken: true})
		return nil
	}
	number := a.ID.number()
	if number == 0 {
		number = int64(at)
	}
	r.boxes = append(r.boxes, cocoBox{r.imageNumber(a.Image), r.categoryNumber(a.Category), object{
		crowd: a.crowd(), number: number,
		corners: [4]float64{a.Box[0], a.Box[1], a.Box[0] + a.Box[2], a.Box[1] + a.Box[3]},
	}})
	return nil
}

func errBoxOf(n int) error {
	return fmt.Errorf("bbox of %d numbers, want x, y, width and height", n)
}

// notes returns an annotation for every image of the file.
func (r *cocoReader) notes() []annotation {
	out := make([]annotation, 0, len(r.listed)+len(r.faults))
	at := make([]int, len(r.images))
	for i := range at {
		at[i] = -1
	}
	part := path.Base(r.name)
	if folderPart(part) < 0 {
		part = path.Base(path.Dir(r.name))
	}
	if folderPart(part) < 0 {
		part = ""
	}
	for _, n := range r.listed {
		im := r.images[n]
		at[n] = len(out)
		name := strings.ReplaceAll(im.File, `\`, "/")
		note := annotation{image: join(path.Dir(r.name), name), alias: name, source: r.name, part: part}
		if im.Width > 0 && im.Height > 0 {
			note.w, note.h = im.Width, im.Height
		}
		out = append(out, note)
	}
	out = append(out, r.faults...)
	for _, l := range r.whole {
		out = append(out, annotation{source: fmt.Sprintf("%s: annotation %d", r.name, l.at), faults: []error{errBoxOf(0)}, broken: true})
	}
	for _, b := range r.boxes {
		o := b.object
		source := fmt.Sprintf("%s: annotation %d", r.name, o.number)
		switch {
		case at[b.image] < 0:
			out = append(out, annotation{source: source, broken: true, faults: []error{fmt.Errorf("%w: id %s", errNoImage, r.images[b.image].ID)}})
			continue
		case r.names[b.category] == "":
			out = append(out, annotation{source: source, broken: true, faults: []error{fmt.Errorf("%w: its category_id is not among the categories", errUnknownClass)}})
			continue
		}
		o.class = r.names[b.category]
		note := &out[at[b.image]]
		note.objects = append(note.objects, o)
	}
	return out
}

// isCOCO reports whether a JSON file is like COCO's, by its first entry.
func isCOCO(fsys fs.FS, file string) bool {
	f, err := fsys.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	d := json.NewDecoder(io.LimitReader(f, 1<<20))
	if wantDelim(d, '{') != nil {
		return false
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return false
		}
		if key != "images" && key != "annotations" {
			var skipped json.RawMessage
			if d.Decode(&skipped) != nil {
				return false
			}
			continue
		}
		if wantDelim(d, '[') != nil {
			return false
		}
		if !d.More() {
			if _, err := d.Token(); err != nil {
				return false
			}
			continue
		}
		var first map[string]json.RawMessage
		if d.Decode(&first) != nil {
			return false
		}
		return first["file_name"] != nil || first["image_id"] != nil && (first["bbox"] != nil || first["category_id"] != nil)
	}
	return false
}

// otherCOCO begins the names of files of other tasks that lie beside those of boxes.
var otherCOCO = []string{"captions_", "person_keypoints_", "stuff_", "panoptic_", "image_info_", "lvis_"}

// chooseCOCO returns the files with boxes among COCO's files: instances_*.json where there are
// some.
func chooseCOCO(files []string) ([]string, error) {
	instances := slices.DeleteFunc(slices.Clone(files), func(f string) bool { return !strings.HasPrefix(path.Base(f), "instances_") })
	if len(instances) > 0 {
		return instances, nil
	}
	rest := slices.DeleteFunc(slices.Clone(files), func(f string) bool {
		return slices.ContainsFunc(otherCOCO, func(p string) bool { return strings.HasPrefix(path.Base(f), p) })
	})
	if len(rest) == 0 {
		rest = files
	}
	parts := map[string]string{}
	for _, f := range rest {
		key := fmt.Sprint(path.Dir(f), folderPart(path.Base(f)))
		if other := parts[key]; other != "" {
			return nil, fmt.Errorf("%s and %s both list images and boxes, want one of them named with --annotations", other, f)
		}
		parts[key] = f
	}
	return rest, nil
}
