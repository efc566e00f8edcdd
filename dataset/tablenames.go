package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/wholefile"
)

// nameFiles are lists of class names beside tables of class numbers. Any JSON file that
// maps the numbers to names, or names to the numbers, is one, too.
var nameFiles = []string{"classes.txt", "class_names.txt", "classnames.txt", "labels.txt", "names.txt", "label_names.txt", "categories.txt", "categories_places365.txt"}

// maxNames bounds a JSON file that may hold names of classes.
const maxNames = 4 << 20

// nameNumbers names classes that are numbers by a list in the table's folder or the root. It
// is an error if lists contradict each other.
func (s *search) nameNumbers(fsys fs.FS, dir string, l *rowLabels) error {
	numbers := make([]int, len(l.classes))
	for i, c := range l.classes {
		n, err := strconv.Atoi(c)
		if err != nil {
			return nil
		}
		numbers[i] = n
	}
	dirs := []string{dir}
	if dir != "." {
		dirs = append(dirs, ".")
	}
	var names []string
	from := ""
	for _, dir := range dirs {
		list, err := s.list(fsys, dir)
		if err != nil {
			return err
		}
		for _, f := range list.files {
			file := path.Join(dir, f)
			found, err := namesIn(s.ctx, fsys, file, numbers)
			if err != nil {
				s.note("%s isn't used to name the classes: %v", file, err)
			}
			if found == nil {
				continue
			}
			if names != nil && !slices.Equal(names, found) {
				return fmt.Errorf("%s and %s name the classes differently: class %d is %s and %s, want one of the files", from, file, numbers[0], names[0], found[0])
			}
			if names == nil {
				names, from = found, file
			}
		}
	}
	if names == nil {
		return nil
	}
	l.classes = names
	s.note("%s: names of the classes, %d is %s", from, numbers[0], names[0])
	return nil
}

// titleNumbers gives class folders called by numbers their names, by a list in the folder or in
// one that was looked through.
func (s *search) titleNumbers(fsys fs.FS, sets ...*Dataset) error {
	if sets[0].Titles != nil {
		return nil
	}
	for _, root := range append(slices.Clone(s.outer), fsys) {
		l := rowLabels{classes: slices.Clone(sets[0].Classes)}
		if err := s.nameNumbers(root, ".", &l); err != nil {
			return err
		}
		if slices.Equal(l.classes, sets[0].Classes) {
			continue
		}
		for _, d := range sets {
			if d != nil {
				d.Titles = l.classes
			}
		}
		return nil
	}
	return nil
}

// namesIn reads the names of classes with some numbers from a file; nil if it isn't a list
// of names.
func namesIn(ctx context.Context, fsys fs.FS, file string, numbers []int) ([]string, error) {
	base := strings.ToLower(path.Base(file))
	isList := slices.Contains(nameFiles, base)
	if !isList && path.Ext(base) != ".json" {
		return nil, nil
	}
	if info, err := fs.Stat(fsys, file); err != nil || info.Size() > maxNames {
		return nil, nil
	}
	data, err := wholefile.ReadFS(ctx, fsys, file, maxNames)
	if err != nil {
		return nil, err
	}
	var byNumber map[int]string
	if isList {
		byNumber, err = listedNames(data, numbers)
	} else {
		byNumber = jsonNames(data)
	}
	if byNumber == nil || err != nil {
		return nil, err
	}
	names := make([]string, len(numbers))
	seen := map[string]bool{}
	for i, n := range numbers {
		name, ok := byNumber[n]
		if !ok && !isList {
			return nil, nil
		}
		if !ok {
			return nil, fmt.Errorf("no name of class number %d", n)
		}
		if seen[name] {
			return nil, fmt.Errorf("two classes are called %s", name)
		}
		seen[name], names[i] = true, name
	}
	return names, nil
}

// listedNames reads a class a line: its name, or its number and its name. Lines without
// numbers count from 0, or from 1 if the numbers are 1 … n of n lines.
func listedNames(data []byte, numbers []int) (map[int]string, error) {
	text, err := decodeText(data)
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	numbered := map[int]string{}
	for _, line := range lines {
		first, rest, _ := strings.Cut(strings.Replace(line, "\t", " ", 1), " ")
		n, err := strconv.Atoi(strings.TrimRight(first, ":,."))
		if rest = strings.TrimSpace(rest); err != nil || rest == "" || numbered[n] != "" {
			numbered = nil
			break
		}
		numbered[n] = rest
	}
	if len(numbered) > 0 {
		return numbered, nil
	}
	numbered = map[int]string{}
	for _, line := range lines { // name and number, as of Places365
		name, last, _ := cutLast(line, " ")
		n, err := strconv.Atoi(last)
		if _, twice := numbered[n]; err != nil || twice || name == "" {
			numbered = nil
			break
		}
		numbered[n] = strings.TrimSpace(name)
	}
	if len(numbered) > 0 {
		return numbered, nil
	}
	base := 0
	switch least, most := slices.Min(numbers), slices.Max(numbers); {
	case least == 0 && most < len(lines):
	case least >= 1 && most == len(lines):
		base = 1
	case least >= 1 && most < len(lines):
		return nil, fmt.Errorf("%d names for numbers from %d to %d: they may count from 0 or from 1", len(lines), least, most)
	default:
		return nil, fmt.Errorf("%d names for numbers from %d to %d", len(lines), least, most)
	}
	out := map[int]string{}
	for i, line := range lines {
		out[base+i] = line
	}
	return out, nil
}

// jsonNames reads {"0": "cat"}, {"cat": 0} or ["cat"]; other JSON is nil.
func jsonNames(data []byte) map[int]string {
	var list []string
	if json.Unmarshal(data, &list) == nil {
		out := map[int]string{}
		for i, n := range list {
			out[i] = n
		}
		return out
	}
	var object map[string]any
	if json.Unmarshal(data, &object) != nil {
		return nil
	}
	out := map[int]string{}
	for k, v := range object {
		name, number := "", 0
		var err error
		switch v := v.(type) {
		case string:
			name = v
			number, err = strconv.Atoi(k)
		case float64:
			name, number = k, int(v)
			if float64(number) != v {
				err = errors.New("a fraction")
			}
		default:
			err = errors.New("neither a name nor a number")
		}
		if _, twice := out[number]; err != nil || twice {
			return nil
		}
		out[number] = name
	}
	return out
}
