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
// Keras has it, and the tensors, whose little-endian data lie in the given order in
// the shards, one after the other.
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
	} `json:"modelTopology"`
	Manifest []tfjsGroup `json:"weightsManifest"`
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

// isTFJS looks for the manifest in the whole text, since the topology, which may be
// long, comes first.
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
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, malformed("", "model.json: %v", err)
	}
	if m.Format != "" && m.Format != "layers-model" {
		return nil, malformed("", "format %s, want layers-model", display(m.Format))
	}
	h := &header{meta: make(map[string]string)}
	for key, value := range map[string]string{
		"generator": m.GeneratedBy, "converter": m.ConvertedBy, "keras_version": m.Topology.KerasVersion, "backend": m.Topology.Backend,
	} {
		if value != "" {
			h.meta[key] = value
		}
	}
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
	config := m.Topology.ModelConfig
	if config == nil && m.Topology.ClassName != "" {
		config, _ = json.Marshal(kerasObject{ClassName: m.Topology.ClassName, Config: m.Topology.Config}) // of valid parts
	}
	if config != nil {
		if err := describeConfig(h, config); err != nil {
			return nil, err
		}
	}
	for i, g := range m.Manifest {
		for _, path := range g.Paths {
			f, err := beside.file(path)
			if err == nil {
				err = shards[i].add(f)
			}
			if _, ok := err.(*FolderError); ok {
				return nil, err
			}
			if err != nil {
				return nil, fmt.Errorf("shard %s: %w", display(path), pathless(err))
			}
		}
		if shards[i].have != shards[i].want {
			return nil, malformed("", "shards of group %d hold %d bytes, want %d", i, shards[i].have, shards[i].want)
		}
	}
	return h, nil
}

// entry describes w, whose data follow those that s has been told of.
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
	// A quantised tensor is one of float32: value = q·scale + min.
	if dtype != "U8" && dtype != "U16" {
		return entry{}, malformed(w.Name, "quantised to %s, want uint8, uint16 or float16", display(stored))
	}
	e.DType = "F32"
	e.read = func(start int, dst []float32) error {
		b := make([]byte, min(chunk, int64(len(dst))*width))
		at := begin + int64(start)*width
		for len(dst) > 0 {
			n := min(len(dst), len(b)/int(width))
			if err := s.readFull(b[:n*int(width)], at); err != nil {
				return err
			}
			for i := range dst[:n] {
				v := float64(b[i*int(width)])
				if width == 2 {
					v += 256 * float64(b[2*i+1])
				}
				dst[i] = float32(v*q.Scale + q.Min)
			}
			dst = dst[n:]
			at += int64(n) * width
		}
		return nil
	}
	return e, nil
}

// tfjsShards are the files of a group of weights, read as one.
type tfjsShards struct {
	files      []io.ReaderAt
	ends       []int64
	have, want int64 // bytes of the files, and of the tensors
}

func (s *tfjsShards) add(f *folderFile) error {
	if f.size > math.MaxInt64-s.have {
		return errors.New("too large")
	}
	s.have += f.size
	s.files = append(s.files, f)
	s.ends = append(s.ends, s.have)
	return nil
}

// readFull reads len(b) bytes at a place in the concatenated files.
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

// describeConfig puts the layers of a model's config into h, or why they are no chain.
func describeConfig(h *header, config []byte) error {
	chain, err := kerasChain(config)
	if why, ok := errors.AsType[*unchainedError](err); ok {
		unchained(h, why)
		return nil
	}
	if err == nil {
		describeLayers(h, chain)
	}
	return err
}
