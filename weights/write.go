package weights

import (
	"bufio"
	"cmp"
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

	"github.com/verydeep/vgg/internal/atomicfile"
	"github.com/verydeep/vgg/tensor"
)

// Source is a tensor to write.
type Source struct {
	Name  string // any UTF-8 except "__metadata__"; once in a file
	Shape []int
	// Data yields the elements in row-major order, in pieces of any length, so that
	// elements in another order needn't be copied as a whole. A piece is written before
	// the next is asked for.
	Data iter.Seq[[]float32]
	// DType is the type to write: F32, for which "" stands too, F16 or BF16. Elements are
	// rounded to the nearest number of the type; of two equally near, to the even one. A
	// number beyond the type's range is an error. Infinities and NaNs are kept.
	DType string
}

// dtype returns the type of s in a file.
func (s *Source) dtype() string { return cmp.Or(s.DType, "F32") }

// FromTensor returns t as a Source with that name.
func FromTensor(name string, t *tensor.Tensor) Source {
	return Source{Name: name, Shape: t.Shape, Data: func(yield func([]float32) bool) { yield(t.Data) }}
}

// WriteSafetensors writes tensors, in the order given, and metadata to a safetensors
// file at path. Equal arguments give equal bytes.
//
// The file appears under its name only when it is complete and on disk, and then replaces
// an earlier one. On an error the earlier file is untouched and nothing else is left
// behind. A link at path is followed. Besides its arguments, WriteSafetensors needs memory
// for the header and a buffer.
//
// It is an error if a name is not allowed or comes twice, if a source has another number
// of elements than its shape or an element that its type can't hold, if a name or the
// metadata is not UTF-8, if the header would be over 100 MB, or if writing fails.
func WriteSafetensors(path string, metadata map[string]string, tensors []Source) error {
	return writeAny(path, func(w io.Writer) error { return encode(w, metadata, tensors) })
}

// EncodeSafetensors writes to w what WriteSafetensors writes to a file. On an error, a part
// of it has been written.
func EncodeSafetensors(w io.Writer, metadata map[string]string, tensors []Source) error {
	if err := encode(w, metadata, tensors); err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	return nil
}

// writeAny replaces the file at path by what encode writes.
func writeAny(path string, encode func(io.Writer) error) error {
	if err := atomicfile.Write(path, encode); err != nil {
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
		if err := writeElements(bw, t); err != nil {
			return err
		}
	}
	return bw.Flush()
}

// encodeHeader returns the file up to the tensors' data: the length, the JSON, and spaces
// up to a multiple of 8 bytes, as the reference implementation writes it.
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
		size, err := t.size()
		if err != nil {
			return nil, err
		}
		if size > math.MaxInt64-offset {
			return nil, fmt.Errorf("%s: shape %v negative or too large", display(t.Name), t.Shape)
		}
		if len(b) > lengthBytes+1 {
			b = append(b, ',')
		}
		shape := strings.Join(strings.Fields(fmt.Sprint(t.Shape)), ",")
		b = append(quote(b, t.Name), `:{"dtype":"`...)
		b = fmt.Appendf(b, `%s","shape":%s,"data_offsets":[%d,%d]}`, t.dtype(), shape, offset, offset+size)
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
