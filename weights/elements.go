package weights

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/verydeep/vgg/internal/bfloat16"
	"github.com/verydeep/vgg/tensor"
)

// size returns the bytes of s in a file. Errors name the tensor.
func (s *Source) size() (int64, error) {
	switch s.dtype() {
	case "F32", "F16", "BF16":
	default:
		return 0, fmt.Errorf("%s: dtype %s to write, want F32, F16 or BF16", display(s.Name), display(s.DType))
	}
	size, err := byteSize(s.dtype(), s.Shape)
	if err != nil {
		return 0, fmt.Errorf("%s: shape %v negative or too large", display(s.Name), s.Shape)
	}
	return size, nil
}

// writeElements writes the elements of s to bw, little-endian, and checks their number.
func writeElements(bw *bufio.Writer, s Source) error {
	want, _ := tensor.Size(s.Shape...)
	given := 0
	for data := range s.Data {
		if len(data) > want-given {
			given += len(data)
			break
		}
		if i, err := appendElements(bw, s.dtype(), data); err != nil {
			return err
		} else if i < len(data) {
			return fmt.Errorf("%s: element %d is %v, which %s can't hold: its largest is %v",
				display(s.Name), given+i, data[i], s.dtype(), largest(s.dtype()))
		}
		given += len(data)
	}
	if given != want {
		return fmt.Errorf("%s: %d elements given, want %d of shape %v", display(s.Name), given, want, s.Shape)
	}
	return nil
}

// largest returns the largest number of a type that can be written.
func largest(dtype string) float32 {
	switch dtype {
	case "F16":
		return fromHalf(0x7bff)
	case "BF16":
		return math.Float32frombits(0x7f7f << 16)
	}
	return math.MaxFloat32
}

// appendElements writes data in bw's own buffer, up to the first finite element that rounds
// to an infinity. It returns the number of elements written.
func appendElements(bw *bufio.Writer, dtype string, data []float32) (int, error) {
	width := dtypeBits(dtype) / 8
	for done := 0; done < len(data); {
		if bw.Available() < width {
			if err := bw.Flush(); err != nil {
				return done, err
			}
		}
		b := bw.AvailableBuffer()
		n := min(len(data)-done, bw.Available()/width)
		beyond := false
		for _, v := range data[done : done+n] {
			switch dtype {
			case "F16":
				h := toHalf(v)
				beyond = h&0x7fff == 0x7c00 && !math.IsInf(float64(v), 0)
				b = binary.LittleEndian.AppendUint16(b, h)
			case "BF16":
				h := bfloat16.From(v)
				beyond = h&0x7fff == 0x7f80 && !math.IsInf(float64(v), 0)
				b = binary.LittleEndian.AppendUint16(b, h)
			default:
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
			}
			if beyond {
				b = b[:len(b)-width]
				break
			}
		}
		if _, err := bw.Write(b); err != nil {
			return done, err
		}
		done += len(b) / width
		if beyond {
			return done, nil
		}
	}
	return len(data), nil
}
