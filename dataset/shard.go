package dataset

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/verydeep/vgg/internal/remote"
	"github.com/verydeep/vgg/internal/wholefile"
)

// A shard is a tar file in the WebDataset convention: the members of a sample
// follow each other and have one key, which is the name up to the first dot of
// its last part. One member is an image. The class, a number or a name, is in a
// member with extension cls, or in one with extension json under label, cls, class
// or class_name. A sample of several labels, or none, has them as numbers separated by blanks
// in the member cls, or as a list in the member json, under the same names or labels.

const (
	shardExt   = ".tar"
	indexExt   = ".index" // after the shard's whole name
	classesTxt = "classes.txt"
	incomplete = "INCOMPLETE" // lies beside shards while they are being written
)

// shardEntry is the place of an image.
type shardEntry struct {
	shard  int // index into shardFS.shards
	offset int64
	size   int64
	sum    uint32 // CRC-32C of the image
	summed bool   // the index has sum
}

// shardClass is a class as a shard gives it.
type shardClass struct {
	label int    // -1 if the shard gives a name
	class string // "" if the shard gives a number
}

// shardSample is an image of a shard and its class, or its labels.
type shardSample struct {
	name string
	shardClass
	labels []shardClass // nil if the shard gives one class
	shardEntry
}

// given returns the sample's labels, or its only one.
func (s *shardSample) given() []shardClass {
	if s.labels != nil {
		return s.labels
	}
	return []shardClass{s.shardClass}
}

// shardFS is the file system of the images of some shards. A shard is opened for
// every read, so that their number is not limited.
type shardFS struct {
	fsys    fs.FS
	shards  []string
	dates   []time.Time // of the shards when they were opened
	held    []*tarFile  // what compressed shards unpack to; nil for others
	entries map[string]shardEntry
	far     *farShards // nil: the shards are on disk or in memory
}

// openShardFolder reads a folder of shards: all of one part, or of train and val,
// which are recognised by the shards' names or lie in folders train and val. ok is
// false if there are no shards.
func openShardFolder(s *search, name string, fsys fs.FS, root listing) (train, val *Dataset, ok bool, err error) {
	parts := [2][]string{}
	all := shardsOf(root, ".")
	for part := range parts {
		for _, shard := range all {
			if findPart([]string{shard}, part) != "" {
				parts[part] = append(parts[part], shard)
			}
		}
		if len(all) == 0 {
			if folder := findPart(root.folders, part); folder != "" {
				if err := checkComplete(fsys, folder); err != nil {
					return nil, nil, false, fmt.Errorf("dataset: %s/%s: %w", strings.TrimRight(name, `/\`), folder, err)
				}
				if l, err := s.list(fsys, folder); err == nil {
					parts[part] = shardsOf(l, folder)
				}
			}
		}
	}
	if len(parts[0]) == 0 {
		parts = [2][]string{all, nil}
	}
	if len(parts[0]) == 0 {
		return nil, nil, false, nil
	}
	if shard, err := looksSharded(s, fsys, parts[0][0]); err != nil || !shard {
		if err != nil {
			err = fmt.Errorf("dataset: %s: %s: %w", name, parts[0][0], err)
		}
		return nil, nil, false, err
	}
	where := strings.TrimRight(name, `/\`)
	if len(parts[1]) == 0 {
		train, err = openShards(s, where, fsys, parts[0])
		return train, nil, err == nil, err
	}
	if train, err = openShards(s, where+"/train", fsys, parts[0]); err != nil {
		return nil, nil, false, err
	}
	if val, err = openShards(s, where+"/val", fsys, parts[1]); err != nil {
		return nil, nil, false, err
	}
	if err := val.takeClasses(train.Classes); err != nil {
		return nil, nil, false, fmt.Errorf("dataset: %s: %w", name, err)
	}
	setLayout(fsys, train, val)
	return train, val, true, nil
}

// checkComplete returns an error for a folder whose shards aren't all written.
func checkComplete(fsys fs.FS, dir string) error {
	if _, err := fs.Stat(fsys, join(dir, incomplete)); err == nil {
		return errors.New("the shards are not complete: writing them was interrupted, want them made again by the same vgg shard, which removes them first")
	}
	return nil
}

func shardsOf(l listing, dir string) []string {
	var found []string
	for _, f := range l.files {
		if isTar(f) {
			found = append(found, join(dir, f))
		}
	}
	return found
}

// openShards reads the index of every shard, or the headers of a shard without
// one. The classes are the lines of classes.txt beside the shards; else the names
// that the shards give; else the numbers up to the largest label.
func openShards(search *search, name string, fsys fs.FS, shards []string) (*Dataset, error) {
	fail := func(err error) (*Dataset, error) { return nil, fmt.Errorf("dataset: %s: %w", name, err) }
	s := &shardFS{fsys: fsys, shards: shards, dates: make([]time.Time, len(shards)), held: make([]*tarFile, len(shards)), entries: map[string]shardEntry{}}
	if files, ok := fsys.(*remote.FS); ok {
		s.far = newFarShards(files)
	}
	dir := path.Dir(shards[0])
	if err := checkComplete(fsys, dir); err != nil {
		return fail(err)
	}
	samples, err := s.readAll(search)
	if err != nil {
		return fail(err)
	}
	nameApart(samples, shards)
	if len(samples) == 0 {
		return fail(fmt.Errorf("no images in %s, want members such as 0001.jpg with 0001.cls or 0001.json", some(shards)))
	}
	classes, err := shardClasses(fsys, dir, samples)
	if err != nil {
		return fail(err)
	}
	d := &Dataset{Name: name, Classes: classes, fsys: s, root: fsys}
	numbers := map[string]int{}
	for i, c := range classes {
		numbers[c] = i
	}
	several := slices.ContainsFunc(samples, func(s shardSample) bool { return s.labels != nil })
	for _, sample := range samples {
		where := shards[sample.shard]
		if _, ok := s.entries[sample.name]; ok {
			return fail(fmt.Errorf("%s: %s is in the shards twice", where, sample.name))
		}
		s.entries[sample.name] = sample.shardEntry
		labels := []int{}
		for _, c := range sample.given() {
			label := c.label
			if c.class != "" {
				ok := false
				if label, ok = numbers[c.class]; !ok {
					return fail(fmt.Errorf("%s: %s: class %q is not in %s", where, sample.name, c.class, classesTxt))
				}
			}
			if label < 0 || label >= len(classes) {
				return fail(fmt.Errorf("%s: %s: label %d, want 0 to %d", where, sample.name, label, len(classes)-1))
			}
			labels = append(labels, label)
		}
		if several {
			d.Samples = append(d.Samples, Sample{Name: sample.name, Labels: labels})
		} else {
			d.Samples = append(d.Samples, Sample{Name: sample.name, Label: labels[0]})
		}
	}
	if several {
		if err := d.setMultiLabel(); err != nil {
			return fail(err)
		}
	}
	d.sortSamples()
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		return fail(err)
	}
	setTitles(sub, d)
	search.remarkRefused(s.far)
	return d, nil
}

// readAll lists the images of all shards.
func (s *shardFS) readAll(search *search) ([]shardSample, error) {
	found := make([][]shardSample, len(s.shards))
	read := func(i int) (err error) {
		if found[i], err = s.read(search, i); err != nil && !remote.Failed(err) {
			err = fmt.Errorf("%s: %w", s.place(i), err)
		}
		return err
	}
	if s.far != nil {
		if err := s.far.files.Prime(search.ctx, s.shards, read); err != nil {
			return nil, err
		}
	}
	var samples []shardSample
	for i := range s.shards {
		if s.far == nil {
			if err := read(i); err != nil {
				return nil, err
			}
		}
		search.add(len(found[i]))
		samples = append(samples, found[i]...)
	}
	return samples, nil
}

// nameApart puts the shard's name before the images' names if different images of several
// shards have one name, as WebDataset allows.
func nameApart(samples []shardSample, shards []string) {
	first := make(map[string]*shardSample, len(samples))
	apart := false
	for i := range samples {
		now := &samples[i]
		if old := first[now.name]; old == nil {
			first[now.name] = now
		} else if old.shard == now.shard || old.size == now.size {
			return // the same image twice, which is an error
		} else {
			apart = true
		}
	}
	if !apart {
		return
	}
	for i := range samples {
		base := path.Base(shards[samples[i].shard])
		samples[i].name = join(strings.TrimSuffix(base, tarExt(base)), samples[i].name)
	}
}

// maxShardClasses bounds the classes of shards that only have numbers.
const maxShardClasses = 1 << 20

func shardClasses(fsys fs.FS, dir string, samples []shardSample) ([]string, error) {
	data, err := wholefile.ReadFS(context.Background(), fsys, join(dir, classesTxt), wholefile.MaxText)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		var classes []string
		for line := range strings.Lines(string(data)) {
			if c := strings.TrimRight(line, "\r\n"); c != "" {
				classes = append(classes, c)
			}
		}
		return classes, nil
	}
	most, named := -1, map[string]bool{}
	for _, s := range samples {
		for _, c := range s.given() {
			if c.class != "" {
				named[c.class] = true
			}
			most = max(most, c.label)
		}
	}
	if len(named) > 0 {
		if most >= 0 {
			return nil, fmt.Errorf("some images have class names and some numbers; want %s to say which is which", classesTxt)
		}
		var classes []string
		for c := range named {
			classes = append(classes, c)
		}
		slices.Sort(classes)
		return classes, nil
	}
	if most >= maxShardClasses {
		return nil, fmt.Errorf("label %d, want less than %d", most, maxShardClasses)
	}
	classes := make([]string, most+1)
	for i := range classes {
		classes[i] = strconv.Itoa(i)
	}
	return classes, nil
}

// read lists the images of a shard, from its index if that is current.
func (s *shardFS) read(search *search, i int) ([]shardSample, error) {
	if err := search.err(); err != nil {
		return nil, err
	}
	info, err := fs.Stat(s.fsys, s.shards[i])
	if err != nil {
		return nil, err
	}
	if s.far != nil {
		f, err := s.fsys.Open(s.shards[i])
		if err == nil {
			err = checkPlain(f)
		}
		if err != nil {
			return nil, err
		}
	}
	t, err := openTar(search, s.fsys, s.shards[i])
	if err != nil {
		return nil, err
	}
	if t.unpacked {
		s.held[i] = t
	} else {
		defer t.close()
	}
	s.dates[i] = info.ModTime()
	var samples []shardSample
	current := false
	data, err := wholefile.ReadFS(search.ctx, s.fsys, s.shards[i]+indexExt, wholefile.MaxTable)
	switch {
	case err == nil:
		if samples, current, err = parseIndex(data, t.size); err != nil {
			return nil, fmt.Errorf("%s: %w", path.Base(s.shards[i])+indexExt, err)
		}
	case s.far != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if !current && s.far != nil && !t.unpacked {
		if samples, err = s.far.scan(search, s.shards[i], t); err != nil {
			return nil, err
		}
	} else if !current {
		if samples, err = scanShard(search, io.NewSectionReader(t, 0, t.size)); err != nil {
			return nil, err
		}
	}
	for j := range samples {
		samples[j].shard = i
	}
	return samples, nil
}

// maxLabel bounds a cls or json member.
const maxLabel = 1 << 20

// scanShard reads the headers of a tar file and the members that give classes.
func scanShard(search *search, r io.ReadSeeker) ([]shardSample, error) {
	t := tar.NewReader(r)
	var samples []shardSample
	var key string
	var now shardSample
	end := func() error {
		switch {
		case now.name == "":
		case !now.classified():
			return fmt.Errorf("%s: no class, want a member %s.cls or %s.json", now.name, key, key)
		default:
			samples = append(samples, now)
		}
		now = shardSample{shardClass: shardClass{label: -1}}
		return nil
	}
	now.label = -1
	for {
		if err := search.err(); err != nil {
			return nil, err
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return samples, end()
		}
		if err != nil {
			return nil, fmt.Errorf("tar file: %w", err)
		}
		if h.Typeflag != tar.TypeReg || hidden(path.Base(h.Name)) {
			continue
		}
		name := path.Clean(h.Name)
		k, ext := shardKey(name)
		if k != key {
			if err := end(); err != nil {
				return nil, err
			}
			key = k
		}
		switch {
		case isImage(name) && now.name == "":
			if !fs.ValidPath(name) {
				return nil, fmt.Errorf("%q, want a slash-separated path", h.Name)
			}
			offset, err := r.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			now.name, now.offset, now.size = unescapeKey(name), offset, h.Size
		case ext == "cls" || ext == "json":
			data, err := io.ReadAll(io.LimitReader(t, maxLabel))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if ext == "cls" {
				err = now.setClass(strings.TrimSpace(string(data)))
			} else {
				err = now.setJSON(data)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
}

// shardKey splits a member's name at the first dot of its last part.
func shardKey(name string) (key, ext string) {
	dir, base := path.Split(name)
	stem, ext, _ := strings.Cut(base, ".")
	return dir + stem, strings.ToLower(ext)
}

// classified reports whether a class, or a list of labels, is known.
func (s *shardSample) classified() bool { return s.label >= 0 || s.class != "" || s.labels != nil }

// setClass takes a class, or numbers separated by blanks.
func (s *shardSample) setClass(text string) (err error) {
	words := strings.Fields(text)
	if len(words) < 2 || slices.ContainsFunc(words, func(w string) bool { _, err := strconv.Atoi(w); return err != nil }) {
		s.labels = nil
		s.shardClass, err = parseShardClass(text)
		return err
	}
	return s.setLabels(words)
}

// setLabels takes several labels, or none.
func (s *shardSample) setLabels(texts []string) error {
	s.shardClass, s.labels = shardClass{label: -1}, make([]shardClass, len(texts))
	for i, text := range texts {
		var err error
		if s.labels[i], err = parseShardClass(text); err != nil {
			return err
		}
	}
	return nil
}

func parseShardClass(text string) (shardClass, error) {
	if text == "" {
		return shardClass{}, errors.New("empty, want a class")
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return shardClass{-1, text}, nil
	case n < 0:
		return shardClass{}, fmt.Errorf("label %d, want 0 or more", n)
	}
	return shardClass{n, ""}, nil
}

// setJSON takes the class or the labels from an object, if it has some.
func (s *shardSample) setJSON(data []byte) error {
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&object); err != nil {
		return fmt.Errorf("JSON: %w", err)
	}
	if s.classified() {
		return nil
	}
	for _, k := range []string{"label", "cls", "class", "class_name", "labels"} {
		switch v := object[k].(type) {
		case []any:
			texts := make([]string, len(v))
			for i, one := range v {
				switch one.(type) {
				case json.Number, string:
					texts[i] = fmt.Sprint(one)
				default:
					return fmt.Errorf("%s: a list with %v, want classes alone", k, one)
				}
			}
			return s.setLabels(texts)
		case json.Number:
			return s.setClass(v.String())
		case string:
			return s.setClass(v)
		}
	}
	return nil
}
