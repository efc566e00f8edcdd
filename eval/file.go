package eval

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/internal/lockfile"
)

// Errors of result files.
type (
	// HeldError is the error for a result file that another run is writing:
	// Path names it, and PID the process, 0 if not known.
	HeldError = lockfile.HeldError
	// OtherRunError is the error for a result file of another run.
	OtherRunError = journal.OtherRunError
	// FormatError is the error for a file that is no result file, or a damaged one.
	FormatError = journal.FormatError
)

// line is an image's line in a result file.
type line struct {
	Image     int    `json:"image"` // index in the set
	Net       int    `json:"net"`
	File      string `json:"file"`
	Label     int    `json:"label"`
	Labels    []int  `json:"labels,omitempty"`    // of a set with several labels an image
	Posterior string `json:"posterior,omitempty"` // float32, little-endian, in base64
	dataset.Version
	Error string `json:"error,omitempty"`
}

// resultFile is a result file: a header and one line for every image and network, in the order
// in which they were done. Of several lines of one image the last one counts.
type resultFile struct {
	path   string
	header Header
	lines  *journal.File
	index  map[key]entry

	// What follow compares the images with.
	versions map[key]dataset.Version // of the lines; nil of a reader and after follow
	follows  *dataset.Versions       // of the images; nil before follow
}

type key struct{ net, image int }

// entry is what the index knows of a line.
type entry struct {
	at         journal.Place
	unreadable bool
	changed    bool // errChanged
}

func newFile(path string) *resultFile { return &resultFile{path: path, index: map[key]entry{}} }

// kind describes result files. What is read of one goes into r.
func (r *resultFile) kind() journal.Kind[Header, line] {
	return journal.Kind[Header, line]{
		Format: fileFormat,
		Name:   "a file of evaluation results",
		Holds:  "results",
		Header: func(h Header) error {
			r.header = h
			return h.validate()
		},
		Line: func(l line, at journal.Place) error {
			if err := r.check(l); err != nil {
				return err
			}
			k := key{l.Net, l.Image}
			r.index[k] = entry{at, l.Error != "", l.Error == errChanged.Error()}
			if r.versions == nil {
				return nil
			}
			if delete(r.versions, k); l.Error == "" {
				r.versions[k] = l.Version
			}
			return nil
		},
		Difference: func(was, want Header) string {
			if d := was.difference(want); d != "" {
				return d
			}
			if was.Shard != want.Shard {
				return fmt.Sprintf("shard %v, want %v", was.Shard, want.Shard)
			}
			return ""
		},
	}
}

// openFile opens a result file for reading. Its last line may be cut off.
func openFile(ctx context.Context, path string) (*resultFile, error) {
	r := newFile(path)
	var err error
	if r.lines, err = r.kind().Open(ctx, path); err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	return r, nil
}

// createFile opens the result file of the run with the header h, to go on with it, or makes
// it. The error is a [*HeldError], an [*OtherRunError] or a [*FormatError] if the file isn't
// this run's to write.
func createFile(ctx context.Context, path string, h Header) (*resultFile, error) {
	r := newFile(path)
	r.versions = map[key]dataset.Version{}
	var err error
	if r.lines, err = r.kind().Resume(ctx, path, h); err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	if !r.lines.Resumed {
		r.header = h
	}
	return r, nil
}

// keepOrientation gives h the orientation that the result file at path was made with, if the
// images are the same the one way and the other. Files of earlier versions were made with
// pixels as they are stored.
func (h *Header) keepOrientation(ctx context.Context, path string, data *dataset.Dataset) error {
	was, ok := newFile(path).kind().Peek(path)
	if !ok || len(was.Nets) != len(h.Nets) {
		return nil
	}
	nets := slices.Clone(h.Nets)
	for i := range nets {
		nets[i].Preprocess.Orient = was.Nets[i].Preprocess.Orient
	}
	if slices.EqualFunc(nets, h.Nets, func(a, b NetID) bool { return a.Preprocess.Orient == b.Preprocess.Orient }) {
		return nil
	}
	turned, err := data.AnyTurned(ctx)
	if err == nil && !turned {
		h.Nets = nets
	}
	return err
}

// check reports a line that the header doesn't allow.
func (r *resultFile) check(l line) error {
	switch {
	case l.Net < 0 || l.Net >= len(r.header.Nets):
		return fmt.Errorf("network %d, want 0 to %d", l.Net, len(r.header.Nets)-1)
	case l.Image < 0 || l.Image >= r.header.Data.Images || !r.header.Shard.has(l.Image):
		return fmt.Errorf("image %d, want one of shard %v of %d", l.Image, r.header.Shard, r.header.Data.Images)
	case l.Label < 0 || l.Label >= len(r.header.Data.Classes):
		return fmt.Errorf("label %d, want 0 to %d", l.Label, len(r.header.Data.Classes)-1)
	case slices.ContainsFunc(l.Labels, func(label int) bool { return label < 0 || label >= len(r.header.Data.Classes) }):
		return fmt.Errorf("labels %s, want 0 to %d", journal.List(l.Labels), len(r.header.Data.Classes)-1)
	case l.Error == "" && base64.StdEncoding.DecodedLen(len(l.Posterior)) < 4*len(r.header.Classes):
		return fmt.Errorf("image %d: a posterior of %d characters, want %d numbers", l.Image, len(l.Posterior), len(r.header.Classes))
	}
	return nil
}

func (r *resultFile) has(net, image int) answerState {
	switch e, ok := r.index[key{net, image}]; {
	case !ok || e.changed:
		return absent
	case e.unreadable:
		return unreadable
	}
	return present
}

func (r *resultFile) put(net, image int, a Answer) error {
	l := line{Image: image, Net: net, File: a.File, Label: a.Label, Labels: a.Labels}
	if a.Err != nil {
		l.Error = a.Err.Error()
		if r.has(net, image) == unreadable {
			return nil // the file says so already
		}
	} else {
		l.Posterior, l.Version = encodePosterior(a.Posterior), r.version(image)
	}
	at, err := r.lines.Append(l)
	if err != nil {
		return fmt.Errorf("eval: results: %w", err)
	}
	r.index[key{net, image}] = entry{at, l.Error != "", a.Err == errChanged}
	return nil
}

func (r *resultFile) net(n int) source { return resultFileNet{r, n} }

type resultFileNet struct {
	r *resultFile
	n int
}

func (s resultFileNet) answer(image int) (Answer, bool, error) {
	e, ok := s.r.index[key{s.n, image}]
	if !ok {
		return Answer{}, false, nil
	}
	var l line
	if err := s.r.lines.Read(e.at, &l); err != nil {
		return Answer{}, false, fmt.Errorf("eval: image %d: %w", image, err)
	}
	a := Answer{File: l.File, Label: l.Label, Labels: l.Labels}
	if l.Error != "" {
		a.Err = errors.New(l.Error)
		return a, true, nil
	}
	var err error
	if a.Posterior, err = decodePosterior(l.Posterior, len(s.r.header.Classes)); err != nil {
		return Answer{}, false, fmt.Errorf("eval: %s: image %d: %w", s.r.path, image, err)
	}
	return a, true, nil
}

func (r *resultFile) close() error {
	if err := r.lines.Close(); err != nil {
		return fmt.Errorf("eval: %w", err)
	}
	return nil
}

// sync makes what was written last through a power failure.
func (r *resultFile) sync() error {
	if err := r.lines.Sync(); err != nil {
		return fmt.Errorf("eval: %w", err)
	}
	return nil
}

func encodePosterior(p []float32) string {
	raw := make([]byte, 4*len(p))
	for i, v := range p {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(v))
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func decodePosterior(text string, classes int) ([]float32, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("posterior: %w", err)
	}
	if len(raw) != 4*classes {
		return nil, fmt.Errorf("posterior of %d bytes, want %d", len(raw), 4*classes)
	}
	p := make([]float32, classes)
	for i := range p {
		p[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		if v := float64(p[i]); !(v >= 0 && v <= 1.001) {
			return nil, fmt.Errorf("posterior: class %d has %v, want a probability", i, v)
		}
	}
	return p, nil
}
