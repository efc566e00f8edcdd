package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/verydeep/vgg/internal/wholefile"
)

// yoloNames are the classes of YOLO's text files, and the lists of images.
type yoloNames struct {
	file   string // that has them
	names  []string
	lists  *yoloYAML // nil without a data.yaml
	points bool      // lines have key points behind the box
}

// yoloYAML is a data.yaml, which describes a dataset.
type yoloYAML struct {
	Path  string    `yaml:"path"`
	Train yaml.Node `yaml:"train"`
	Val   yaml.Node `yaml:"val"`
	Test  yaml.Node `yaml:"test"`
	Names yaml.Node `yaml:"names"`
	NC    *int      `yaml:"nc"`
	Shape yaml.Node `yaml:"kpt_shape"`
}

// maxYAML is more than any data.yaml has.
const maxYAML = 1 << 20

// isYOLO reports whether a YAML file describes a dataset of YOLO.
func isYOLO(fsys fs.FS, file string) bool {
	y, err := readYAML(fsys, file)
	return (err == nil || errors.Is(err, errDocuments)) && !y.Names.IsZero() && !(y.Train.IsZero() && y.Val.IsZero() && y.Test.IsZero())
}

func readYAML(fsys fs.FS, file string) (*yoloYAML, error) {
	data, err := wholefile.ReadFS(context.Background(), fsys, file, maxYAML)
	if err != nil {
		return nil, err
	}
	return parseYAML(data)
}

// errDocuments is returned with the first of several documents.
var errDocuments = errors.New("more than one YAML document, want one: remove what follows the second ---")

func parseYAML(data []byte) (*yoloYAML, error) {
	var y yoloYAML
	d := yaml.NewDecoder(bytes.NewReader(data))
	err := d.Decode(&y)
	if err == nil && !errors.Is(d.Decode(new(any)), io.EOF) {
		return &y, errDocuments
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return &y, nil
}

// readYOLONames reads the classes from the data.yaml, or else from a list with a class a line,
// such as classes.txt.
func readYOLONames(fsys fs.FS, yamls, lists []string) (*yoloNames, error) {
	if len(yamls) > 1 {
		return nil, fmt.Errorf("%s both describe a dataset of YOLO, want one of them named with --annotations", strings.Join(yamls, " and "))
	}
	if len(yamls) == 1 {
		y, err := readYAML(fsys, yamls[0])
		var names []string
		if err == nil {
			names, err = y.classes()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", yamls[0], err)
		}
		return &yoloNames{file: yamls[0], names: names, lists: y, points: !y.Shape.IsZero()}, nil
	}
	var found *yoloNames
	for _, file := range lists {
		data, err := wholefile.ReadFS(context.Background(), fsys, file, wholefile.MaxText)
		if err != nil {
			return nil, err
		}
		var names []string
		for line := range strings.Lines(strings.TrimPrefix(string(data), "\ufeff")) {
			names = append(names, strings.TrimSpace(line))
		}
		for len(names) > 0 && names[len(names)-1] == "" {
			names = names[:len(names)-1]
		}
		if found != nil && !slices.Equal(found.names, names) {
			return nil, fmt.Errorf("%s and %s list different classes, want one list", found.file, file)
		}
		found = &yoloNames{file: file, names: names}
	}
	if found == nil || len(found.names) == 0 {
		return nil, errors.New("YOLO's text files give classes by number, want a data.yaml or a classes.txt with their names")
	}
	return found, nil
}

// maxYOLOClasses bounds the numbers of classes.
const maxYOLOClasses = 1 << 20

// classes returns the names by number, which a data.yaml has as a list or as a map.
func (y *yoloYAML) classes() ([]string, error) {
	var names []string
	switch y.Names.Kind {
	case yaml.SequenceNode:
		if err := y.Names.Decode(&names); err != nil {
			return nil, fmt.Errorf("names: %w", err)
		}
	case yaml.MappingNode:
		byNumber := map[int]string{}
		if err := y.Names.Decode(&byNumber); err != nil {
			return nil, fmt.Errorf("names: %w", err)
		}
		for n, name := range byNumber {
			if n < 0 || n >= maxYOLOClasses {
				return nil, fmt.Errorf("names: class %d, want 0 to %d", n, maxYOLOClasses-1)
			}
			for len(names) <= n {
				names = append(names, "")
			}
			names[n] = name
		}
	default:
		return nil, errors.New("names: want a list of class names, or a map from their numbers")
	}
	if len(names) == 0 {
		return nil, errors.New("names: none, want the names of the classes")
	}
	if y.NC != nil && *y.NC != len(names) {
		return nil, fmt.Errorf("nc: %d, and names has %d", *y.NC, len(names))
	}
	return names, nil
}

// looksYOLO reports whether a text begins like one of YOLO's.
func looksYOLO(text []byte) bool {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	words := strings.Fields(string(line))
	if len(words) < 5 {
		return false
	}
	if n, err := strconv.ParseFloat(words[0], 64); err != nil || n < 0 || n != math.Trunc(n) {
		return false
	}
	for _, w := range words[1:5] {
		if v, err := strconv.ParseFloat(w, 64); err != nil || v < -1 || v > 2 {
			return false
		}
	}
	return true
}

// parseYOLO reads a text file: a line for each object with the number of its class and centre
// x, centre y, width and height, as shares of the image's sides; or, of segments and of turned
// boxes, the points of an outline, whose bounding box is taken. It returns an error for each
// unusable line.
func parseYOLO(source string, data []byte, n *yoloNames) annotation {
	note := annotation{source: source, rule: shares}
	number := int64(0)
	for line := range strings.Lines(string(data)) {
		number++
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		o, err := n.object(words)
		if err != nil {
			note.faults = append(note.faults, fmt.Errorf("line %d: %w", number, err))
			continue
		}
		o.number = number
		note.objects = append(note.objects, o)
	}
	return note
}

// object reads the words of a line.
func (n *yoloNames) object(words []string) (object, error) {
	var o object
	class, err := strconv.ParseFloat(words[0], 64) // some programs write 0.0
	if err != nil || class < 0 || class != math.Trunc(class) || class >= maxYOLOClasses {
		return o, fmt.Errorf("class %.40q, want its number", words[0])
	}
	if int(class) >= len(n.names) || n.names[int(class)] == "" {
		return o, fmt.Errorf("class %g, of which %s has no name among its %d", class, n.file, len(n.names))
	}
	o.class = n.names[int(class)]
	if n.points && len(words) > 5 {
		words = words[:5]
	}
	v := make([]float64, len(words)-1)
	for i, w := range words[1:] {
		v[i], err = strconv.ParseFloat(w, 64)
		if err != nil || !(v[i] >= 0 && v[i] <= maxShare) {
			return o, fmt.Errorf("%.40q, want a share of the image's side, 0 to 1", w)
		}
	}
	switch {
	case len(v) == 4:
		o.corners = [4]float64{v[0] - v[2]/2, v[1] - v[3]/2, v[0] + v[2]/2, v[1] + v[3]/2}
	case len(v) >= 6 && len(v)%2 == 0:
		o.corners = [4]float64{v[0], v[1], v[0], v[1]}
		for i := 2; i < len(v); i += 2 {
			o.corners[0], o.corners[1] = min(o.corners[0], v[i]), min(o.corners[1], v[i+1])
			o.corners[2], o.corners[3] = max(o.corners[2], v[i]), max(o.corners[3], v[i+1])
		}
	default:
		return o, fmt.Errorf("%d columns, want class, centre x, centre y, width and height, or class and the points of an outline", len(words))
	}
	return o, nil
}

// maxShare is 1 with the rounding that Ultralytics lets pass.
const maxShare = 1.01

// readYOLO reads the text files below the source's folder: those in a folder labels, those
// beside an image of their name, and all where there are no images.
func (s boxSource) readYOLO(search *search) (*noteSet, error) {
	t, err := search.tree(s.fsys, s.name)
	if err != nil {
		return nil, err
	}
	beside := map[string]bool{}
	for _, f := range t.images {
		beside[strings.TrimSuffix(f, path.Ext(f))] = true
	}
	set := &noteSet{}
	for _, name := range s.names.names {
		if name != "" && !slices.Contains(set.classes, name) {
			set.classes = append(set.classes, name)
		}
	}
	for i, f := range t.files {
		if i%checkEvery == 0 && search.err() != nil {
			return nil, search.err()
		}
		if !strings.EqualFold(path.Ext(f), ".txt") || f == s.names.file || path.Base(f) == "classes.txt" {
			continue
		}
		if !beside[strings.TrimSuffix(f, path.Ext(f))] && !slices.Contains(strings.Split(path.Dir(f), "/"), "labels") &&
			(len(t.images) > 0 || !looksYOLO(beginning(s.fsys, f))) {
			continue
		}
		data, err := wholefile.ReadFS(search.ctx, s.fsys, f, wholefile.MaxText)
		if err != nil {
			return nil, err
		}
		note := parseYOLO(f, data, s.names)
		note.image = f
		set.notes = append(set.notes, note)
	}
	if s.names.lists != nil && len(t.images) > 0 {
		if set.parts, err = s.names.parts(search.ctx, s.fsys, t.images); err != nil {
			return nil, fmt.Errorf("%s: %w", s.names.file, err)
		}
	}
	return set, nil
}

// parts returns the part of every image that the data.yaml lists.
func (n *yoloNames) parts(ctx context.Context, fsys fs.FS, images []string) (map[string]int, error) {
	parts := map[string]int{}
	for part, node := range []yaml.Node{n.lists.Train, n.lists.Val, n.lists.Test} {
		var entries []string
		switch node.Kind {
		case 0:
			continue
		case yaml.SequenceNode:
			if err := node.Decode(&entries); err != nil {
				return nil, err
			}
		default:
			var entry string
			if err := node.Decode(&entry); err != nil {
				return nil, err
			}
			entries = []string{entry}
		}
		for _, e := range entries {
			if e == "" {
				continue
			}
			found, err := n.images(ctx, fsys, e, images)
			if err != nil {
				if part == partTest { // often named and not there
					continue
				}
				return nil, fmt.Errorf("%s: %w", []string{"train", "val", "test"}[part], err)
			}
			for _, f := range found {
				if _, ok := parts[f]; !ok {
					parts[f] = part
				}
			}
		}
	}
	return parts, nil
}

// images returns the images that an entry of a part means: those of a folder, or of a list.
func (n *yoloNames) images(ctx context.Context, fsys fs.FS, entry string, images []string) ([]string, error) {
	at, ok := n.resolve(fsys, entry)
	if !ok {
		return nil, fmt.Errorf("%s: no such folder or list below %s", entry, path.Dir(n.file))
	}
	var found []string
	if strings.EqualFold(path.Ext(at), ".txt") && !isFolder(fsys, at) {
		data, err := wholefile.ReadFS(ctx, fsys, at, wholefile.MaxTable)
		if err != nil {
			return nil, err
		}
		m := newMatcher(images)
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			name := path.Clean(strings.ReplaceAll(line, `\`, "/"))
			if !path.IsAbs(name) {
				name = join(path.Dir(at), name)
			}
			if len(found)%checkEvery == 0 && ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			i, err := m.find(name, name, "")
			if err != nil {
				return nil, fmt.Errorf("%s: %w", at, err)
			}
			found = append(found, images[i])
		}
		return found, nil
	}
	for _, f := range images {
		if at == "." || strings.HasPrefix(f, at+"/") {
			found = append(found, f)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: no images", at)
	}
	return found, nil
}

// resolve finds the folder or list that an entry names: below the yaml's path, beside the
// yaml, or the place with the longest end of the name, since most such files name the
// machine on which they were made.
func (n *yoloNames) resolve(fsys fs.FS, entry string) (string, bool) {
	dir := path.Dir(n.file)
	clean := func(p string) string { return path.Clean(strings.ReplaceAll(p, `\`, "/")) }
	entry = clean(entry)
	var names []string
	if !path.IsAbs(entry) {
		names = append(names, join(join(dir, clean(n.lists.Path)), entry), join(dir, entry))
	}
	full := entry
	if n.lists.Path != "" && !path.IsAbs(entry) {
		full = clean(n.lists.Path) + "/" + entry
	}
	words := strings.FieldsFunc(full, func(r rune) bool { return r == '/' })
	for i := range words {
		names = append(names, join(dir, path.Join(words[i:]...)))
	}
	for _, name := range names {
		if !fs.ValidPath(name) {
			continue
		}
		if _, err := fs.Stat(fsys, name); err == nil {
			return name, true
		}
	}
	return "", false
}
