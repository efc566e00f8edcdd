package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// openParquetFolder reads a folder of Parquet files with pictures in them, at most two folders
// down, as Hugging Face's data sets are laid out: data/train-00000-of-00002.parquet …
// Parts are those in the files' names, or else in their folders'. ok is false if there are
// no such files.
func openParquetFolder(s *search, name string, fsys fs.FS, root listing) (train, val *Dataset, ok bool, err error) {
	if len(root.images) > 0 {
		return nil, nil, false, nil
	}
	files, err := s.parquetFiles(fsys, ".", root, 0)
	if err != nil {
		return nil, nil, false, fmt.Errorf("dataset: %s: %w", name, err)
	}
	if len(files) == 0 {
		return nil, nil, false, nil
	}
	return s.openParquetFiles(name, fsys, files)
}

// openParquetFiles reads Parquet files with pictures. ok is false if they have none.
func (s *search) openParquetFiles(name string, fsys fs.FS, files []string) (train, val *Dataset, ok bool, err error) {
	fail := func(err error) (*Dataset, *Dataset, bool, error) {
		return nil, nil, false, fmt.Errorf("dataset: %s: %w", name, err)
	}
	if err := wholeSet(files); err != nil {
		return fail(err)
	}
	var sources []*tableSource
	var pictures []*parquetPictures
	var all []string
	for _, f := range files {
		if s.err() != nil {
			return fail(s.err())
		}
		p, err := openParquet(fsys, f)
		if err != nil {
			return fail(err)
		}
		ok, err := p.setPictures(s.columns)
		if err != nil {
			return fail(err)
		}
		if !ok {
			if len(sources) > 0 {
				return fail(fmt.Errorf("%s: no column of pictures, want one as in %s", f, sources[0].name))
			}
			return nil, nil, false, nil
		}
		source, names, err := s.parquetSource(p)
		var none *noLabelsError
		if part := parquetPart(f); err != nil && part == "test" && errors.As(err, &none) {
			s.note("%s isn't used: it has no classes", f)
			continue
		} else if err != nil {
			return fail(err)
		}
		sources, pictures, all = append(sources, source), append(pictures, p.pictures), append(all, names...)
		s.add(len(names))
	}
	if train, val, err = s.tableDatasets(name, newParquetFS(pictures), fsys, sources, all); err != nil {
		return fail(err)
	}
	for _, d := range []*Dataset{train, val} {
		if d != nil {
			d.root = nil // no lists or annotations lie beside the pictures
		}
	}
	return train, val, true, nil
}

// parquetSource returns the records of a file as a table, and the names of its pictures.
func (s *search) parquetSource(p *parquetFile) (*tableSource, []string, error) {
	t, err := p.table()
	if err != nil {
		return nil, nil, err
	}
	names := make([]string, len(t.rows))
	for i := range t.rows {
		names[i] = t.cell(i, 0)
	}
	c := s.columns
	c.Image = p.pictures.column
	source, err := t.source(newTableFiles(names, "."), parquetPart(p.name), c)
	return source, names, err
}

// parquetPart returns the part that a file's name says, or that of its folder.
func parquetPart(file string) string {
	for ; file != "."; file = path.Dir(file) {
		if part := partOfName(path.Base(file)); part != "" {
			return part
		}
	}
	return ""
}

// parquetFiles lists the Parquet files of a folder and of those in it.
func (s *search) parquetFiles(fsys fs.FS, dir string, l listing, depth int) ([]string, error) {
	var files []string
	for _, f := range l.files {
		if strings.EqualFold(path.Ext(f), parquetExt) {
			files = append(files, path.Join(dir, f))
		}
	}
	if depth == 2 || len(files) > 0 || len(l.folders) > 64 {
		return files, nil
	}
	for _, folder := range l.folders {
		below, err := s.list(fsys, path.Join(dir, folder))
		if err != nil || len(below.images) > 0 {
			return nil, err
		}
		more, err := s.parquetFiles(fsys, path.Join(dir, folder), below, depth+1)
		if err != nil {
			return nil, err
		}
		if len(more) > 0 && len(files) > 0 && partOfName(folder) == "" {
			return nil, fmt.Errorf("folders of Parquet files: %s and %s, want one: open one of them", path.Dir(files[0]), path.Join(dir, folder))
		}
		files = append(files, more...)
	}
	return files, nil
}

// ofHowMany is the number in names such as train-00000-of-00002.parquet.
var ofHowMany = regexp.MustCompile(`^(.*)-(\d{1,9})-of-(\d{1,9})(?:-[0-9a-f]+)?\.parquet$`)

// wholeSet is an error if files that are numbered, as 1 of 5, aren't all there.
func wholeSet(files []string) error {
	type series struct {
		of    int
		found map[int]bool
	}
	all := map[string]*series{}
	for _, f := range files {
		m := ofHowMany.FindStringSubmatch(f)
		if m == nil {
			continue
		}
		i, _ := strconv.Atoi(m[2])
		of, _ := strconv.Atoi(m[3])
		if all[m[1]] == nil {
			all[m[1]] = &series{of, map[int]bool{}}
		}
		if all[m[1]].of != of || i >= of || all[m[1]].found[i] {
			return fmt.Errorf("%s doesn't go with %s-…-of-%05d.parquet, want one series of files", f, m[1], all[m[1]].of)
		}
		all[m[1]].found[i] = true
	}
	var missing []string
	for stem, s := range all {
		for i := 0; i < s.of && len(missing) < 100; i++ {
			if !s.found[i] {
				missing = append(missing, fmt.Sprintf("%s-%05d-of-%05d.parquet", stem, i, s.of))
			}
		}
	}
	slices.Sort(missing)
	if missing != nil {
		return fmt.Errorf("files are missing: %s; fetch them, too", some(missing))
	}
	return nil
}
