package weights

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/verydeep/vgg/tensor"
)

const (
	lengthBytes = 8           // the header's length, which opens the file
	maxHeader   = 100_000_000 // bytes, the limit of the reference implementation
	maxAxes     = 64
	maxMetadata = 1 << 16 // keys of it
	metadataKey = "__metadata__"
)

// header is the checked description of a file's tensors. The entries of a safetensors
// file are in the order of their data, which fills the rest of the file without gaps or
// overlaps.
type header struct {
	meta    map[string]string
	entries []entry
	layers  []Layer       // of formats that describe the network, first to last
	shards  []*folderFile // of an index of shards, in the order of their names
}

// readHeader reads and checks the header of a file of size bytes. Its errors
// lack the file's name.
func readHeader(r io.ReaderAt, size int64) (*header, error) {
	opening := make([]byte, min(size, sniffBytes))
	if err := readFull(r, opening, 0); err != nil {
		return nil, err
	}
	length, err := sniff(opening, r, size)
	if err != nil {
		return nil, err
	}
	if length > maxHeader {
		return nil, malformed("", "header of %d bytes claimed, want at most %d", length, maxHeader)
	}
	if int64(length) > size-lengthBytes {
		return nil, malformed("", "truncated: header of %d bytes claimed, %d bytes follow", length, size-lengthBytes)
	}
	text := make([]byte, length)
	if err := readFull(r, text, lengthBytes); err != nil {
		return nil, err
	}
	if !utf8.Valid(text) {
		return nil, malformed("", "header is not UTF-8")
	}
	var h header
	if err := parseHeader(string(text), &h); err != nil {
		return nil, err
	}
	return &h, h.checkOffsets(lengthBytes+int64(length), size)
}

// checkOffsets checks the entries' offsets against each other and the file's size. The
// offsets count from the header's end at byte base; checkOffsets makes them count from
// the file's start.
func (h *header) checkOffsets(base, size int64) error {
	slices.SortFunc(h.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), strings.Compare(a.Name, b.Name))
	})
	data := size - base
	end, before := int64(0), ""
	for i := range h.entries {
		e := &h.entries[i]
		switch {
		case e.begin > e.end:
			return malformed(e.Name, "data_offsets [%d %d] run backwards", e.begin, e.end)
		case e.end > data:
			return malformed(e.Name, "truncated: data_offsets [%d %d], but the file has %d bytes of data", e.begin, e.end, data)
		case e.begin < end:
			return malformed(e.Name, "data begins at %d, inside that of %s, which ends at %d", e.begin, display(before), end)
		case e.begin > end:
			return malformed(e.Name, "data begins at %d, want %d: the bytes between belong to no tensor", e.begin, end)
		}
		bytes, err := byteSize(e.DType, e.Shape)
		if err != nil {
			return malformed(e.Name, "%v", err)
		}
		if bytes != e.end-e.begin {
			return malformed(e.Name, "%s of shape %v is %d bytes, but data_offsets [%d %d] hold %d",
				e.DType, e.Shape, bytes, e.begin, e.end, e.end-e.begin)
		}
		end, before = e.end, e.Name
		e.begin += base
		e.end += base
	}
	if end != data {
		return malformed("", "%d bytes after the last tensor's data", data-end)
	}
	return nil
}

// byteSize returns the bytes of a tensor's data.
func byteSize(dtype string, shape []int) (int64, error) {
	width := dtypeBits(dtype)
	if width == 0 {
		return 0, fmt.Errorf("unknown dtype %s", display(dtype))
	}
	n, err := tensor.Size(shape...)
	if err != nil || int64(n) > math.MaxInt64/int64(width) {
		return 0, fmt.Errorf("shape %v has too many elements", shape)
	}
	bits := int64(n) * int64(width)
	if bits%8 != 0 {
		return 0, fmt.Errorf("%s of shape %v doesn't fill whole bytes", dtype, shape)
	}
	return bits / 8, nil
}

// readFull reads len(b) bytes from byte at on. It is an io.ErrUnexpectedEOF if the file
// ends before that.
func readFull(r io.ReaderAt, b []byte, at int64) error {
	if n, err := r.ReadAt(b, at); n < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

// headerLength returns the header's length that a safetensors file begins with.
func headerLength(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// malformed returns a *FormatError without the file's name.
func malformed(tensor, format string, args ...any) error {
	return &FormatError{Tensor: tensor, Reason: fmt.Sprintf(format, args...)}
}
