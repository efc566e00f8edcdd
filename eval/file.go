package eval

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/verydeep/vgg/internal/lockfile"
)

// line is an image's line in a result file.
type line struct {
	Image     int    `json:"image"` // index in the set
	Net       int    `json:"net"`
	File      string `json:"file"`
	Label     int    `json:"label"`
	Posterior string `json:"posterior,omitempty"` // float32, little-endian, in base64
	Error     string `json:"error,omitempty"`
}

// file is a result file: a header and one line for every image and network, in the order
// in which they were done. The last of several lines of one image counts.
type file struct {
	path   string
	f      *os.File
	header Header
	index  map[key]place
	end    int64  // after the last whole line
	unlock func() // others that would write it; nil for a reader
}

type key struct{ net, image int }

type place struct {
	at         int64
	length     int
	unreadable bool
}

// openFile reads a result file, whose last line may be cut off.
func openFile(path string, flag int) (*file, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("eval: %s: not a file, want a result file", path)
	}
	f, err := os.OpenFile(path, flag, 0o666)
	if err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	r := &file{path: path, f: f, index: map[key]place{}}
	if err := r.read(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("eval: %s: %w", path, err)
	}
	return r, nil
}

// errEmpty is a file without a whole header.
var errEmpty = errors.New("no header, want a file of evaluation results")

// read reads the header and the places of the lines.
func (r *file) read(src io.Reader) error {
	in := bufio.NewReaderSize(src, 1<<16)
	for number := 1; ; number++ {
		text, err := in.ReadBytes('\n')
		if err == io.EOF {
			if number == 1 {
				if len(text) > 0 && !bytes.HasPrefix([]byte(`{"format":"vgg evaluation`), text[:min(len(text), 25)]) {
					return fmt.Errorf("line 1: not a file of evaluation results")
				}
				return errEmpty
			}
			return nil // what follows the last whole line was cut off
		}
		if err != nil {
			return err
		}
		if number == 1 {
			if err := json.Unmarshal(text, &r.header); err != nil {
				return fmt.Errorf("line 1: not a file of evaluation results: %w", err)
			}
			if err := r.header.validate(); err != nil {
				return fmt.Errorf("line 1: %w", err)
			}
		} else {
			var l line
			if err := json.Unmarshal(text, &l); err != nil {
				return fmt.Errorf("line %d: %w", number, err)
			}
			if err := r.check(l); err != nil {
				return fmt.Errorf("line %d: %w", number, err)
			}
			r.index[key{l.Net, l.Image}] = place{r.end, len(text), l.Error != ""}
		}
		r.end += int64(len(text))
	}
}

// check reports a line that can't be of the file's header.
func (r *file) check(l line) error {
	switch {
	case l.Net < 0 || l.Net >= len(r.header.Nets):
		return fmt.Errorf("network %d, want 0 to %d", l.Net, len(r.header.Nets)-1)
	case l.Image < 0 || l.Image >= r.header.Data.Images || !r.header.Shard.has(l.Image):
		return fmt.Errorf("image %d, want one of shard %v of %d", l.Image, r.header.Shard, r.header.Data.Images)
	case l.Label < 0 || l.Label >= len(r.header.Data.Classes):
		return fmt.Errorf("label %d, want 0 to %d", l.Label, len(r.header.Data.Classes)-1)
	case l.Error == "" && base64.StdEncoding.DecodedLen(len(l.Posterior)) < 4*len(r.header.Classes):
		return fmt.Errorf("image %d: a posterior of %d characters, want %d numbers", l.Image, len(l.Posterior), len(r.header.Classes))
	}
	return nil
}

// createFile opens the result file of a run, to go on with it or, where there is none,
// to begin it. A file of another run is an error that names the difference, one that
// another run is writing an error that names its process.
func createFile(path string, h Header) (_ *file, err error) {
	unlock, err := lockfile.Beside(path)
	if err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	defer func() {
		if err != nil {
			unlock()
		}
	}()
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		r, err := openFile(path, os.O_RDWR)
		if err == nil {
			if d := r.header.Difference(h); d != "" {
				r.close()
				return nil, fmt.Errorf("eval: %s: results of another run: %s", path, d)
			}
			if r.header.Shard != h.Shard {
				r.close()
				return nil, fmt.Errorf("eval: %s: results of another run: shard %v, want %v", path, r.header.Shard, h.Shard)
			}
			if err := r.cut(); err != nil {
				r.close()
				return nil, err
			}
			r.unlock = unlock
			return r, nil
		}
		if !errors.Is(err, errEmpty) {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	r := &file{path: path, f: f, header: h, index: map[key]place{}}
	if err := r.write(h, nil); err != nil {
		r.close()
		return nil, err
	}
	r.unlock = unlock
	return r, nil
}

// cut takes off what follows the last whole line.
func (r *file) cut() error {
	if err := r.f.Truncate(r.end); err != nil {
		r.close()
		return fmt.Errorf("eval: %w", err)
	}
	return nil
}

// write appends a line at once, so that an interruption leaves at most one in part.
func (r *file) write(v any, k *key) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("eval: %s: %w", r.path, err)
	}
	text = append(text, '\n')
	if _, err := r.f.WriteAt(text, r.end); err != nil {
		return fmt.Errorf("eval: results: %w", err)
	}
	if k != nil {
		r.index[*k] = place{r.end, len(text), v.(line).Error != ""}
	}
	r.end += int64(len(text))
	return nil
}

func (r *file) has(net, image int) state {
	switch p, ok := r.index[key{net, image}]; {
	case !ok:
		return absent
	case p.unreadable:
		return unreadable
	}
	return present
}

func (r *file) put(net, image int, a Answer) error {
	l := line{Image: image, Net: net, File: a.File, Label: a.Label}
	if a.Err != nil {
		l.Error = a.Err.Error()
		if r.has(net, image) == unreadable {
			return nil // it is said already
		}
	} else {
		l.Posterior = encodePosterior(a.Posterior)
	}
	return r.write(l, &key{net, image})
}

func (r *file) net(n int) source { return fileNet{r, n} }

type fileNet struct {
	r *file
	n int
}

func (s fileNet) answer(image int) (Answer, bool, error) {
	p, ok := s.r.index[key{s.n, image}]
	if !ok {
		return Answer{}, false, nil
	}
	text := make([]byte, p.length)
	if _, err := s.r.f.ReadAt(text, p.at); err != nil {
		return Answer{}, false, fmt.Errorf("eval: %s: image %d: %w", s.r.path, image, err)
	}
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return Answer{}, false, fmt.Errorf("eval: %s: image %d: %w", s.r.path, image, err)
	}
	a := Answer{File: l.File, Label: l.Label}
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

func (r *file) close() error {
	if r.unlock != nil {
		defer r.unlock()
	}
	if err := r.f.Close(); err != nil {
		return fmt.Errorf("eval: %w", err)
	}
	return nil
}

// sync makes sure that what was written is on the disk.
func (r *file) sync() error {
	if err := r.f.Sync(); err != nil {
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
