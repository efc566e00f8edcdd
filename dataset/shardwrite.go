package dataset

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/internal/lockfile"
	"github.com/verydeep/vgg/progress"
)

// DefaultShardBytes is the size of shards where none is chosen.
const DefaultShardBytes = 500_000_000

// ShardOptions chooses how a dataset is written as shards.
type ShardOptions struct {
	Size     int64         // most bytes of a shard, unless one image has more; 0: [DefaultShardBytes]
	Shuffle  bool          // put the images into a random order, for programs that read shards from end to end
	Seed     uint64        // of that order
	Progress progress.Func // hears of the images done
}

// ShardReport describes the shards that WriteShards wrote. Its JSON keys are those of
// `vgg shard --json`.
type ShardReport struct {
	Dir    string     `json:"dir"`
	Shards int        `json:"shards"`
	Images int        `json:"images"`
	Bytes  int64      `json:"bytes"` // of the shards
	Bad    []BadImage `json:"-"`     // images left out, whose files can't be read
}

// WriteShards writes d's images, byte for byte, as tar shards in the WebDataset
// convention into dir, which must be empty or not exist: shard-000000.tar
// and so on, with members NAME.EXT and NAME.cls (the label) or, of several labels,
// NAME.json ({"labels": […]}) for each image,
// and an index beside each shard. classes.txt has the classes in the order of
// their labels, synset_words.txt their titles, if d has some.
//
// [Open] reads the shards as the same dataset: the samples have the same names and
// the same order, shuffled or not, and so epochs have the same bits.
//
// A shard gets its name when it is complete and on disk. If ctx is done, or a file
// can't be written, everything written is removed. While shards are being written
// there is a file INCOMPLETE beside them, and Open refuses them. It is an error if
// two names differ only in their extension, as they would have one key.
func WriteShards(ctx context.Context, d *Dataset, dir string, o ShardOptions) (ShardReport, error) {
	report := ShardReport{Dir: dir}
	if d == nil {
		return report, errNil
	}
	fail := func(err error) (ShardReport, error) {
		return report, fmt.Errorf("dataset: %s: shards: %w", d.Name, err)
	}
	if o.Size == 0 {
		o.Size = DefaultShardBytes
	}
	if o.Size < 0 {
		return fail(fmt.Errorf("size %d bytes, want 1 or more", o.Size))
	}
	keys := make(map[string]string, d.Len())
	for _, s := range d.Samples {
		name := escapeKey(s.Name)
		key, _ := shardKey(name)
		if other, ok := keys[key]; ok {
			return fail(fmt.Errorf("%s and %s differ by their extension alone, want one renamed", other, s.Name))
		}
		if !isImage(s.Name) {
			return fail(fmt.Errorf("%s: a name without the extension of an image, want one such as .jpg", s.Name))
		}
		if strings.ContainsAny(s.Name, "\t\n\r") {
			return fail(fmt.Errorf("%q: a tab or line break in a name", s.Name))
		}
		keys[key] = s.Name
	}
	if err := ShardsHeld(dir); err != nil {
		return fail(err)
	}
	existed := true
	switch err := wantEmpty(dir); {
	case errors.Is(err, fs.ErrNotExist):
		existed = false
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return fail(err)
		}
	case err != nil:
		return fail(err)
	}
	w := &shardWriter{dir: dir, size: o.Size}
	unmark, err := w.mark()
	if err != nil {
		return fail(err)
	}
	if err = w.writeAll(ctx, d, o, &report); err == nil {
		err = unmark()
	}
	if err == nil {
		return report, nil
	}
	if w.file != nil {
		w.file.Abort()
	}
	for _, f := range w.written {
		os.Remove(f)
	}
	unmark()
	if !existed {
		os.Remove(dir)
	}
	return fail(err)
}

// ownShardFile matches the names of the files that WriteShards writes.
var ownShardFile = regexp.MustCompile(`^(shard-[0-9]{6,}\.tar(\.index)?|classes\.txt|synset_words\.txt|INCOMPLETE)$`)

// ClearShards removes what an interrupted run has left in dir and in its parts train and val:
// shards with a file INCOMPLETE beside them, which nobody can use. removed is false where
// there is none. It is an error if another process is writing them, a [*HeldError], and if dir
// has other files.
func ClearShards(dir string) (removed bool, err error) {
	if err := ShardsHeld(dir); err != nil {
		return false, err
	}
	parts := []string{"val", "train", "."}
	marked := func(part string) bool {
		_, err := os.Lstat(filepath.Join(dir, part, incomplete))
		return err == nil
	}
	if !slices.ContainsFunc(parts, marked) {
		return false, nil
	}
	var own []string
	for _, part := range parts {
		entries, err := os.ReadDir(filepath.Join(dir, part))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("dataset: %w", err)
		}
		for _, e := range entries {
			switch {
			case e.IsDir() && part == "." && slices.Contains(parts, e.Name()):
			case e.Type().IsRegular() && (ownShardFile.MatchString(e.Name()) || e.Name() == StatsFile || atomicfile.IsTemporary(e.Name())):
				own = append(own, filepath.Join(dir, part, e.Name()))
			default:
				return false, fmt.Errorf("dataset: %s: the shards of an interrupted run and other files (%s), want these moved, or another folder", dir, path.Join(part, e.Name()))
			}
		}
	}
	// The mark goes last, so that an interruption leaves it.
	slices.SortStableFunc(own, func(a, b string) int {
		mark := func(f string) int {
			if filepath.Base(f) == incomplete {
				return 1
			}
			return 0
		}
		return mark(a) - mark(b)
	})
	for _, f := range own {
		if err := os.Remove(f); err != nil {
			return false, fmt.Errorf("dataset: %w", err)
		}
	}
	for _, part := range parts[:2] {
		if err := os.Remove(filepath.Join(dir, part)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("dataset: %w", err)
		}
	}
	return true, nil
}

// MarkShards marks a folder, which it makes, as one whose shards aren't complete, before
// [WriteShards] comes to it: so that the parts before it don't look like the whole.
func MarkShards(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("dataset: %w", err)
	}
	err := atomicfile.Write(filepath.Join(dir, incomplete), func(w io.Writer) error {
		_, err := io.WriteString(w, "vgg is writing shards here\n")
		return err
	})
	if err != nil {
		return fmt.Errorf("dataset: %w", err)
	}
	return nil
}

// wantEmpty returns an error if dir holds anything but the mark of incomplete shards.
func wantEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.Name() == incomplete {
			continue
		}
		if _, err := os.Lstat(filepath.Join(dir, incomplete)); err == nil {
			return fmt.Errorf("%s: the shards of an interrupted run, want them removed", dir)
		}
		return fmt.Errorf("%s: the folder is not empty", dir)
	}
	return err
}

// ShardsHeld returns a [*HeldError] if a process is writing shards into dir or into one of
// its parts, as [WriteShards] does.
func ShardsHeld(dir string) error {
	for _, part := range []string{"", "train", "val"} {
		err := lockfile.Check(filepath.Join(dir, part, incomplete))
		if held, ok := errors.AsType[*HeldError](err); ok {
			return &HeldError{Path: dir, PID: held.PID}
		}
	}
	return nil
}

// HeldError is the error for a folder of shards that another run is writing:
// Path names it, and PID the process, 0 if not known.
type HeldError = lockfile.HeldError

// shardWriter writes one shard after another.
type shardWriter struct {
	dir     string
	size    int64
	written []string // files, complete and incomplete
	shards  int
	bytes   int64 // of the closed shards

	file    *atomicfile.File // nil between shards
	tar     *tar.Writer
	at      int64     // bytes written to file
	sum     hash.Hash // of them
	samples []shardSample
}

func (w *shardWriter) writeAll(ctx context.Context, d *Dataset, o ShardOptions, r *ShardReport) error {
	order := epochOrder(d.Len(), false, 0, 0)
	if o.Shuffle {
		var rng stream
		rng.start(o.Seed, useShards, 0, 0)
		rng.shuffle(order)
	}
	for done, i := range order {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		data, err := d.Read(i)
		if Environment(ctx, err) {
			return err
		}
		if err != nil {
			r.Bad = append(r.Bad, BadImage{Name: d.Samples[i].Name, Index: i, Err: err})
		} else if err := w.add(d.Samples[i], data); err != nil {
			return err
		} else {
			r.Images++
		}
		o.Progress.Report(int64(done+1), int64(d.Len()))
	}
	if err := w.finish(); err != nil {
		return err
	}
	if r.Images == 0 {
		return errors.New("none of its images can be read")
	}
	if err := w.small(classesTxt, []byte(strings.Join(d.Classes, "\n")+"\n")); err != nil {
		return err
	}
	if d.Titles != nil {
		var b bytes.Buffer
		for i, c := range d.Classes {
			fmt.Fprintf(&b, "%s %s\n", c, d.Titles[i])
		}
		if err := w.small(synsetFiles[0], b.Bytes()); err != nil {
			return err
		}
	}
	r.Shards, r.Bytes = w.shards, w.bytes
	return nil
}

// mark makes the file that tells readers that the shards are not complete, and other
// writers which process writes them. unmark removes it.
func (w *shardWriter) mark() (unmark func() error, err error) {
	file := filepath.Join(w.dir, incomplete)
	release, err := lockfile.Take(file)
	held, ok := errors.AsType[*HeldError](err)
	switch {
	case ok:
		return nil, &HeldError{Path: w.dir, PID: held.PID}
	case errors.Is(err, lockfile.ErrUnsupported):
		release = func() { os.Remove(file) }
		err = w.small(incomplete, []byte("vgg is writing shards here\n"))
	}
	if err != nil {
		return nil, err
	}
	// Another process may have written its shards since the folder was looked at.
	if err := wantEmpty(w.dir); err != nil {
		release()
		return nil, err
	}
	return func() error {
		release()
		if _, err := os.Lstat(file); err == nil {
			return fmt.Errorf("%s: can't be removed", file)
		}
		return nil
	}, nil
}

// small writes a small file.
func (w *shardWriter) small(name string, data []byte) error {
	file := filepath.Join(w.dir, name)
	w.written = append(w.written, file)
	return atomicfile.Write(file, func(to io.Writer) error {
		_, err := to.Write(data)
		return err
	})
}

// shardSlack is room for the end of the archive and for the longer headers of names
// that are long or not ASCII.
const shardSlack = 10 * tarBlock

// memberBytes is the size of a member: its header, and its data in whole blocks.
func memberBytes(size int) int64 {
	return tarBlock + (int64(size)+tarBlock-1)/tarBlock*tarBlock
}

// add writes one sample, into a new shard if the current one would grow too large.
func (w *shardWriter) add(s Sample, data []byte) error {
	ext, label, sample := ".cls", strconv.Itoa(s.Label), shardSample{name: s.Name, shardClass: shardClass{label: s.Label}}
	if s.Labels != nil {
		ext, label = ".json", `{"labels":`+numberList(s.Labels)+"}"
		sample.labels = make([]shardClass, len(s.Labels))
		for i, l := range s.Labels {
			sample.labels[i].label = l
		}
	}
	if w.file != nil && w.at+memberBytes(len(data))+memberBytes(len(label))+shardSlack > w.size {
		if err := w.finish(); err != nil {
			return err
		}
	}
	if w.file == nil {
		if err := w.begin(); err != nil {
			return err
		}
	}
	name := escapeKey(s.Name)
	if err := w.member(name, data); err != nil {
		return err
	}
	sample.shardEntry = shardEntry{offset: w.at - memberBytes(len(data)) + tarBlock, size: int64(len(data)), sum: imageSum(data), summed: true}
	w.samples = append(w.samples, sample)
	key, _ := shardKey(name)
	return w.member(key+ext, []byte(label))
}

// numberList writes labels as a list of JSON.
func numberList(labels []int) string {
	return strings.ReplaceAll(fmt.Sprint(labels), " ", ",")
}

// member writes a file into the shard. The date is a constant, so that the same
// images give the same shards.
func (w *shardWriter) member(name string, data []byte) error {
	err := w.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o644, ModTime: time.Unix(0, 0),
	})
	if err == nil {
		_, err = w.tar.Write(data)
	}
	if err == nil {
		err = w.tar.Flush()
	}
	return err
}

// Write counts the bytes of the shard.
func (w *shardWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.sum.Write(p[:n])
	w.at += int64(n)
	return n, err
}

func (w *shardWriter) final() string {
	return filepath.Join(w.dir, fmt.Sprintf("shard-%06d%s", w.shards, shardExt))
}

func (w *shardWriter) begin() error {
	w.written = append(w.written, w.final())
	f, err := atomicfile.Create(w.final())
	if err != nil {
		return err
	}
	w.file, w.at, w.sum, w.samples = f, 0, sha256.New(), nil
	w.tar = tar.NewWriter(io.Writer(w))
	return nil
}

// finish completes the current shard, if there is one, and gives it its name.
func (w *shardWriter) finish() error {
	if w.file == nil {
		return nil
	}
	if err := w.tar.Close(); err != nil {
		return err
	}
	if err := w.small(filepath.Base(w.final())+indexExt, formatIndex(w.samples, w.at, w.sum.Sum(nil))); err != nil {
		return err
	}
	err := w.file.Commit()
	w.file = nil
	if err != nil {
		return err
	}
	w.shards++
	w.bytes += w.at
	return nil
}
