package dataset

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/progress"
)

// search is one reading of a collection's folders and lists: what [Open] and its like do.
// It ends when its context is done, and reports the number of images found.
type search struct {
	ctx      context.Context
	progress progress.Func
	columns  Columns
	layout   Layout
	pattern  *LabelPattern
	found    int64
	source   Source
	above    []fs.FileInfo // folders that were looked through, the outermost first

	copies      []string                           // folders left out since they have those beside them again
	unread      []string                           // tables that aren't used, and why
	masked      bool                               // pictures of masks were left out
	outer       []fs.FS                            // folders that were looked through, the outermost first
	annotations string                             // OpenOptions.Annotations
	unpacked    int64                              // bytes of compressed archives that are in memory
	unreadable  map[string]*preprocess.FormatError // pictures of formats that aren't read, by their paths
	remote      RemoteOptions

	mu      sync.Mutex // of scanned
	scanned bool       // a shard on a server without an index was remarked on
}

// err is the context's cause once it is done.
func (s *search) err() error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return nil
}

// checkEvery is the number of folder entries between two looks at the context.
const checkEvery = 256

// The files by which a run directory of vgg train is known.
const (
	runRecipe = "recipe.yaml"
	runLog    = "metrics.jsonl"
)

// explainedSuffix ends the names that vgg explain gives its pictures.
const explainedSuffix = "-explained.png"

// listing holds the entries of a folder, each kind sorted by name.
type listing struct {
	folders, images []string
	files           []string // those that are no images
	links           []string // folders that are symbolic links
	skipped         []skipped
	masks           bool // pictures of masks were left out
	run             bool // the folder is a run directory; it has no images of the collection
}

// skipped is an entry of a folder that can't be used, and why: one of the kinds.
type skipped struct {
	name, kind string
	folder     bool
	unread     *preprocess.FormatError // not nil: a picture of a format that isn't read
}

// list reads a folder, without those below it.
func (s *search) list(fsys fs.FS, dir string) (listing, error) {
	var l listing
	if err := s.err(); err != nil {
		return l, err
	}
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return l, err
	}
	for i, e := range entries {
		if i%checkEvery == 0 && s.err() != nil {
			return l, s.err()
		}
		if !hidden(e.Name()) {
			s.sort(&l, fsys, dir, e)
		}
	}
	slices.Sort(l.folders)
	slices.Sort(l.images)
	slices.Sort(l.files)
	if slices.Contains(l.files, runRecipe) && slices.Contains(l.files, runLog) {
		return listing{run: true}, nil
	}
	s.dropMasks(&l, fsys, dir)
	s.masked = s.masked || l.masks
	return l, nil
}

// sort adds an entry of dir to its listing.
func (s *search) sort(l *listing, fsys fs.FS, dir string, e fs.DirEntry) {
	name := e.Name()
	kind := e.Type()
	skip := func(why string) { l.skipped = append(l.skipped, skipped{name: name, kind: why, folder: kind.IsDir()}) }
	if !utf8.ValidString(name) {
		skip(kindName)
		return
	}
	if strings.HasSuffix(name, explainedSuffix) {
		skip(kindExplained)
		return
	}
	p := path.Join(dir, name)
	if kind&fs.ModeSymlink != 0 {
		// A link to nothing counts as a file: as an image it is unreadable.
		if info, err := fs.Stat(fsys, p); err == nil {
			kind = info.Mode().Type()
			if kind.IsDir() && s.isAbove(fsys, dir, info) {
				skip(kindLoop)
				return
			}
		} else {
			kind = 0
		}
	}
	switch {
	case kind.IsDir():
		l.folders = append(l.folders, name)
		if e.Type()&fs.ModeSymlink != 0 {
			l.links = append(l.links, name)
		}
		return
	case kind != 0:
		skip(kindSpecial)
		return
	}
	ok, why, unread := imageFile(fsys, p)
	if ok {
		l.images = append(l.images, name)
		return
	}
	l.files = append(l.files, name)
	l.skipped = append(l.skipped, skipped{name: name, kind: why, unread: unread})
}

// isAbove reports whether a folder is dir or one round it.
func (s *search) isAbove(fsys fs.FS, dir string, folder fs.FileInfo) bool {
	for _, info := range s.above {
		if os.SameFile(info, folder) {
			return true
		}
	}
	for ; ; dir = path.Dir(dir) {
		if info, err := fs.Stat(fsys, dir); err == nil && os.SameFile(info, folder) {
			return true
		}
		if dir == "." {
			return false
		}
	}
}

// enter notes that the folder is looked through.
func (s *search) enter(fsys fs.FS) {
	if info, err := fs.Stat(fsys, "."); err == nil {
		s.above = append(s.above, info)
	}
}

// images returns the paths of the images at any depth below dir, sorted. What else lies
// there is counted as skipped, apart from the files of the root. Links to folders are not
// followed.
func (s *search) images(fsys fs.FS, dir string) ([]string, error) {
	var files []string
	if err := s.collect(fsys, dir, &files); err != nil {
		return nil, err
	}
	slices.Sort(files)
	s.add(len(files))
	return files, nil
}

func (s *search) collect(fsys fs.FS, dir string, files *[]string) error {
	l, err := s.list(fsys, dir)
	if err != nil {
		return err
	}
	if l.run {
		s.skip(kindRun, 1)
		return nil
	}
	for _, e := range l.skipped {
		s.noteUnread(dir, e)
		if dir != "." || !slices.Contains(l.files, e.name) {
			s.skipEntry(dir, e)
		}
	}
	for _, f := range l.images {
		*files = append(*files, path.Join(dir, f))
	}
	for _, f := range l.folders {
		p := path.Join(dir, f)
		if slices.Contains(l.links, f) {
			s.skip(kindLink, 1)
			continue
		}
		if slices.Contains(s.copies, p) {
			continue
		}
		if err := s.collect(fsys, p, files); err != nil {
			return err
		}
	}
	return nil
}

// skip counts what is left out.
func (s *search) skip(kind string, n int) {
	if n == 0 {
		return
	}
	if s.source.Skipped == nil {
		s.source.Skipped = map[string]int{}
	}
	s.source.Skipped[kind] += n
}

// skipEntry counts an entry of the folder dir that is left out.
func (s *search) skipEntry(dir string, e skipped) {
	s.skip(e.kind, 1)
	if e.kind == kindSpecial {
		s.source.Special = append(s.source.Special, path.Join(dir, e.name))
	}
}

// noteUnread remembers an entry of the folder dir that is a picture of a format that isn't read.
func (s *search) noteUnread(dir string, e skipped) {
	if e.unread == nil {
		return
	}
	if s.unreadable == nil {
		s.unreadable = map[string]*preprocess.FormatError{}
	}
	s.unreadable[path.Join(dir, e.name)] = e.unread
}

// describeUnread describes the pictures of formats that aren't read, a sentence for each format: the first
// of them, and how they are converted.
func (s *search) describeUnread() []string {
	of := map[string][]string{}
	for p, e := range s.unreadable {
		of[e.Found] = append(of[e.Found], p)
	}
	var lines []string
	for _, format := range slices.Sorted(maps.Keys(of)) {
		more := ""
		if n := len(of[format]) - 1; n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		first := slices.Min(of[format])
		lines = append(lines, fmt.Sprintf("%s%s: %s, which isn't read: %s", first, more, format, s.unreadable[first].Advice()))
	}
	return lines
}

// afterError is what describeUnread says, to end an error of a folder without images.
func (s *search) afterError() string {
	text := ""
	for _, line := range s.describeUnread() {
		text += "; " + line
	}
	return text
}

// note adds a sentence for the user.
func (s *search) note(format string, args ...any) {
	s.source.Notes = append(s.source.Notes, fmt.Sprintf(format, args...))
}

// add counts images found.
func (s *search) add(n int) {
	s.found += int64(n)
	s.progress.Report(s.found, 0)
}
