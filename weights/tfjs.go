package weights

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// tfjsModel is the model.json of a TensorFlow.js layers model: the model's config as
// Keras has it, and groups of tensors. The shards of a group, joined, hold the
// little-endian data of its tensors in the order given.
type tfjsModel struct {
	Format      string `json:"format"`
	GeneratedBy string `json:"generatedBy"`
	ConvertedBy string `json:"convertedBy"`
	Topology    struct {
		KerasVersion string          `json:"keras_version"`
		Backend      string          `json:"backend"`
		ModelConfig  json.RawMessage `json:"model_config"`
		ClassName    string          `json:"class_name"` // a model_config itself
		Config       json.RawMessage `json:"config"`
		Training     json.RawMessage `json:"training_config"`
	} `json:"modelTopology"`
	Training json.RawMessage `json:"trainingConfig"`
	Manifest []tfjsGroup     `json:"weightsManifest"`
}

type tfjsGroup struct {
	Paths   []string     `json:"paths"`
	Weights []tfjsWeight `json:"weights"`
}

type tfjsWeight struct {
	Name         string `json:"name"`
	DType        string `json:"dtype"`
	Shape        []int  `json:"shape"`
	Quantization *struct {
		DType string  `json:"dtype"`
		Min   float64 `json:"min"`
		Scale float64 `json:"scale"`
	} `json:"quantization"`
}

// tfjsMost is the most bytes that a model.json may have.
const tfjsMost = 64 << 20

// isTFJS looks for the manifest in the whole text: the topology comes before it and may be
// long.
func isTFJS(head []byte, r io.ReaderAt, size int64) bool {
	if !bytes.HasPrefix(bytes.TrimSpace(head), []byte("{")) || size > tfjsMost {
		return false
	}
	const key = `"weightsManifest"`
	buf := make([]byte, min(size, chunk))
	for at := int64(0); at < size; at += int64(len(buf) - len(key) + 1) {
		b := buf[:min(int64(len(buf)), size-at)]
		if readFull(r, b, at) != nil {
			return false
		}
		if bytes.Contains(b, []byte(key)) {
			return true
		}
		if len(b) < len(buf) || int64(len(b)) == size {
			return false
		}
	}
	return false
}

func readTFJS(r io.ReaderAt, size int64, beside *folder) (*header, error) {
	text := make([]byte, size)
	if err := readFull(r, text, 0); err != nil {
		return nil, err
	}
	var m tfjsModel
	if err := decodeKeras("model.json", text, &m); err != nil {
		return nil, err
	}
	if m.Format != "" && m.Format != "layers-model" {
		return nil, malformed("", "format %s, want layers-model", display(m.Format))
	}
	h := &header{meta: m.metadata()}
	shards, err := m.addEntries(h)
	if err != nil {
		return nil, err
	}
	for _, training := range []json.RawMessage{m.Topology.Training, m.Training} {
		if err := noteLoss(h, training); err != nil {
			return nil, err
		}
	}
	if config := m.config(); config != nil {
		if err := describeConfig(h, config); err != nil {
			return nil, err
		}
	}
	for i, g := range m.Manifest {
		if err := shards[i].open(g.Paths, beside); err != nil {
			return nil, err
		}
		if shards[i].have != shards[i].want {
			return nil, malformed("", "shards of group %d hold %d bytes, want %d", i, shards[i].have, shards[i].want)
		}
	}
	return h, nil
}

func (m *tfjsModel) metadata() map[string]string {
	meta := make(map[string]string)
	for key, value := range map[string]string{
		"generator": m.GeneratedBy, "converter": m.ConvertedBy, "keras_version": m.Topology.KerasVersion, "backend": m.Topology.Backend,
	} {
		if value != "" {
			meta[key] = value
		}
	}
	return meta
}

// config returns the model's config as Keras has it, nil if there is none.
func (m *tfjsModel) config() []byte {
	t := &m.Topology
	if t.ModelConfig != nil || t.ClassName == "" {
		return t.ModelConfig
	}
	config, _ := json.Marshal(kerasObject{ClassName: t.ClassName, Config: t.Config}) // of valid parts
	return config
}

// addEntries lists the tensors of the manifest in h. It returns the shards of each group,
// which aren't open yet.
func (m *tfjsModel) addEntries(h *header) ([]*tfjsShards, error) {
	shards := make([]*tfjsShards, len(m.Manifest))
	seen := make(map[string]bool)
	for i, g := range m.Manifest {
		shards[i] = &tfjsShards{}
		for _, path := range g.Paths {
			if !isFileName(path) {
				return nil, malformed("", "shard %s: want the name of a file in the same folder", display(path))
			}
		}
		for _, w := range g.Weights {
			if seen[w.Name] {
				return nil, malformed(w.Name, "name given twice")
			}
			seen[w.Name] = true
			e, err := w.entry(shards[i])
			if err != nil {
				return nil, err
			}
			h.entries = append(h.entries, e)
		}
	}
	return shards, nil
}

// entry describes w, and adds its data to what s must hold.
func (w *tfjsWeight) entry(s *tfjsShards) (entry, error) {
	stored := w.DType
	if w.Quantization != nil {
		stored = w.Quantization.DType
	}
	dtype, ok := map[string]string{
		"float32": "F32", "float16": "F16", "int32": "I32", "uint8": "U8", "uint16": "U16", "bool": "BOOL", "complex64": "C64",
	}[stored]
	if !ok {
		return entry{}, malformed(w.Name, "dtype %s, want float32, float16, int32, uint8, uint16, bool or complex64", display(stored))
	}
	if w.Shape == nil {
		w.Shape = []int{}
	}
	bytes, err := byteSize(dtype, w.Shape)
	if err != nil {
		return entry{}, malformed(w.Name, "%v", err)
	}
	if s.want > math.MaxInt64-bytes {
		return entry{}, malformed(w.Name, "shape %v has too many elements", w.Shape)
	}
	begin := s.want
	s.want += bytes
	e := entry{Entry: Entry{Name: w.Name, DType: dtype, Shape: w.Shape}}
	width := int64(dtypeBits(dtype) / 8)
	q := w.Quantization
	if q == nil || dtype == "F16" {
		e.read = func(start int, dst []float32) error { return s.read(dst, begin+int64(start)*width, dtype) }
		return e, nil
	}
	// A quantised tensor stands for one of float32: value = q·scale + min.
	if dtype != "U8" && dtype != "U16" {
		return entry{}, malformed(w.Name, "quantised to %s, want uint8, uint16 or float16", display(stored))
	}
	e.DType = "F32"
	e.read = func(start int, dst []float32) error {
		return s.readQuantised(dst, begin+int64(start)*width, int(width), q.Scale, q.Min)
	}
	return e, nil
}

// tfjsShards are the files of a group, read as if they were joined.
type tfjsShards struct {
	files      []io.ReaderAt
	ends       []int64
	have, want int64 // bytes of the files, and of the tensors
}

// open opens the files of these names.
func (s *tfjsShards) open(names []string, beside *folder) error {
	for _, name := range names {
		f, err := beside.file(name)
		if _, ok := err.(*FolderError); ok {
			return err
		}
		if err == nil && f.size > math.MaxInt64-s.have {
			err = errors.New("too large")
		}
		if err != nil {
			return fmt.Errorf("shard %s: %w", display(name), pathless(err))
		}
		s.have += f.size
		s.files = append(s.files, f)
		s.ends = append(s.ends, s.have)
	}
	return nil
}

// readFull reads len(b) bytes from byte at of the joined files on.
func (s *tfjsShards) readFull(b []byte, at int64) error {
	begin := int64(0)
	for i, end := range s.ends {
		if at < end && len(b) > 0 {
			n := min(int64(len(b)), end-at)
			if err := readFull(s.files[i], b[:n], at-begin); err != nil {
				return err
			}
			b = b[n:]
			at += n
		}
		begin = end
	}
	if len(b) > 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// read reads elements of a readable type from byte at of the joined files on.
func (s *tfjsShards) read(dst []float32, at int64, dtype string) error {
	width := dtypeBits(dtype) / 8
	b := make([]byte, min(chunk, len(dst)*width))
	for len(dst) > 0 {
		n := min(len(dst), len(b)/width)
		if err := s.readFull(b[:n*width], at); err != nil {
			return err
		}
		convert(dst[:n], b[:n*width], dtype)
		dst = dst[n:]
		at += int64(n * width)
	}
	return nil
}

// readQuantised reads numbers q of width bytes from byte at of the joined files on, and
// gives q·scale + least.
func (s *tfjsShards) readQuantised(dst []float32, at int64, width int, scale, least float64) error {
	b := make([]byte, min(chunk, len(dst)*width))
	for len(dst) > 0 {
		n := min(len(dst), len(b)/width)
		if err := s.readFull(b[:n*width], at); err != nil {
			return err
		}
		for i := range dst[:n] {
			q := float64(b[i*width])
			if width == 2 {
				q += 256 * float64(b[2*i+1])
			}
			dst[i] = float32(q*scale + least)
		}
		dst = dst[n:]
		at += int64(n * width)
	}
	return nil
}

// describeConfig adds the layers of a model's config to h.
func describeConfig(h *header, config []byte) error {
	chain, err := kerasChain(config)
	return describeChain(h, chain, err)
}
