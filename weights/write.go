package weights

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/verydeep/vgg/tensor"
)

// Source is a tensor to write.
type Source struct {
	Name  string // any UTF-8 but "__metadata__"; once in a file
	Shape []int
	// Data yields the elements in row-major order, in pieces of any length, so
	// that what is kept in another order need not be held twice. A piece is
	// written before the next is asked for.
	Data iter.Seq[[]float32]
}

// FromTensor returns t as a Source of that name.
func FromTensor(name string, t *tensor.Tensor) Source {
	return Source{Name: name, Shape: t.Shape, Data: func(yield func([]float32) bool) { yield(t.Data) }}
}

// WriteSafetensors writes tensors, in the order given, as F32, and metadata to
// a safetensors file at path. Equal arguments give equal bytes.
//
// The file appears under its name only when it is complete and on disk, and
// then in place of any earlier one; on an error the earlier one is untouched,
// and nothing else is left behind. A link at path is followed. Beyond what is
// passed in, it needs memory for the header and a buffer only.
//
// It is an error if a name is not allowed or comes twice, if a source has
// another number of elements than its shape, if a name or the metadata is not
// UTF-8, if the header would be over 100 MB, or if writing fails.
func WriteSafetensors(path string, metadata map[string]string, tensors []Source) error {
	return writeFile(osFiles{}, path, metadata, tensors)
}

// EncodeSafetensors writes to w what WriteSafetensors writes to a file. On an
// error, w has got a part of it.
func EncodeSafetensors(w io.Writer, metadata map[string]string, tensors []Source) error {
	if err := encode(w, metadata, tensors); err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	return nil
}

func writeFile(files files, path string, metadata map[string]string, tensors []Source) error {
	err := writeAtomic(files, path, func(w io.Writer) error {
		return encode(w, metadata, tensors)
	})
	if err != nil {
		return fmt.Errorf("weights: %s: %w", path, pathless(err))
	}
	return nil
}

func encode(w io.Writer, metadata map[string]string, tensors []Source) error {
	head, err := encodeHeader(metadata, tensors)
	if err != nil {
		return err
	}
	bw := bufio.NewWriterSize(w, chunk)
	bw.Write(head) // bw keeps the first error, which every later call returns
	for _, t := range tensors {
		want, _ := tensor.Size(t.Shape...)
		given := 0
		for data := range t.Data {
			given += len(data)
			if given > want {
				break
			}
			if err := writeFloats(bw, data); err != nil {
				return err
			}
		}
		if given != want {
			return fmt.Errorf("%s: %d elements given, want %d of shape %v", display(t.Name), given, want, t.Shape)
		}
	}
	return bw.Flush()
}

// writeFloats appends the little-endian bytes of data to bw, in its own buffer.
func writeFloats(bw *bufio.Writer, data []float32) error {
	for len(data) > 0 {
		if bw.Available() < 4 {
			if err := bw.Flush(); err != nil {
				return err
			}
		}
		b := bw.AvailableBuffer()
		n := min(len(data), bw.Available()/4)
		for _, v := range data[:n] {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		if _, err := bw.Write(b); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// encodeHeader returns the file up to the tensors' data: length, JSON, and
// spaces up to a multiple of 8 bytes, as the reference implementation has it.
func encodeHeader(metadata map[string]string, tensors []Source) ([]byte, error) {
	b := make([]byte, lengthBytes)
	b = append(b, '{')
	if len(metadata) > 0 {
		b = append(b, `"`+metadataKey+`":{`...)
		for i, k := range slices.Sorted(maps.Keys(metadata)) {
			if !utf8.ValidString(k) || !utf8.ValidString(metadata[k]) {
				return nil, fmt.Errorf("metadata: %s: not UTF-8", display(k))
			}
			if len(k)+len(metadata[k]) > maxHeader-len(b) {
				return nil, fmt.Errorf("metadata: %s: header grows too long, want at most %d bytes", display(k), maxHeader)
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = append(quote(b, k), ':')
			b = quote(b, metadata[k])
		}
		b = append(b, '}')
	}
	seen := make(map[string]bool, len(tensors))
	offset := int64(0)
	for _, t := range tensors {
		switch {
		case t.Name == metadataKey:
			return nil, fmt.Errorf("%s: the metadata's name, want another", t.Name)
		case seen[t.Name]:
			return nil, fmt.Errorf("%s: name given twice", display(t.Name))
		case !utf8.ValidString(t.Name):
			return nil, fmt.Errorf("%s: name is not UTF-8", display(t.Name))
		case len(t.Shape) > maxAxes:
			return nil, fmt.Errorf("%s: %d axes, want at most %d", display(t.Name), len(t.Shape), maxAxes)
		}
		seen[t.Name] = true
		size, err := byteSize("F32", t.Shape)
		if err != nil || size > math.MaxInt64-offset {
			return nil, fmt.Errorf("%s: shape %v negative or too large", display(t.Name), t.Shape)
		}
		if len(b) > lengthBytes+1 {
			b = append(b, ',')
		}
		shape := strings.Join(strings.Fields(fmt.Sprint(t.Shape)), ",")
		b = append(quote(b, t.Name), `:{"dtype":"F32","shape":`...)
		b = fmt.Appendf(b, `%s,"data_offsets":[%d,%d]}`, shape, offset, offset+size)
		offset += size
	}
	b = append(b, '}')
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	if len(b)-lengthBytes > maxHeader {
		return nil, fmt.Errorf("header of %d bytes, want at most %d", len(b)-lengthBytes, maxHeader)
	}
	binary.LittleEndian.PutUint64(b, uint64(len(b)-lengthBytes))
	return b, nil
}

// quote appends s, valid UTF-8, as a JSON string.
func quote(b []byte, s string) []byte {
	var sb strings.Builder
	e := json.NewEncoder(&sb)
	e.SetEscapeHTML(false)
	e.Encode(s) // a string always encodes
	return append(b, strings.TrimSuffix(sb.String(), "\n")...)
}
