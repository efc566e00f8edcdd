package train

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"math"
	"path/filepath"
	"runtime/debug"
	"slices"

	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/weights"
)

// runState is the part of a checkpoint that is not tensors. Random numbers are a function
// of seed, epoch and iteration, so that no generator has a state.
type runState struct {
	Version int    `json:"version"` // of this structure
	Program string `json:"program"`
	ISA     string `json:"isa"` // instruction set, on which the bits depend

	Recipe string            `json:"recipe"`         // YAML
	Task   string            `json:"task,omitempty"` // identity; "": classification
	Note   map[string]string `json:"note,omitempty"`
	Init   *InitReport       `json:"init,omitempty"`

	Train imageSet  `json:"train"`
	Val   *imageSet `json:"val"`

	Stats preprocess.Stats `json:"stats"` // of the training set
	Spec  preprocess.Spec  `json:"preprocess"`

	Epoch     int  `json:"epoch"`   // current one, from 1
	Batches   int  `json:"batches"` // done in it
	Iteration int  `json:"iteration"`
	Stopped   bool `json:"stopped"` // by the schedule

	Partial    partialEpoch `json:"partial"`
	Schedule   rateState    `json:"schedule"`
	Best       *Epoch       `json:"best"`
	Seconds    float64      `json:"seconds"`
	Wait       float64      `json:"wait_seconds"`
	Unreadable []string     `json:"unreadable"`
	Rescues    []Rescue     `json:"rescues,omitempty"`
	Judged     lossState    `json:"judged"`

	MetricsBytes int64  `json:"metrics_bytes"`
	EventsFile   string `json:"events_file,omitempty"`
	EventsBytes  int64  `json:"events_bytes,omitempty"`
}

// stateVersion is the version of the checkpoints that are written and read.
const stateVersion = 1

// partialEpoch sums up the batches done in an epoch.
type partialEpoch struct {
	Loss    float64 `json:"loss"` // summed over images
	Images  int     `json:"images"`
	Seconds float64 `json:"seconds"`
	Wait    float64 `json:"wait_seconds"`
}

// imageSet identifies the images of a run.
type imageSet struct {
	Name        string   `json:"name"`
	Images      int      `json:"images"`
	Classes     []string `json:"classes"`
	Fingerprint string   `json:"fingerprint"` // of names, labels and sizes
	// Times and Contents are hashes of [dataset.Versions]. Checkpoints of earlier versions have
	// neither, those of runs without Options.Verify no Contents.
	Times    string `json:"times,omitempty"`
	Contents string `json:"contents,omitempty"`
}

// difference describes how the images of a run that resumes differ from the checkpoint's;
// "" if they don't.
func (s imageSet) difference(was imageSet) string {
	switch {
	case s.Fingerprint == was.Fingerprint:
		return ""
	case !slices.Equal(s.Classes, was.Classes):
		return fmt.Sprintf("%s has %s, the checkpoint %s", s.Name, classNames(s.Classes), classNames(was.Classes))
	case s.Images != was.Images:
		return fmt.Sprintf("%s has %d images, the checkpoint %d", s.Name, s.Images, was.Images)
	}
	return fmt.Sprintf("the images of %s have other names, classes or sizes than those of the checkpoint", s.Name)
}

// describe names the set and the number of its images; "none" for nil.
func (s *imageSet) describe() string {
	if s == nil {
		return "none"
	}
	return fmt.Sprintf("%s with %d", s.Name, s.Images)
}

// rateState is the state of a schedule in a checkpoint; Best is nil before the first
// validation.
type rateState struct {
	Value     float64  `json:"value"`
	Best      *float64 `json:"best"`
	Waited    int      `json:"waited"`
	Decreases int      `json:"decreases"`
}

func (r *rate) state() rateState {
	s := rateState{Value: r.value, Waited: r.waited, Decreases: r.decreases}
	if !math.IsInf(r.best, 0) {
		s.Best = &r.best
	}
	return s
}

func (r *rate) restore(s rateState) {
	r.value, r.waited, r.decreases, r.best = s.Value, s.Waited, s.Decreases, math.Inf(1)
	if s.Best != nil {
		r.best = *s.Best
	}
}

// programVersion returns the version of the program's main module.
func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return unversioned
}

// unversioned is the version of every program that was built without one.
const unversioned = "(devel)"

const (
	metaCheckpoint = "vgg.checkpoint" // the state, in JSON
	momentumPrefix = "momentum/"      // before the name of the parameter
	checksumTensor = "checksum"       // the file's last tensor
	checksumWords  = sha256.Size / 2
)

// checksum is the SHA-256 of a checkpoint's state and tensors. In the file it is the last
// tensor, with the 16-bit words of the hash as values, since it is known only when
// everything else has been written.
type checksum struct {
	hash hash.Hash
	buf  []byte
}

func newChecksum(state string) *checksum {
	c := &checksum{hash: sha256.New()}
	c.text(state)
	return c
}

func (c *checksum) text(s string) {
	fmt.Fprintf(c.hash, "%d\n", len(s))
	io.WriteString(c.hash, s)
}

func (c *checksum) floats(v []float32) {
	const piece = 1 << 14
	for part := range slices.Chunk(v, piece) {
		c.buf = c.buf[:0]
		for _, x := range part {
			c.buf = binary.LittleEndian.AppendUint32(c.buf, math.Float32bits(x))
		}
		c.hash.Write(c.buf)
	}
}

func (c *checksum) words() []float32 {
	sum := c.hash.Sum(nil)
	words := make([]float32, checksumWords)
	for i := range words {
		words[i] = float32(binary.LittleEndian.Uint16(sum[2*i:]))
	}
	return words
}

// writeCheckpoint writes a checkpoint. The file gets its name when it is complete and on
// disk.
func writeCheckpoint(path string, s runState, tensors []weights.Source) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("train: checkpoint %s: %w", path, err)
	}
	sum := newChecksum(string(text))
	var summed []weights.Source
	for _, t := range tensors {
		data := t.Data
		t.Data = func(yield func([]float32) bool) {
			sum.text(t.Name)
			for v := range data {
				sum.floats(v)
				if !yield(v) {
					return
				}
			}
		}
		summed = append(summed, t)
	}
	summed = append(summed, weights.Source{Name: checksumTensor, Shape: []int{checksumWords},
		Data: func(yield func([]float32) bool) { yield(sum.words()) }})
	return weights.WriteSafetensors(path, map[string]string{metaCheckpoint: string(text)}, summed)
}

// readState reads a checkpoint's state from its open file.
func readState(f *weights.File) (runState, error) {
	var s runState
	text, ok := f.Metadata()[metaCheckpoint]
	if !ok {
		return s, fmt.Errorf("train: checkpoint %s: no %s in the metadata: not a checkpoint", f.Name(), metaCheckpoint)
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("train: checkpoint %s: %s: %w", f.Name(), metaCheckpoint, err)
	}
	if s.Version != stateVersion {
		return s, fmt.Errorf("train: checkpoint %s: version %d, want %d", f.Name(), s.Version, stateVersion)
	}
	if s.Epoch < 1 || s.Batches < 0 || s.Iteration < 0 {
		return s, fmt.Errorf("train: checkpoint %s: epoch %d, %d batches done, iteration %d: no run comes there", f.Name(), s.Epoch, s.Batches, s.Iteration)
	}
	return s, nil
}

// verify compares the content of a checkpoint with its checksum.
func verify(ctx context.Context, f *weights.File) error {
	sum := newChecksum(f.Metadata()[metaCheckpoint])
	entries := f.Tensors()
	if len(entries) == 0 || entries[len(entries)-1].Name != checksumTensor || !slices.Equal(entries[len(entries)-1].Shape, []int{checksumWords}) {
		return fmt.Errorf("train: checkpoint %s: no checksum", f.Name())
	}
	var buf []float32
	for _, e := range entries[:len(entries)-1] {
		sum.text(e.Name)
		n := 1
		for _, d := range e.Shape {
			n *= d
		}
		for at := 0; at < n; at += pieceFloats {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			part := slices.Grow(buf[:0], min(pieceFloats, n-at))[:min(pieceFloats, n-at)]
			buf = part
			if err := f.ReadRange(e.Name, at, part); err != nil {
				return err
			}
			sum.floats(part)
		}
	}
	found, err := f.Read(checksumTensor)
	if err != nil {
		return err
	}
	if !slices.Equal(found.Data, sum.words()) {
		return fmt.Errorf("train: checkpoint %s: its content doesn't have its checksum: the file is damaged", f.Name())
	}
	return nil
}

// pieceFloats is the number of values that are converted at a time between file and memory.
const pieceFloats = 1 << 20

// rowsOf calls f for successive ranges of rows of p with about pieceFloats values each,
// until f returns false.
func rowsOf(p *nn.Param, f func(k0, n, row int) bool) {
	row := p.Len() / p.Shape[0]
	rows := max(1, pieceFloats/row)
	for k := 0; k < p.Shape[0]; k += rows {
		if !f(k, min(rows, p.Shape[0]-k), row) {
			return
		}
	}
}

// momentumSource returns the momentum of p, which is in p's packed order, as a tensor to
// write.
func momentumSource(p *nn.Param, packed []float32) weights.Source {
	return weights.Source{Name: momentumPrefix + p.Name, Shape: p.Shape, Data: func(yield func([]float32) bool) {
		var buf []float32
		rowsOf(p, func(k0, n, row int) bool {
			buf = slices.Grow(buf[:0], n*row)[:n*row]
			return p.UnpackRows(k0, buf, packed) == nil && yield(buf)
		})
	}}
}

// readMomentum reads what momentumSource wrote.
func readMomentum(f *weights.File, p *nn.Param, packed []float32) error {
	return readRows(f, momentumPrefix+p.Name, p, func(k0 int, v []float32) error { return p.PackRows(k0, packed, v) })
}

// readRows reads the named tensor piece by piece. Its shape must be p's.
func readRows(f *weights.File, name string, p *nn.Param, set func(k0 int, v []float32) error) error {
	e, err := f.Lookup(name)
	if err != nil {
		return err
	}
	if !slices.Equal(e.Shape, p.Shape) {
		return &weights.ShapeError{File: f.Name(), Tensor: name, Shape: e.Shape, Want: p.Shape}
	}
	var buf []float32
	rowsOf(p, func(k0, n, row int) bool {
		buf = slices.Grow(buf[:0], n*row)[:n*row]
		if err = f.ReadRange(name, k0*row, buf); err == nil {
			err = set(k0, buf)
		}
		return err == nil
	})
	return err
}

// checkpointPath returns the path of an iteration's checkpoint in a run directory.
func checkpointPath(dir string, iteration int) string {
	return filepath.Join(dir, CheckpointDir, fmt.Sprintf("checkpoint-%010d.safetensors", iteration))
}
