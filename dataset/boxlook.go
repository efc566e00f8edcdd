package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg/internal/wholefile"
)

// Bounds of the look for annotations: it must cost little where there are none.
const (
	lookDepth   = 4   // folders below each other
	lookFolders = 24  // folders looked into of each folder
	lookMost    = 300 // folders looked into
)

// boxFinds are the files of annotations found.
type boxFinds struct {
	xml   string   // the first XML annotation
	coco  []string // JSON files
	yaml  []string // descriptions of YOLO datasets
	yolo  string   // the first text file of YOLO
	names []string // lists of YOLO's classes
}

// lookForBoxes looks for annotations in and below a folder. It returns nil if there are none,
// and an error if there are some of several formats.
func (s *search) lookForBoxes(fsys fs.FS, root listing) (*boxSource, error) {
	found := &boxFinds{}
	visits := 0
	var visit func(dir string, l listing, depth int) error
	visit = func(dir string, l listing, depth int) error {
		visits++
		if err := found.look(fsys, dir, l); err != nil {
			return err
		}
		for i, f := range l.folders {
			if i == lookFolders || visits >= lookMost || depth == lookDepth || f == "CLS-LOC" {
				break
			}
			inner, err := s.list(fsys, join(dir, f))
			if err != nil {
				return err
			}
			if err := visit(join(dir, f), inner, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	if err := visit(".", root, 0); err != nil {
		return nil, err
	}
	return found.source(fsys)
}

// look notes the annotations of one folder.
func (b *boxFinds) look(fsys fs.FS, dir string, l listing) error {
	xmlSeen, textSeen := false, false
	for _, f := range l.files {
		file := join(dir, f)
		switch strings.ToLower(path.Ext(f)) {
		case ".xml":
			if b.xml == "" && !xmlSeen && isVOCNote(beginning(fsys, file)) {
				b.xml = file
			}
			xmlSeen = true
		case ".json":
			if isCOCO(fsys, file) {
				b.coco = append(b.coco, file)
			}
		case ".yaml", ".yml":
			if isYOLO(fsys, file) {
				b.yaml = append(b.yaml, file)
			}
		case ".txt", ".names":
			switch {
			case f == "classes.txt" || f == "_darknet.labels" || strings.HasSuffix(f, ".names"):
				b.names = append(b.names, file)
			case b.yolo == "" && !textSeen && (besideImage(l, f) || slices.Contains(strings.Split(dir, "/"), "labels")):
				textSeen = true
				if looksYOLO(beginning(fsys, file)) {
					b.yolo = file
				}
			}
		case ".labels":
			b.names = append(b.names, file)
		case "":
			if b.xml == "" && !xmlSeen && isVOCNote(beginning(fsys, file)) {
				b.xml = file
			}
			xmlSeen = true
		}
	}
	return nil
}

// isVOCNote reports whether a file begins like an annotation of PASCAL VOC; <annotations> is of CVAT.
func isVOCNote(data []byte) bool {
	return bytes.Contains(data, []byte("<annotation>")) || bytes.Contains(data, []byte("<annotation "))
}

// besideImage reports whether a folder has an image with a file's name.
func besideImage(l listing, file string) bool {
	i, _ := slices.BinarySearch(l.images, stem(file))
	return i < len(l.images) && stem(l.images[i]) == stem(file)
}

// beginning returns the first bytes of a file, none if it can't be read.
func beginning(fsys fs.FS, file string) []byte {
	f, err := fsys.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, 4<<10))
	return data
}

// source returns the annotations that were found.
func (b *boxFinds) source(fsys fs.FS) (*boxSource, error) {
	coco, err := chooseCOCO(b.coco)
	if err != nil {
		return nil, err
	}
	var found []string
	if b.xml != "" {
		found = append(found, b.xml)
	}
	if len(coco) > 0 {
		found = append(found, coco[0])
	}
	yolo := b.yolo != ""
	if yolo {
		found = append(found, b.yolo)
	}
	if len(found) > 1 {
		return nil, fmt.Errorf("boxes in several formats (%s), want one of them named with --annotations", strings.Join(found, ", "))
	}
	switch {
	case len(coco) > 0:
		return &boxSource{fsys: fsys, name: commonFolder(coco), kind: cocoBoxes, files: coco}, nil
	case yolo:
		names, err := readYOLONames(fsys, b.yaml, b.names)
		return &boxSource{fsys: fsys, name: ".", kind: yoloBoxes, names: names}, err
	case b.xml != "":
		return &boxSource{fsys: fsys, name: ".", kind: xmlBoxes, ext: path.Ext(b.xml)}, nil
	}
	return nil, nil
}

// commonFolder returns the folder of files if it is the same, else ".".
func commonFolder(files []string) string {
	dir := path.Dir(files[0])
	for _, f := range files {
		if path.Dir(f) != dir {
			return "."
		}
	}
	return dir
}

// namedBoxes returns the source at a path.
func namedBoxes(ctx context.Context, from string) ([]boxSource, error) {
	info, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &missingError{from}
	}
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		fsys := wholefile.Dir(from)
		s := &search{ctx: ctx}
		root, err := s.list(fsys, ".")
		if err != nil {
			return nil, err
		}
		source, err := s.lookForBoxes(fsys, root)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
		if source == nil {
			source = &boxSource{fsys: fsys, name: ".", kind: xmlBoxes, ext: ".xml"}
		}
		return []boxSource{*source}, nil
	}
	s := boxSource{fsys: wholefile.Dir(filepath.Dir(from)), name: filepath.Base(from), kind: tableBoxes}
	switch strings.ToLower(path.Ext(s.name)) {
	case ".xml":
		s.kind = xmlBoxes
	case ".json":
		s.kind, s.files = cocoBoxes, []string{s.name}
	case ".yaml", ".yml":
		s.kind = yoloBoxes
		s.names, err = readYOLONames(s.fsys, []string{s.name}, nil)
		s.name = "."
	}
	return []boxSource{s}, err
}

// files are the files at any depth below a folder, sorted.
type files struct{ images, files []string }

// tree lists the files at any depth below a folder. Links to folders are not followed.
func (s *search) tree(fsys fs.FS, dir string) (files, error) {
	var t files
	err := s.grow(fsys, dir, &t)
	slices.Sort(t.images)
	slices.Sort(t.files)
	return t, err
}

func (s *search) grow(fsys fs.FS, dir string, t *files) error {
	l, err := s.list(fsys, dir)
	if err != nil {
		return err
	}
	for _, f := range l.images {
		t.images = append(t.images, join(dir, f))
	}
	for _, f := range l.files {
		t.files = append(t.files, join(dir, f))
	}
	for _, f := range l.folders {
		if !slices.Contains(l.links, f) {
			if err := s.grow(fsys, join(dir, f), t); err != nil {
				return err
			}
		}
	}
	return nil
}

// matcher finds the images of annotations.
type matcher struct {
	images []string
	stems  map[string][]int // by base name without extension, lower case
}

func newMatcher(images []string) *matcher {
	m := &matcher{images, make(map[string][]int, len(images))}
	for i, f := range images {
		s := strings.ToLower(stem(f))
		m.stems[s] = append(m.stems[s], i)
	}
	return m
}

// find returns the image of an annotation by its path, or by the name of the image in it,
// which may be "". Of several of that name it takes the one that lies nearest: with the most
// folders in common at either end of the path, and in the part's folder, if part isn't "".
// It is an error if there is none, or if two lie equally near.
func (m *matcher) find(note, alias, part string) (int, error) {
	note, alias = strings.ReplaceAll(note, `\`, "/"), strings.ReplaceAll(alias, `\`, "/")
	candidates := m.stems[strings.ToLower(stem(note))]
	for _, name := range []string{path.Base(note), stem(stem(note)), stem(alias)} {
		if len(candidates) == 0 {
			candidates = m.stems[strings.ToLower(name)]
		}
	}
	best, bestScore, rival := -1, math.MinInt, -1
	for _, i := range candidates {
		score := m.near(m.images[i], note, alias, part)
		switch {
		case score > bestScore:
			best, bestScore, rival = i, score, -1
		case score == bestScore:
			rival = i
		}
	}
	if best < 0 {
		return -1, fmt.Errorf("%w: %s", errNoImage, note)
	}
	if rival >= 0 {
		return -1, fmt.Errorf("%s and %s both have its name, want one that lies nearer", m.images[best], m.images[rival])
	}
	return best, nil
}

// near scores how near an image lies to an annotation.
func (m *matcher) near(image, note, alias, part string) int {
	score := 0
	a, b := strings.Split(image, "/"), strings.Split(note, "/")
	a, b = a[:len(a)-1], b[:len(b)-1]
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		score += 16
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		score += 16
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if part != "" && pathPart(image) == folderPart(part) {
		score += 64
	}
	if path.Base(image) == path.Base(note) || path.Base(image) == path.Base(alias) {
		score += 4
	}
	dir := strings.ToLower(path.Dir(image))
	if strings.Contains(dir, "mask") || strings.Contains(dir, "segmentation") || strings.Contains(dir, "trimap") {
		score -= 1000 // a picture of the objects' outlines
	}
	return score
}
