package weights

import (
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/verydeep/vgg/internal/protoscan"
)

// Limits on the description of a network. They are far above what any network has, and low
// enough to bound the memory that a hostile file can take.
const (
	maxProtoName   = 64 << 10 // bytes of a name
	maxProtoText   = 16 << 20 // bytes of a piece of metadata
	maxProtoLayers = 4000     // layers, nodes and tensors
	maxProtoParts  = 20_000   // inputs, outputs and attributes of all nodes
	maxProtoPieces = 1024     // pieces of a tensor's data
)

// piece is a part of a tensor's data: count elements, the first at byte at, each stride
// bytes after the one before.
type piece struct {
	at     int64
	count  int
	stride int64
}

// pieces is the data of a repeated float or double. The wire format allows elements that
// are packed, elements that each have a tag, and any mixture.
type pieces struct {
	dtype string
	all   []piece
	count int
}

// width is the bytes of an element.
func (d *pieces) width() int64 { return int64(dtypeBits(d.dtype) / 8) }

// add appends the field's elements.
func (d *pieces) add(f protoscan.Field) error {
	width := d.width()
	next := piece{at: f.Begin, count: 1, stride: width + int64(protowire.SizeTag(f.Num))}
	switch {
	case f.Type == protowire.Fixed32Type && width == 4, f.Type == protowire.Fixed64Type && width == 8:
		if n := len(d.all); n > 0 {
			last := &d.all[n-1]
			if last.stride == next.stride && last.at+int64(last.count)*last.stride == next.at {
				last.count++
				d.count++
				return nil
			}
		}
	case f.Type == protowire.BytesType && f.Length()%width == 0 && f.Length()/width <= math.MaxInt/16:
		if f.Length() == 0 {
			return nil
		}
		next.count, next.stride = int(f.Length()/width), width
	default:
		return malformed("", "byte %d: field %d doesn't hold elements of %d bytes", f.Begin, f.Num, width)
	}
	if len(d.all) == maxProtoPieces {
		return malformed("", "byte %d: data in more than %d pieces", f.Begin, maxProtoPieces)
	}
	d.all = append(d.all, next)
	d.count += next.count
	return nil
}

// describe sets in e the type of the data and where it is in r.
func (d *pieces) describe(e *entry, r io.ReaderAt) {
	e.DType = d.dtype
	if len(d.all) == 0 {
		return
	}
	e.begin = d.all[0].at
	if first := d.all[0]; len(d.all) == 1 && first.stride == d.width() {
		e.end = first.at + int64(first.count)*first.stride
		return
	}
	last := d.all[len(d.all)-1]
	e.end = last.at + int64(last.count-1)*last.stride + d.width()
	all, dtype := d.all, d.dtype
	e.read = func(start int, dst []float32) error { return readPieces(r, dtype, all, start, dst) }
}

// readPieces reads elements from number start on.
func readPieces(r io.ReaderAt, dtype string, all []piece, start int, dst []float32) error {
	width := int64(dtypeBits(dtype) / 8)
	buf := make([]byte, min(chunk, 16*int64(len(dst))))
	for _, p := range all {
		if start >= p.count {
			start -= p.count
			continue
		}
		for at := p.at + int64(start)*p.stride; start < p.count && len(dst) > 0; {
			n := min(p.count-start, len(dst), int(int64(len(buf))/p.stride))
			b := buf[:int64(n-1)*p.stride+width]
			if err := readFull(r, b, at); err != nil {
				return err
			}
			if p.stride > width { // close the gaps
				for i := int64(1); i < int64(n); i++ {
					copy(b[i*width:(i+1)*width], b[i*p.stride:])
				}
			}
			convert(dst[:n], b, dtype)
			dst = dst[n:]
			start += n
			at += int64(n) * p.stride
		}
		start = 0
		if len(dst) == 0 {
			return nil
		}
	}
	if len(dst) > 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}
